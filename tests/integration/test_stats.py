"""`ingest stats`: numbers for scripts, a chart for people."""

import io
import json
import re
from contextlib import redirect_stdout
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.cli.render import chart
from ingest.copernica.events import EventType, decode
from tests.support.builders import FORM
from tests.support.cli import typed
from workers.store.store import Store

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
WIDTH = 80


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(WIDTH))


def add(store: Store, *events: tuple[datetime, str]) -> None:
    bodies = [f"type={kind}&time={int(moment.timestamp())}&recipient=jan@example.nl" for moment, kind in events]
    store.add([decode(b.encode(), FORM, "/", 0, n.to_bytes(12, "big")) for n, b in enumerate(bodies)])


@pytest.fixture
def environ(redis_url: str, database: str) -> dict[str, str]:
    return {"REDIS_URL": redis_url, "DATABASE_URL": database}


def counted(environ: dict[str, str], *arguments: str) -> Any:
    done = typed("stats", "--json", *arguments, environ=environ)
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


def test_events_are_counted_by_hour_and_by_day(environ: dict[str, str], store: Store) -> None:
    start = datetime(2026, 11, 19, 23, 59, 59, tzinfo=UTC)
    add(
        store,
        (start, "open"),
        (start + timedelta(seconds=1), "open"),
        (start + HOUR, "click"),
        (start + HOUR, "open"),
        (start + 5 * DAY, "unsubscribe"),
    )
    span = ("--since", "2026-11-19", "--until", "2026-12-01")
    assert counted(environ, *span) == [
        {"period": "2026-11-19 23", "counts": {"open": 1}},
        {"period": "2026-11-20 00", "counts": {"click": 1, "open": 2}},
        {"period": "2026-11-24 23", "counts": {"unsubscribe": 1}},
    ]
    assert counted(environ, *span, "--by", "day") == [
        {"period": "2026-11-19", "counts": {"open": 1}},
        {"period": "2026-11-20", "counts": {"click": 1, "open": 2}},
        {"period": "2026-11-24", "counts": {"unsubscribe": 1}},
    ]
    assert counted(environ, *span, "--by", "day", "--type", "click,bounce") == [
        {"period": "2026-11-20", "counts": {"click": 1}}
    ]
    assert counted(environ, *span, "--recipient", "nobody@example.nl") == []
    # Of zones other than UTC, the same moments are meant.
    assert len(counted(environ, "--since", "2026-11-20T01:00+01:00", "--until", "2026-11-20T00:59:59Z")) == 1


def test_by_default_it_is_about_the_last_day_or_month(environ: dict[str, str], store: Store) -> None:
    now = datetime.now(UTC)
    add(store, *((now - ago, "open") for ago in (HOUR, 23 * HOUR, 25 * HOUR, 29 * DAY, 31 * DAY)))
    assert sum(one["counts"]["open"] for one in counted(environ)) == 2
    assert sum(one["counts"]["open"] for one in counted(environ, "--by", "day")) == 4
    until = (now - 24 * HOUR).isoformat()  # the day before then
    assert sum(one["counts"]["open"] for one in counted(environ, "--until", until)) == 1


def test_by_default_the_first_period_is_a_whole_one(environ: dict[str, str], store: Store) -> None:
    now = datetime.now(UTC)
    hour = (now - 24 * HOUR).replace(minute=0, second=0, microsecond=0)
    day, before = hour.replace(hour=0) - 29 * DAY, timedelta(seconds=-1)
    add(store, (hour + before, "open"), (hour, "open"), (day + before, "click"), (day, "click"))
    assert [one["counts"] for one in counted(environ, "--until", now.isoformat())] == [{"open": 1}]
    assert counted(environ, "--until", now.isoformat(), "--by", "day")[0]["counts"] == {"click": 1}


def test_the_chart_as_typed(environ: dict[str, str], store: Store) -> None:
    start = datetime(2026, 11, 20, 9, tzinfo=UTC)
    add(store, *[(start, "delivery")] * 1, *[(start + 3 * HOUR, "open")] * 2, (start + 3 * HOUR, "abuse"))
    done = typed("stats", "--since", "2026-11-20", environ=environ | {"COLUMNS": str(WIDTH)})
    assert (done.exit_code, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line.split()[0:2] for line in lines[:4]] == [
        ["2026-11-20", f"{hour:02}:00"] for hour in (9, 10, 11, 12)
    ]
    assert [bool(bar(line, 16)) for line in lines[:4]] == [True, False, False, True]
    assert lines[4:] == ["d delivery 1   o open 2   a abuse 1", "hours in UTC"]
    elsewhere = typed("stats", "--since", "2026-11-20", "--tz", "Europe/Amsterdam", environ=environ).stdout
    assert elsewhere.splitlines()[0].startswith("2026-11-20 10:00")
    assert elsewhere.endswith("hours in Europe/Amsterdam\n")
    nothing = typed("stats", "--since", "2030-01-01", environ=environ)
    assert (nothing.exit_code, nothing.stdout) == (0, "No events in that time.\n")


