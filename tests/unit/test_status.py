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
from ingest.stream.exports import LastExport
from ingest.stream.reports import EndpointReport, SpoolReport
from tests.support.runbook import is_shown
from workers.operations.figures import (
    DayFigures,
    DiskFigures,
    EndpointFigures,
    GapFigures,
    HandlerFigures,
    LostFigures,
    PausedFigures,
    ReconciledFigures,
    RedisFigures,
    SpoolFigures,
    StatusFigures,
    StoreFigures,
    StreamFigures,
    WorkerFigures,
)
from workers.operations.judgement import LOST_LATELY, warnings_of
from workers.operations.warnings import UNREACHABLE, Code, ExitCode, Level, StatusWarning, exit_code

PAGE = (Path(__file__).parents[2] / "docs" / "status.md").read_text()
#: Each table of the page, by its heading, and what it describes.
TABLES: dict[str, type] = {
    "Always there": StatusFigures,
    "From Redis": RedisFigures,
    "From the database": StoreFigures,
    "One of `endpoints`": EndpointReport,
    "Spool of an endpoint": SpoolReport,
    "`lost`": LostFigures,
    "One of `streams`": StreamFigures,
    "One of `paused`": PausedFigures,
    "`export`": LastExport,
    "One of `workers`": WorkerFigures,
    "One of `handlers`": HandlerFigures,
    "`reconciled`": ReconciledFigures,
    "One of `days`": DayFigures,
    "`gaps`": GapFigures,
    "`spool`": SpoolFigures,
    "One of `disks`": DiskFigures,
    "One of `warnings`": StatusWarning,
}
#: How a field's name must end, by its unit.
ENDINGS = {
    "s": ("_seconds", "_at"),
    "bytes": ("_bytes",),
    "events/s": ("_per_second",),
    "calls/s": ("_per_second",),
}

NOW = 1_795_000_000.0
ENDPOINT = EndpointReport(
    "on", 9, 1, {"too-old": 2}, 0, 1.5, "closed", SpoolReport(3, 4096, 1.25, 0, 5, 9), 2, 3, 1
)
REDIS = RedisFigures(
    backlog=1,
    batches=1,
    pending_batches=0,
    oldest_age_seconds=0.5,
    last_call_at=NOW,
    accepted=9,
    doubles=0,
    dead_batches=0,
    accepted_per_second=1.5,
    drained_per_second=2.5,
    refused={"too-old": 2},
    lost=LostFigures(1, NOW - 60, NOW - 60),
    suspended=False,
    memory_bytes=1,
    memory_limit_bytes=None,
    endpoints=(EndpointFigures("web:host:1", ENDPOINT),),
    workers=(WorkerFigures("w", ("events", "handlers"), "idle"),),
    paused=(PausedFigures("queue:events", NOW),),
    export=LastExport(NOW),
    streams=(StreamFigures("redis:6379", "takes", True, 1, 1, 0, 0.5, NOW, 0, 1, None),),
)
EXPORTING = {"INGEST_EXPORT_TO": "s3://bucket/x"}
LONG_AGO = LastExport(NOW - 2 * 86_400)
FAILING = LastExport(NOW, NOW - 3 * 3600, "s3://bucket/x does not answer.")
CRM = HandlerFigures(1, 0, None, 0, None)
YESTERDAY = DayFigures(date(2026, 11, 25), True, True, None, None, 7, 1, 0)
COMPLETE = ReconciledFigures(date(2026, 11, 25), date(2026, 11, 1), (), ())
STORE = StoreFigures(True, 8, 1, 0, {"crm": CRM}, COMPLETE, (YESTERDAY,))
SPOOL = SpoolFigures(3, 4096, 1.25, 0, 0)
DISK = DiskFigures("the database", 2**40, 2**41)
FULL = StatusFigures(REDIS, STORE, SPOOL, (DISK,), (StatusWarning(Code.SPOOL_WAITING, "careful"),))
DIFFERING = replace(COMPLETE, incomplete=(date(2026, 11, 24),), differing=(date(2026, 11, 24),))
WELL = replace(REDIS, lost=None, paused=()), replace(STORE, quarantined=0), replace(SPOOL, events=0)


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
    if TABLES[heading] is StatusWarning:  # these follow from its code
        properties |= {"code": {"type": "string"}, "level": {"type": "string"}, "remedy": {"type": "string"}}
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
        ("One of `paused`", printed["paused"][0]),
        ("`export`", printed["export"]),
        ("One of `workers`", printed["workers"][0]),
        ("One of `handlers`", printed["handlers"]["crm"]),
        ("`reconciled`", printed["reconciled"]),
        ("One of `days`", printed["days"][0]),
        ("`gaps`", printed["gaps"]),
        ("`spool`", printed["spool"]),
        ("`lost`", printed["lost"]),
        ("One of `disks`", printed["disks"][0]),
        ("One of `warnings`", printed["warnings"][0]),
    ):
        assert found.keys() == {name for name, *_ in documented(heading)}
    assert printed["schema_version"] == 2
    assert printed["reconciled"]["complete_through"] == "2026-11-25"


