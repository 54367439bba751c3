"""`ingest events-of`: what SMTPeter has beside what the store has, and what of it is inserted."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from ingest.copernica.events import LOGFILE, MICROS, WEBHOOK, Event, decode
from ingest.settings import Settings
from ingest.simulation.api_faults import Faults
from ingest.simulation.fake_api import FakeCopernica
from tests.support.cli import typed
from tests.support.fake_smtpeter import PATIENT, SMTPETER_TOKEN, fake_smtpeter, written
from tests.support.logs import no_progress
from workers.reconcile.run import ReconcileOptions, reconcile
from workers.reconcile.sources import sources
from workers.smtpeter.answers import Asked, months
from workers.store import tables
from workers.store.filters import Filter
from workers.store.store import Store

pytestmark = pytest.mark.slow

DAY = "2026-11-20"
PERIOD = ("--since", "2026-10-01", "--until", "2026-11-21")
#: At nine on that day.
NINE = int(datetime(2026, 11, 20, 9, tzinfo=UTC).timestamp())


def line(second: int, **more: str) -> dict[str, str]:
    time = f"{datetime.fromtimestamp(NINE + second, UTC):%Y-%m-%d %H:%M:%S}"
    return {"id": "m1", "time": time, "recipient": "A@example.nl", "templateid": "7", "tags": "a;b"} | more


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "logs"
    opens = [line(0, ip="192.0.2.1"), line(0, ip="192.0.2.1"), line(5, ip="192.0.2.1"), line(7, id="m2")]
    written(folder, "opens", DAY, opens)
    written(folder, "clicks", DAY, [line(9, ip="192.0.2.1", url="https://example.nl/?a=1&b=ü")])
    written(folder, "attempts", DAY, [line(-1)])
    written(folder, "bounces", "2026-10-20", [line(-31 * 86_400, mime="From: x\n\ny")])
    return folder


@pytest.fixture
def environ(folder: Path, database: str) -> Iterator[dict[str, str]]:
    with fake_smtpeter(FakeCopernica(folder, "another")) as settings:
        yield settings | {"DATABASE_URL": database}


def call(second: int, kind: str = "open", number: int = 0, ip: str = "192.0.2.1") -> Event:
    """An event as its webhook brings it."""
    moment = NINE + second
    body = f"type={kind}&id=m1&time={moment}&recipient=a@example.nl&ip={ip}".encode()
    name = moment.to_bytes(4, "big") + number.to_bytes(8, "big")
    return decode(body, "application/x-www-form-urlencoded", "/copernica", moment * MICROS + 5, name)


def stored(database: str) -> list[Event]:
    with Store.open(database) as store:
        return list(store.find(Filter()))


def add(database: str, *events: Event) -> None:
    with Store.open(database) as store:
        store.add(events)


def asked(environ: dict[str, str], *arguments: str, code: int = 0) -> tuple[list[Any], dict[str, Any]]:
    """The events that are told, and what they add up to."""
    ended = typed("events-of", "--json", "--wait", "0", *arguments, environ=environ)
    assert (ended.exit_code, ended.stderr) == (code, ""), ended.stderr
    *events, summary = map(json.loads, ended.stdout.splitlines())
    return events, summary


def test_what_is_missing_is_shown_and_nothing_is_changed(environ: dict[str, str], database: str) -> None:
    add(database, call(0), call(3))
    events, summary = asked(environ, "--message", "m1", *PERIOD, code=1)
    assert [(event["type"], event["in_store"]) for event in events] == [
        *(("bounce", "no"), ("open", "yes"), ("open", "no"), ("open", "no"), ("click", "no"))
    ]
    assert summary["types"]["open"] == {"told": 3, "missing": 2, "stored": 0, "only_in_store": 1}
    assert summary["left_out"] == {"attempt": 1}
    assert summary["asked"] == [
        {"from": "2026-10-01", "before": "2026-10-29"},
        {"from": "2026-10-29", "before": "2026-11-21"},
    ]
    assert len(stored(database)) == 2


def test_what_is_missing_is_stored_once_and_its_log_file_finds_it(
    environ: dict[str, str], database: str, folder: Path
) -> None:
    add(database, call(0))
    events, summary = asked(environ, "--message", "m1", "--store", *PERIOD)
    assert sorted(event["in_store"] for event in events) == ["now"] * 4 + ["yes"]
    assert summary["types"]["open"] == {"told": 3, "missing": 2, "stored": 2, "only_in_store": 0}
    before = stored(database)
    assert [event.source for event in before].count(LOGFILE) == 4
    again, _ = asked(environ, "--message", "m1", "--store", *PERIOD)
    assert {event["in_store"] for event in again} == {"yes"}
    settings = Settings.read(environ)
    (report,) = reconcile(
        settings,
        [date(2026, 11, 20)],
        ReconcileOptions(wait=0),
        no_progress,
        connect=lambda given: sources(given, PATIENT),
    )
    assert (report.complete, report.total("recovered"), report.total("superseded")) == (True, 1, 0)
    assert {event.delivery_id for event in before} < {event.delivery_id for event in stored(database)}


def test_a_log_file_first_and_then_the_question_store_nothing_twice(
    environ: dict[str, str], database: str
) -> None:
    settings = Settings.read(environ)
    options = ReconcileOptions(wait=0, everything=True)
    list(reconcile(settings, [date(2026, 11, 20)], options, no_progress, connect=lambda s: sources(s, PATIENT)))
    before = stored(database)
    events, _ = asked(environ, "--recipient", "a@EXAMPLE.nl", "--all", "--store", "--since", DAY)
    assert {event["in_store"] for event in events} == {"yes"}
    assert len(events) == 6
    assert stored(database) == before


def test_a_call_that_comes_after_all_is_its_event_and_handlers_get_that_once(
    environ: dict[str, str], database: str
) -> None:
    handled = environ | {"INGEST_FORWARD_URL": "http://127.0.0.1:9/"}
    asked(handled, "--message", "m1", "--store", "--since", DAY)
    before = {event.delivery_id for event in stored(database)}
    add(database, call(0, number=1), call(5, number=2))
    after = stored(database)
    assert {event.delivery_id for event in after} == before
    assert sorted(event.source for event in after) == [LOGFILE] * 2 + [WEBHOOK] * 2
    with Store.open(database) as store, store.reading() as connection:
        assert connection.execute(select(func.count()).select_from(tables.outbox)).scalar_one() == 2, "types"
    asked(handled, "--message", "m2", "--store", "--no-handlers", "--since", DAY)
    assert len(stored(database)) == len(before) + 1
    with Store.open(database) as store, store.reading() as connection:
        assert connection.execute(select(func.count()).select_from(tables.outbox)).scalar_one() == 2


@pytest.mark.parametrize(
    ("criterion", "number"),
    [
        (("--template", "7"), 6),
        (("--tags", "b;a"), 6),
        (("--tags", "c"), 0),
        (("--template", "7", "--tags", "a"), 6),
        (("--message", "m2"), 1),
        (("--message", "nobody/../m1"), 0),
    ],
)
def test_each_criterion_finds_its_events(environ: dict[str, str], criterion: tuple[str, ...], number: int) -> None:
    events, _ = asked(environ, *criterion, *PERIOD, code=1 if number else 0)
    assert len(events) == number


def test_people_are_shown_a_table(environ: dict[str, str], database: str) -> None:
    add(database, call(0))
    ended = typed("events-of", "--message", "m1", *PERIOD, environ=environ | {"COLUMNS": "200"})
    assert ended.exit_code == 1
    assert "SMTPeter was asked for 2026-10-01 to 2026-11-20 (UTC), in 2 calls." in ended.stdout
    assert "https://example.nl/?a=1&b=" in ended.stdout
    assert "--all takes them, too" in ended.stdout
    nothing = typed("events-of", "--message", "x", *PERIOD, environ=environ)
    assert (nothing.exit_code, "It has no such events." in nothing.stdout) == (0, True)


def test_values_of_any_form_are_read(folder: Path, database: str) -> None:
    state = FakeCopernica(folder, "another", Faults("blank@events,numbers@events,null@events"))
    with fake_smtpeter(state) as settings:
        environ = settings | {"DATABASE_URL": database}
        for _ in range(2):
            events, summary = asked(environ, "--message", "m1", "--since", DAY, code=1)
            assert (len(events), summary["unread"]) == (4, 0)
        events, summary = asked(environ, "--message", "m1", "--since", DAY, code=1)
        assert (events, summary["unread"]) == ([], 5)
        assert "None is no time" in summary["notes"][0]


@pytest.mark.parametrize("plan", ["500*99@events", "401@events", "html*99@events"])
def test_a_failure_is_one_sentence_and_nothing_is_stored(
    plan: str, folder: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.copernica.smtpeter.client.RetryPolicy", lambda: PATIENT)
    with fake_smtpeter(FakeCopernica(folder, "another", Faults(f"ok@events,{plan}"))) as settings:
        ended = typed(
            "events-of", "--message", "m1", "--store", *PERIOD, environ=settings | {"DATABASE_URL": database}
        )
    said = ended.stderr.strip().splitlines()[-1]
    assert (ended.exit_code, said.startswith("ingest: "), said.endswith(".")) == (1, True, True)
    assert SMTPETER_TOKEN not in ended.output
    assert stored(database) == []


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--message", "a", "--recipient", "b"),
        ("--message", " "),
        ("--message", "a\nb"),
        ("--tags", "a;;b"),
        ("--message", "m", "--since", "2020-01-01"),
        ("--message", "m", "--since", "2026-11-20", "--until", "2026-11-19"),
        ("--message", "m", "--since", "2099-01-01"),
    ],
)
def test_mistakes_are_said_before_anything_is_asked(arguments: tuple[str, ...], database: str) -> None:
    environ = {"DATABASE_URL": database, "INGEST_SMTPETER_TOKEN": "x", "INGEST_SMTPETER_URL": "http://127.0.0.1:9"}
    assert typed("events-of", *arguments, environ=environ).exit_code == 2


def test_without_a_token_it_is_said_which_to_set(database: str) -> None:
    ended = typed("events-of", "--message", "m", environ={"DATABASE_URL": database})
    assert (ended.exit_code, "INGEST_SMTPETER_TOKEN is not set" in ended.stderr) == (2, True)


def test_no_call_asks_for_more_than_the_shortest_month() -> None:
    since, until = datetime(2026, 1, 31, 23, 59, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC)
    assert months(since, until) == [
        Asked(date(2026, 1, 31), date(2026, 2, 28)),
        Asked(date(2026, 2, 28), date(2026, 3, 2)),
    ]
    assert months(since, since.replace(minute=59, second=1)) == [Asked(date(2026, 1, 31), date(2026, 2, 1))]
