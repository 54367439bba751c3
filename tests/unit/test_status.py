"""What `ingest status` says is what its page in the documentation says."""

import re
from dataclasses import fields, replace
from datetime import date
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import TypeAdapter

from ingest.cli.render import status as render
from ingest.settings import Settings
from ingest.stream.reports import EndpointReport, SpoolReport
from workers.operations.status import (
    EndpointFigures,
    HandlerFigures,
    ReconciledFigures,
    RedisFigures,
    SpoolFigures,
    StatusFigures,
    StoreFigures,
    WorkerFigures,
    warnings_of,
)

PAGE = (Path(__file__).parents[2] / "docs" / "status.md").read_text()
#: Each table of the page, by its heading, and what it describes.
TABLES: dict[str, type] = {
    "Always there": StatusFigures,
    "From Redis": RedisFigures,
    "From the database": StoreFigures,
    "One of `endpoints`": EndpointReport,
    "Spool of an endpoint": SpoolReport,
    "One of `workers`": WorkerFigures,
    "One of `handlers`": HandlerFigures,
    "`reconciled`": ReconciledFigures,
    "`spool`": SpoolFigures,
}
#: How a field's name must end, by its unit.
ENDINGS = {
    "s": ("_seconds", "_at"),
    "bytes": ("_bytes",),
    "events/s": ("_per_second",),
    "calls/s": ("_per_second",),
}

ENDPOINT = EndpointReport("on", 9, 1, {"too-old": 2}, 0, 1.5, "closed", SpoolReport(3, 4096, 1.25, 0), 1.0)
REDIS = RedisFigures(
    1, 1, 0, 0.5, 9, 0, 0, 1.5, 2.5, {"too-old": 2},
    (EndpointFigures("web:host:1", ENDPOINT),), (WorkerFigures("w", ("events",), "idle"),),
)  # fmt: skip  # thirteen figures that mean nothing here
STORE = StoreFigures(
    8, 1, 0, {"crm": HandlerFigures(1, 0)}, ReconciledFigures(date(2026, 11, 25), date(2026, 11, 1), (), ())
)
FULL = StatusFigures(REDIS, STORE, SpoolFigures(3, 4096, 1.25, 0, 0), ("careful",), ())


def documented(heading: str) -> list[list[str]]:
    """The rows of a table: name, type, unit, meaning, null."""
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip(" `") if at == 0 else cell.strip() for at, cell in enumerate(row)] for row in rows]


def kind(schema: dict[str, Any]) -> str:
    """A JSON schema in the page's words, without saying whether it may be null."""
    if "anyOf" in schema:
        (schema,) = [one for one in schema["anyOf"] if one.get("type") != "null"]
    if "const" in schema:
        return {int: "integer", str: "string"}[type(schema["const"])]
    if schema.get("type") == "array":
        return f"list of {kind(schema['items'])}s"
    if isinstance(values := schema.get("additionalProperties"), dict):
        return f"object of {kind(values)}s"
    return "object" if "$ref" in schema else str(schema["type"])


def modelled(heading: str) -> dict[str, tuple[str, bool]]:
    """The fields that a table has to have: the type of each, and whether it may be null."""
    properties = TypeAdapter(TABLES[heading]).json_schema()["properties"]
    if TABLES[heading] is StatusFigures:  # these two are not in the JSON: their fields are at its top level
        del properties["redis"], properties["store"]
    if TABLES[heading] is EndpointReport:  # it stands beside the name of its process
        properties["name"] = {"type": "string"}
    return {
        name: (kind(schema), any(one.get("type") == "null" for one in schema.get("anyOf", ())))
        for name, schema in properties.items()
    }


@pytest.mark.parametrize("heading", TABLES)
def test_every_field_is_documented_and_nothing_else(heading: str) -> None:
    page = {name: (kind, null != "never") for name, kind, _, _, null in documented(heading)}
    assert page == modelled(heading)


@pytest.mark.parametrize("heading", TABLES)
def test_a_unit_that_is_no_count_is_part_of_the_name(heading: str) -> None:
    for name, _, unit, meaning, _ in documented(heading):
        assert meaning
        assert name.endswith(ENDINGS.get(unit, "")), (name, unit)


def test_the_page_describes_no_other_table() -> None:
    assert re.findall(r"^## (.+)$", PAGE, re.MULTILINE) == list(TABLES)


def test_the_json_has_the_documented_fields() -> None:
    printed = orjson.loads(orjson.dumps(FULL.as_json()))
    names = {name for heading in list(TABLES)[:3] for name, *_ in documented(heading)}
    assert printed.keys() == names
    for heading, found in (
        ("One of `endpoints`", printed["endpoints"][0]),
        ("Spool of an endpoint", printed["endpoints"][0]["spool"]),
        ("One of `workers`", printed["workers"][0]),
        ("One of `handlers`", printed["handlers"]["crm"]),
        ("`reconciled`", printed["reconciled"]),
        ("`spool`", printed["spool"]),
    ):
        assert found.keys() == {name for name, *_ in documented(heading)}
    assert printed["schema_version"] == 1
    assert printed["reconciled"]["complete_through"] == "2026-11-25"


def test_what_cannot_be_reached_is_null_and_nothing_is_missing() -> None:
    nothing = StatusFigures(None, None, None, (), ("Redis does not answer.",)).as_json()
    assert nothing.keys() == FULL.as_json().keys()
    unknown = {name for name, value in nothing.items() if value is None}
    assert unknown == {field.name for part in (RedisFigures, StoreFigures) for field in fields(part)} | {"spool"}


def test_a_report_reads_back_as_it_was_made() -> None:
    assert EndpointReport.from_json({"at": 1.0, **ENDPOINT.as_json()}) == ENDPOINT


def test_one_of_everything_is_told_in_the_singular(capsys: pytest.CaptureFixture[str]) -> None:
    day = date(2026, 11, 25)
    store = StoreFigures(1, 1, 1, {"crm": HandlerFigures(1, 1)}, ReconciledFigures(None, None, (day,), ()))
    gone = replace(store, reconciled=ReconciledFigures(None, None, (day,), (day,)))
    redis = replace(REDIS, batches=1, pending_batches=1, dead_batches=1)
    spool = SpoolFigures(1, 4096, 1.25, 1, 1)
    said = [
        *warnings_of(Settings.read({}), redis, store, spool),
        *warnings_of(Settings.read({}), redis, gone, spool),
    ]
    render.status(StatusFigures(redis, store, spool, tuple(said), ()), as_json=False)
    shown = capsys.readouterr().out
    assert len(re.findall(r"\b1 [*.a-z]+\b", shown)) > 12
    assert not re.findall(r"\b1 \w+(?<!s)s\b(?! than)", shown.replace("1 process", ""))


@pytest.mark.parametrize(
    ("environ", "promised"),
    [
        ({}, False),
        ({"COPERNICA_TOKEN": "x", "INGEST_RECONCILE_AT": "off"}, False),
        ({"COPERNICA_TOKEN": "x"}, True),
    ],
)
def test_nobody_is_told_that_a_day_is_tried_again_if_nothing_does_that(
    environ: dict[str, str], promised: bool
) -> None:
    store = replace(STORE, reconciled=ReconciledFigures(None, None, (date(2026, 11, 25),), ()))
    (warning,) = (said for said in warnings_of(Settings.read(environ), None, store, None) if "lack" in said)
    assert ("the daily job tries" in warning) == promised