def test_what_cannot_be_reached_is_null_and_nothing_is_missing() -> None:
    nothing = StatusFigures(None, None, None, (), ()).as_json()
    assert nothing.keys() == FULL.as_json().keys()
    unknown = {name for name, value in nothing.items() if value is None}
    assert unknown == {field.name for part in (RedisFigures, StoreFigures) for field in fields(part)} | {"spool"}


def test_a_report_reads_back_as_it_was_made() -> None:
    assert EndpointReport.from_json({"at": 1.0, **ENDPOINT.as_json()}) == ENDPOINT


def test_what_was_promised_of_this_version_is_still_there() -> None:
    """A field that goes, or changes its type, takes a new `schema_version`; fields may be added."""
    promised = orjson.loads((Path(__file__).parent / "status_schema.json").read_text())
    assert promised.pop("schema_version") == StatusFigures(None, None, None, (), ()).schema_version
    for heading, were in promised.items():
        there = {name: kind for name, kind, *_ in documented(heading)}
        assert {name: there.get(name) for name in were} == were, heading


def told(
    redis: RedisFigures | None = WELL[0],
    store: StoreFigures | None = WELL[1],
    spool: SpoolFigures | None = WELL[2],
    environ: dict[str, str] | None = None,
    disks: tuple[DiskFigures, ...] = (),
) -> dict[Code, str]:
    found = list(warnings_of(Settings.read(environ or {}), redis, store, spool, NOW, disks))
    assert [one for one in found if not is_shown(one.code, one.text)] == []  # as the runbook has it
    assert len({warning.code for warning in found}) == len(found)
    return {warning.code: warning.text for warning in found}


def test_one_of_everything_is_told_in_the_singular(capsys: pytest.CaptureFixture[str]) -> None:
    day = date(2026, 11, 25)
    crm = HandlerFigures(1, 1, NOW, 1, "ValueError: no")
    store = StoreFigures(True, 1, 1, 1, {"crm": crm}, ReconciledFigures(None, None, (day,), ()))
    gone = replace(store, reconciled=ReconciledFigures(None, None, (day,), (day,)))
    redis = replace(REDIS, batches=1, pending_batches=1, dead_batches=1, suspended=True, oldest_age_seconds=3600)
    spool = SpoolFigures(1, 4096, 1.25, 1, 1)
    said = [StatusWarning(*one) for which in (store, gone) for one in told(redis, which, spool).items()]
    render.status(StatusFigures(redis, store, spool, (DISK,), tuple(said)), as_json=False)
    shown = capsys.readouterr().out
    assert len(re.findall(r"\b1 [*.a-z]+\b", shown)) > 12
    assert not re.findall(r"\b1 \w+(?<!s)s\b(?! than)", shown.replace("1 process", ""))


@pytest.mark.parametrize(
    ("environ", "promised"),
    [
        ({}, False),
        ({"COPERNICA_TOKEN": "x", "INGEST_RECONCILE_AT": "off"}, False),
        ({"COPERNICA_TOKEN": "x"}, True),
        ({"INGEST_SMTPETER_TOKEN": "x"}, True),
    ],
)
def test_nobody_is_told_that_a_day_is_tried_again_if_nothing_does_that(
    environ: dict[str, str], promised: bool
) -> None:
    store = replace(WELL[1], reconciled=ReconciledFigures(None, None, (date(2026, 11, 25),), ()))
    assert ("the daily job tries" in told(store=store, environ=environ)[Code.DAYS_INCOMPLETE]) == promised


def test_gaps_are_told_of_when_they_should_have_been_filled(capsys: pytest.CaptureFixture[str]) -> None:
    young = replace(WELL[1], gaps=GapFigures(1, 0, NOW - 1700))
    assert told(store=young) == {}
    assert told(store=replace(young, gaps=GapFigures(1, 1, NOW - 7200))) == {
        Code.GAPS_UNFILLED: "1 gap is not filled yet, the oldest began 2.0 h ago: calls may be missing, see "
        "`ingest gaps`.",
        Code.GAPS_LEFT: "1 gap cannot be closed: calls may be missing, see `ingest gaps`.",
    }
    render.status(StatusFigures(None, replace(young, gaps=GapFigures(2, 1, NOW)), None, (), ()), as_json=False)
    assert "2 not filled yet; 1 cannot be closed: see `ingest gaps`" in capsys.readouterr().out


def test_nothing_is_said_of_what_is_well_or_unknown() -> None:
    assert told() == {}
    assert told(None, None, None) == {}


