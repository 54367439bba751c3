"""What the endpoint takes and answers, as an OpenAPI document."""

import json
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import yaml

from ingest import __version__
from ingest.copernica.events import NUMBER_COLUMNS, TEXT_COLUMNS
from ingest.endpoint import answers
from ingest.endpoint.answers import Answer
from ingest.endpoint.validation_files import NAME
from ingest.health import RiskCode
from ingest.stream.breaker import State

#: The path of the example, and what an operator sets instead.
PATH = "/copernica"
Json = dict[str, Any]
_JSON, _TEXT, _FORM = "application/json", "text/plain", "application/x-www-form-urlencoded"

_DESCRIPTION = (
    "What `ingest serve` takes and answers at its port. Calls are taken at INGEST_PATH, which is /copernica "
    "unless it is set, and below it. Errors are JSON and never quote what was sent."
)
#: What a call has to have, unless INGEST_VERIFY is off: the header, and what it is.
_SIGNED = {
    "Date": "When Copernica signed the call; it may be off by INGEST_MAX_AGE seconds.",
    "Digest": "A hash over the body, such as `SHA-256=…`.",
    "X-Copernica-ID": "The account that the call is from: `account-1234`, `environment-12`.",
    "Signature": "Copernica's signature over the request line and headers, with the id of its key.",
}
_TAGS = [
    {"name": "calls", "description": "What Copernica sends."},
    {"name": "health", "description": "For load balancers and for whoever watches over processes."},
    {"name": "validation", "description": "Files by which SMTPeter validates a domain."},
]


def made() -> str:
    """The document, as YAML."""
    return yaml.safe_dump(document(), sort_keys=False, allow_unicode=True, width=115)  # type: ignore[no-any-return]


