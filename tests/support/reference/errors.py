"""The page of what can go wrong: answers, reasons, findings, and errors of commands."""

import json
import re
from collections.abc import Iterator

from ingest import errors
from ingest.console.pages.refusals import MEANINGS
from ingest.endpoint import answers
from ingest.errors import IngestError, Reason
from ingest.health import RiskCode
from tests.support.reference.enums import commented
from tests.support.reference.markdown import code, in_runbook, page, table
from tests.support.runbook import sections
from workers.operations import warnings
from workers.records import Why

INTRODUCTION = """\
Everything the program can find wrong, under the names by which it tells: for who has one of them in front of
them, and for scripts. A name stays the same whatever its sentence says. What to do about each finding is in the
[runbook](../runbook.md)."""
_ANSWERS = """\
## Answers of the endpoint

The body is JSON, `{"error": "…", "detail": "…"}`, except with 200. Copernica does not send a call again,
whatever it is answered: after any but 200 it is lost until it is [recovered](commands.md#ingest-reconcile).
[openapi.yaml](openapi.yaml) has the same as an OpenAPI document, and [HTTP](http.md) what else there is."""
_REASONS = """\
## Why a call was refused

Callers are only told 401 or 503. The reason is in the log, in `ingest status`, in the console, and a label of
the metric `ingest_refused_total`."""
_FINDINGS = """\
## Findings

Each leads to its section of the runbook, with what to look at and what to do. Those of `ingest check` and
`/readyz` say what is set up wrong or at a risk; those of `ingest status`, alerts and the console what is wrong
now: an **alarm** wants somebody now, a **warning** today. Others are found by Prometheus alone, with the rules
in `deploy/prometheus`."""
_QUARANTINE = """\
## Why a call is in quarantine

The column `reason` says it in words, the metric `ingest_quarantined_total` by these names."""
_COMMANDS = """\
## Errors of commands

What a command says in its sentence belongs to one of these kinds. Handlers that use [the client](../client.md)
can catch them, from `ingest.errors`."""


def made() -> str:
    """The page."""
    return page(
        "Errors and findings",
        INTRODUCTION,
        _ANSWERS,
        table(("status", "`error`", "when"), _answers()),
        _REASONS,
        table(("reason", "means", "look at"), _reasons()),
        _FINDINGS,
        table(("code", "found by", "how bad", "means"), _findings()),
        _QUARANTINE,
        table(("why", "means"), [(code(why), text) for why, text in commented(Why).items()]),
        _COMMANDS,
        table(("error", "is a", "means", "exit code"), _kinds()),
    )


def _answers() -> Iterator[tuple[str, ...]]:
    for answer, when in answers.ALL:
        is_error = bool(answer.body) and not answer.plain
        headers = ", ".join(f"`{name}: {value}`" for name, value in answer.headers.items())
        yield (
            str(answer.status),
            code(json.loads(answer.body)["error"] if is_error else ""),
            when + (f" With {headers}." if headers else ""),
        )


def _reasons() -> Iterator[tuple[str, ...]]:
    for reason in [*map(str, Reason), "key-unavailable"]:
        means, look = MEANINGS[reason]
        yield code(reason), means, look


def _findings() -> Iterator[tuple[str, ...]]:
    told = {one.value: one for one in warnings.Code}
    checked = {one.value for one in RiskCode}
    for name, text in sections().items():
        by = [*(["`ingest check`"] if name in checked else []), *(["`ingest status`"] if name in told else [])]
        level = told[name].level.value if name in told else ""
        yield in_runbook(name), ", ".join(by) or "Prometheus", level, _means(text)


def _means(section: str) -> str:
    """What the runbook says that it means, in a line, with links that lead from here."""
    said = re.search(r"^- \*\*Means\*\*: (.*?)(?=^- \*\*)", section, re.MULTILINE | re.DOTALL)
    assert said is not None
    text = re.sub(r"\]\(#", "](../runbook.md#", " ".join(said[1].split()))
    return re.sub(r"\]\((?!\.\.|https:)", "](../", text)


def _kinds() -> Iterator[tuple[str, ...]]:
    for one in vars(errors).values():
        if isinstance(one, type) and issubclass(one, IngestError):
            first = (one.__doc__ or "").split("\n")[0]
            yield code(one.__name__), code(one.__bases__[0].__name__), first, str(one.exit_code)