@pytest.mark.parametrize(
    ("code", "figures"),
    [
        (Code.NO_ENDPOINT, {"redis": replace(WELL[0], endpoints=())}),
        (Code.SPOOL_OPEN, {"spool": replace(WELL[2], endpoints_open=1)}),
        (Code.SPOOL_WAITING, {"spool": SPOOL}),
        (Code.SPOOL_DAMAGED, {"spool": replace(WELL[2], bad_records=1)}),
        (Code.DISK_NEARLY_FULL, {"disks": (replace(DISK, free_bytes=1),)}),
        (Code.NO_WORKER, {"redis": replace(WELL[0], workers=(WorkerFigures("w", ("handlers",), "idle"),))}),
        (Code.NO_HANDLERS_WORKER, {"redis": replace(WELL[0], workers=(WorkerFigures("w", ("events",), "idle"),))}),
        (Code.WORKERS_SUSPENDED, {"redis": replace(WELL[0], suspended=True)}),
        (Code.PAUSED, {"redis": replace(WELL[0], paused=(PausedFigures("handler:crm", None),))}),
        (Code.BACKLOG_OLD, {"redis": replace(WELL[0], oldest_age_seconds=301)}),
        (Code.CALLS_LOST, {"redis": replace(WELL[0], lost=LostFigures(3, 0, NOW - LOST_LATELY + 1))}),
        (Code.REDIS_NEARLY_FULL, {"redis": replace(WELL[0], memory_bytes=9, memory_limit_bytes=10)}),
        (Code.DEAD_BATCHES, {"redis": replace(WELL[0], dead_batches=1)}),
        (
            Code.EXPORT_BEHIND,
            {"redis": replace(WELL[0], export=LONG_AGO), "environ": EXPORTING},
        ),
        (Code.EXPORT_BEHIND, {"redis": replace(WELL[0], export=FAILING), "environ": EXPORTING}),
        (Code.NO_TABLES, {"store": replace(WELL[1], has_tables=False)}),
        (Code.DEAD_LETTERS, {"store": replace(WELL[1], handlers={"crm": replace(CRM, failed=1)})}),
        (Code.UNVERIFIED, {"store": replace(WELL[1], unverified=1)}),
        (Code.QUARANTINED, {"store": replace(WELL[1], quarantined=1)}),
        (Code.TOTALS_DIFFER, {"store": replace(WELL[1], reconciled=DIFFERING)}),
    ],
)
def test_each_trouble_has_a_code(code: Code, figures: dict[str, Any]) -> None:
    assert list(told(**figures)) == [code]


def test_what_was_lost_long_ago_and_what_waits_a_moment_are_no_alarm() -> None:
    lost = LostFigures(3, 0, NOW - LOST_LATELY - 1)
    assert told(redis=replace(WELL[0], lost=lost, oldest_age_seconds=299)) == {}
    assert Code.BACKLOG_OLD in told(
        redis=replace(WELL[0], oldest_age_seconds=9), environ={"INGEST_ALERT_AGE": "5"}
    )
    assert told(disks=(DiskFigures("x", 60 * 2**30, 10 * 2**40), DiskFigures("y", 11, 100))) == {}


def test_the_exit_code_is_that_of_the_worst() -> None:
    warning, alarm = StatusWarning(Code.QUARANTINED, "x"), StatusWarning(Code.NO_WORKER, "y")
    assert (warning.level, alarm.level) == (Level.WARNING, Level.ALARM)
    assert [exit_code(found) for found in ([], [warning], [warning, alarm])] == list(ExitCode) == [0, 1, 2]
    assert {code.level for code in UNREACHABLE} == {Level.ALARM}


def test_codes_are_words_and_remedies_are_sentences() -> None:
    for code in Code:
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", code), code
        assert code.remedy.endswith("."), code


def test_the_quiet_line_is_the_worst_and_nothing_if_all_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    found = StatusWarning(Code.QUARANTINED, "x"), StatusWarning(Code.NO_WORKER, "y\x1b[31m " + "long " * 99)
    render.one_line(replace(FULL, warnings=found))
    line = capsys.readouterr().out
    assert line.startswith("ALARM no-worker: y\\x1b[31m long long")
    assert line.endswith("(and 1 more: `ingest status`)\n")
    assert line.count("\n") == 1
    render.one_line(replace(FULL, warnings=()))
    assert capsys.readouterr().out == ""


def test_days_say_where_their_events_came_from(capsys: pytest.CaptureFixture[str]) -> None:
    differs = "the totals of 1 mailing differ (open: 3 missing)"
    days = (
        DayFigures(date(2026, 11, 26), None, None, None, None, 5, 0, 0),
        DayFigures(date(2026, 11, 25), False, True, False, differs, 1200, 30, 4),
        DayFigures(date(2026, 11, 24), True, True, True, None, 9, 0, 0),
        DayFigures(date(2026, 11, 23), True, True, None, "refused", 9, 0, 0),
        DayFigures(date(2026, 11, 22), False, False, None, None, 9, 0, 0),
    )
    render.status(replace(FULL, store=replace(STORE, days=days)), as_json=False)
    lines = [line.split("  ", 1) for line in capsys.readouterr().out.splitlines() if line.startswith("2026-")]
    assert {name: text.strip() for name, text in lines} == {
        "2026-11-26": "5 webhook, 0 log file, 0 REST",
        "2026-11-25": "1,200 webhook, 30 log file, 4 REST; not complete: totals differ",
        "2026-11-24": "9 webhook, 0 log file, 0 REST; complete",
        "2026-11-23": "9 webhook, 0 log file, 0 REST; complete by its log files",
        "2026-11-22": "9 webhook, 0 log file, 0 REST; not complete",
    }
