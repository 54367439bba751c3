"""An answer as it came over the wire, held against the OpenAPI document of the endpoint."""

import json
from typing import Any

from jsonschema import Draft202012Validator

from tests.support.reference.openapi import document

DOCUMENT = document()


def answered(answer: bytes, path: str, method: str = "post") -> int:
    """The status of an answer that is as the document has it for this path; fails if it is not."""
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    sent = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    status = first.split(" ")[1]
    documented = DOCUMENT["paths"][path][method]["responses"][status]
    for name, header in documented.get("headers", {}).items():
        assert sent[name.lower()] == header["schema"]["const"]
    if "content" not in documented:
        assert body == b""
        return int(status)
    kind = sent["content-type"].partition(";")[0]
    _valid(
        json.loads(body) if kind == "application/json" else body.decode(), documented["content"][kind]["schema"]
    )
    return int(status)


def _valid(value: object, schema: dict[str, Any]) -> None:
    Draft202012Validator({"components": DOCUMENT["components"], **schema}).validate(value)


def documented_statuses() -> set[tuple[str, int]]:
    """Each method of a path, as people write it, with each status that it may be answered with."""
    return {
        (f"{method.upper()} {path}", int(status))
        for path, item in DOCUMENT["paths"].items()
        for method, operation in item.items()
        if method != "parameters"
        for status in operation["responses"]
    }