def bar(line: str, label: int) -> str:
    """The bar in a line, behind its label."""
    found = re.match(r" *([a-zA-Z?]*) ", f"{line[label:]} ")
    return found[1] if found else ""


def drawn(capsys: pytest.CaptureFixture[str], counts: list[tuple[str, str, int]], by: str) -> list[str]:
    chart.show(counts, by, ZoneInfo("UTC"), as_json=False)
    return capsys.readouterr().out.splitlines()


def test_days_without_events_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    lines = drawn(capsys, [("2026-02-27", "open", 1_234_567), ("2026-03-02", "click", 1)], "day")
    assert [line[:10] for line in lines[:4]] == ["2026-02-27", "2026-02-28", "2026-03-01", "2026-03-02"]
    assert lines[0].endswith("o 1,234,567")
    assert lines[3].endswith("  c 1")  # however few, there is something to see
    assert lines[4].split("   ")[:2] == ["o open 1,234,567", "c click 1"]


def test_a_long_silence_is_described_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    counts = [("2026-01-01 00", "open", 1), ("2026-01-03 01", "open", 1), ("2026-01-05 01", "open", 1)]
    lines = drawn(capsys, counts, "hour")
    assert len(lines) == 1 + chart.MAX_SILENCE + 1 + 47 + 1 + 2
    counts[1] = ("2026-01-03 02", "open", 1)
    lines = drawn(capsys, counts[:2], "hour")
    assert [line.split("  ")[0] for line in lines[:3]] == [
        "2026-01-01 00:00",
        "… 49 hours without events",
        "2026-01-03 02:00",
    ]
    assert len(lines) == 5


def test_days_of_another_zone_are_made_of_its_hours(capsys: pytest.CaptureFixture[str]) -> None:
    counts = [("2026-11-19 22", "open", 1), ("2026-11-19 23", "open", 2), ("2026-11-20 00", "open", 4)]
    for zone, expected in (("Europe/Amsterdam", [1, 6]), ("Asia/Kolkata", [3, 4]), ("UTC", [3, 4])):
        chart.show(counts, "day", ZoneInfo(zone), as_json=False)
        lines = capsys.readouterr().out.splitlines()
        assert [int(line.split()[-1]) for line in lines[:2]] == expected
        assert lines[-1] == f"days in {'UTC' if zone == 'Asia/Kolkata' else zone}"  # whose hours are others


def test_every_type_has_a_letter_of_its_own() -> None:
    letters = [letter for letter, _ in (*chart.LOOKS.values(), chart.OTHER)]
    assert set(EventType) - {EventType.UNKNOWN} == set(chart.LOOKS)
    assert len(set(letters)) == len(letters)


@given(
    st.dictionaries(
        st.tuples(st.integers(0, 200), st.sampled_from([*EventType, "of-tomorrow"])),
        st.one_of(st.integers(1, 20), st.integers(1, 10**9)),
        max_size=40,
    ),
    st.sampled_from(["hour", "day"]),
)
def test_bars_fit_and_are_as_long_as_their_numbers(counts: dict[tuple[int, str], int], by: str) -> None:
    start = datetime(2026, 2, 1, tzinfo=UTC)
    step, form = (HOUR, "%Y-%m-%d %H") if by == "hour" else (DAY, "%Y-%m-%d")
    rows = [((start + place * step).strftime(form), str(kind), n) for (place, kind), n in sorted(counts.items())]
    with redirect_stdout(io.StringIO()) as out:
        chart.show(rows, by, ZoneInfo("UTC"), as_json=False)
    lines = out.getvalue().splitlines()
    if not counts:
        assert lines == ["No events in that time."]
        return
    assert all(len(line) <= WIDTH for line in lines)
    totals = {period: sum(n for p, _, n in rows if p == period) for period, _, _ in rows}
    label = len(rows[0][0])
    drawn = {line[:label]: bar(line, label + (3 if by == "hour" else 0)) for line in lines}
    bars = {period: len(letters) for period, letters in drawn.items() if period in totals}
    assert set(bars) == set(totals)
    longest = max(bars.values())
    for period, total in totals.items():
        assert abs(bars[period] - longest * total / max(totals.values())) <= 1
    for kind in {kind for _, kind, _ in rows}:
        assert f" {kind} {sum(n for _, k, n in rows if k == kind):,} " in " ".join(lines) + " "