def document() -> Json:
    """The whole of it."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Copernica webhook ingester",
            "version": __version__,
            "description": _DESCRIPTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [
            {
                "url": "https://{host}",
                "description": "Behind a proxy that ends TLS.",
                "variables": {
                    "host": {"default": "hooks.example.nl", "description": "The name that Copernica calls."}
                },
            }
        ],
        "tags": _TAGS,
        "paths": {
            PATH: _calls("call", []),
            f"{PATH}/{{rest}}": _calls("callBelow", [_below()]),
            "/healthz": {
                "get": _health("healthz", "Whether the process is alive", {"200": _alive(), "503": _busy()})
            },
            "/readyz": {"get": _health("readyz", "Whether calls can be kept", _readiness())},
            "/smtpeter-{name}.txt": {"get": _validation()},
        },
        "components": {"schemas": {"Event": _event(), "Ready": _ready()}},
    }


# --- calls ---


def _calls(name: str, parameters: list[Json]) -> Json:
    """The path of calls, or what is below it."""
    item: Json = {"parameters": parameters} if parameters else {}
    return item | {
        "post": {
            "operationId": name,
            "tags": ["calls"],
            "summary": "Take one call",
            "description": "A form or a JSON object with the fields of one event. What is neither is kept, too, "
            "and goes to quarantine. Head and body are taken as they were signed: nothing in between may change "
            "them.",
            "parameters": [
                {
                    "name": header,
                    "in": "header",
                    "required": True,
                    "description": text,
                    "schema": {"type": "string"},
                }
                for header, text in _SIGNED.items()
            ],
            "requestBody": {
                "required": True,
                "content": {kind: {"schema": {"$ref": "#/components/schemas/Event"}} for kind in (_FORM, _JSON)},
            },
            "responses": _responses(
                one for one in answers.ALL if one[0] not in (answers.HELLO, answers.NOT_FOUND)
            ),
        },
        "get": {
            "operationId": f"{name}Hello",
            "tags": ["calls"],
            "summary": "See that this is where calls are taken",
            "responses": _responses([*_told(answers.HELLO), *_told(answers.BUSY)]),
        },
    }


def _below() -> Json:
    return {
        "name": "rest",
        "in": "path",
        "required": True,
        "description": "Anything, slashes included; its last part names the type of an event whose body does not.",
        "schema": {"type": "string"},
    }


def _responses(chosen: Iterable[tuple[Answer, str]]) -> Json:
    """Answers by their status."""
    by_status: dict[int, list[tuple[Answer, str]]] = {}
    for one in chosen:
        by_status.setdefault(one[0].status, []).append(one)
    return {str(status): _response(by_status[status]) for status in sorted(by_status)}


def _response(alternatives: list[tuple[Answer, str]]) -> Json:
    """All answers of one status."""
    first = alternatives[0][0]
    response: Json = {"description": " Or: ".join(when for _, when in alternatives)}
    if first.headers:
        response["headers"] = {
            name: {"schema": {"type": "string", "const": value}} for name, value in first.headers.items()
        }
    if first.plain:
        response["content"] = {_TEXT: {"schema": {"type": "string"}, "example": first.body.decode()}}
    elif first.body:
        bodies = [json.loads(answer.body) for answer, _ in alternatives]
        response["content"] = {
            _JSON: {"schema": _error(bodies), "examples": {one["error"]: {"value": one} for one in bodies}}
        }
    return response


def _error(bodies: list[Json]) -> Json:
    return {
        "type": "object",
        "required": ["error", "detail"],
        "additionalProperties": False,
        "properties": {
            "error": {"type": "string", "enum": [one["error"] for one in bodies], "description": "For programs."},
            "detail": {"type": "string", "description": "For people: may be worded otherwise in another release."},
        },
    }


def _event() -> Json:
    names = [*TEXT_COLUMNS, *NUMBER_COLUMNS, "type", "time"]
    return {
        "type": "object",
        "description": "The fields of an event, under Copernica's names; there may be others, and none has to be "
        "there. In a form all are text.",
        "properties": {name: {"type": ["string", "integer"]} for name in names}
        | {"tags": {"type": ["array", "string"], "items": {"type": "string"}}},
        "additionalProperties": True,
    }


# --- health and validation ---


def _health(name: str, summary: str, responses: Json) -> Json:
    return {"operationId": name, "tags": ["health"], "summary": summary, "responses": responses}


def _alive() -> Json:
    schema = {"type": "object", "required": ["status"], "properties": {"status": {"const": "alive"}}}
    return {"description": "The process is alive.", "content": {_JSON: {"schema": schema}}}


def _told(answer: Answer) -> list[tuple[Answer, str]]:
    return [one for one in answers.ALL if one[0] is answer]


def _busy() -> Json:
    return _response(_told(answers.BUSY))


def _readiness() -> Json:
    unavailable = _response(
        [(answers.UNAVAILABLE, "Neither Redis nor the spool takes calls."), *_told(answers.BUSY)]
    )
    ready = {
        "description": "Calls can be kept.",
        "content": {_JSON: {"schema": {"$ref": "#/components/schemas/Ready"}}},
    }
    return {"200": ready, "503": unavailable}


def _ready() -> Json:
    texts = {"type": "array", "items": {"type": "string"}}
    return {
        "type": "object",
        "required": ["status", "redis", "breaker", "spool", "risks", "codes"],
        "properties": {
            "status": {"const": "ready"},
            "redis": {
                "enum": ["serves", "refuses", "away"],
                "description": "Whether a write was confirmed just now (of several servers, the best), writes are "
                "refused, or there is no answer.",
            },
            "breaker": {"enum": [str(state) for state in State], "description": "`closed`: calls go to Redis."},
            "spool": {
                "enum": ["takes", "overdue", "full", "fails", "off"],
                "description": "`overdue`: its disk goes with the process, and Redis has been away for too long.",
            },
            "streams": {
                "type": "object",
                "description": "Of several stream servers, how many serve.",
                "required": ["serve", "of"],
                "properties": {"serve": {"type": "integer"}, "of": {"type": "integer"}},
            },
            "risks": texts | {"description": "What may cost calls, in sentences."},
            "codes": {
                "type": "array",
                "items": {"enum": sorted(code.value for code in RiskCode)},
                "description": "The code of each, by which the runbook has it.",
            },
        },
    }


def _validation() -> Json:
    return {
        "operationId": "validationFile",
        "tags": ["validation"],
        "summary": "A file of INGEST_VALIDATION_FILES",
        "description": "Served at the root, beside the path of calls, and below it.",
        "parameters": [
            {
                "name": "name",
                "in": "path",
                "required": True,
                "description": "What stands between `smtpeter-` and `.txt`.",
                "schema": {"type": "string", "pattern": f"^{_middle()}$"},
            }
        ],
        "responses": {
            "200": {"description": "The file as it is.", "content": {_TEXT: {"schema": {"type": "string"}}}},
            str(HTTPStatus.NOT_FOUND.value): _response(_told(answers.NOT_FOUND)),
            "503": _busy(),
        },
    }


def _middle() -> str:
    return NAME.pattern.removeprefix("smtpeter-").removesuffix(r"\.txt")
