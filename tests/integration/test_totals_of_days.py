"""Which days' totals are compared and when, and where what came of it is said."""

import json
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from ingest.copernica.events import LOGFILE, REST
from ingest.settings import Settings
from ingest.simulation.fake_api import FakeCopernica
from tests.support.cli import typed
from tests.support.fake_copernica import TOKEN, fake_copernica
from tests.support.logs import DAY
from tests.support.totals import (
    CLICK,
    NOON,
    Told,
    add_destinations,
    asked,
    calls,
    compared,
    connect,
    log_files_are_there,
    on_sqlite,
    some,
    truth_of,
)
from workers.operations import shared_figures, status
from workers.reconcile import history as reconciled
from workers.reconcile.report import DayReport
from workers.store import tables
from workers.store.store import Store
from workers.totals import daily, history
from workers.totals.audit import audit
from workers.totals.report import Cause


@on_sqlite
def test_a_day_that_is_not_over_or_was_deleted_or_lacks_its_log_files_is_not_decided(
    store: Store, database: str
) -> None:
    told = some(3)
    store.add(calls(told))
    assert compared(database, truth_of(told)).undecided is Cause.LOG_FILES
    log_files_are_there(store)
    assert compared(database, truth_of(told), INGEST_RETENTION_DAYS="3").undecided is Cause.RETENTION
    today = datetime.now(UTC).date()
    assert compared(database, truth_of(told), day=today).undecided is Cause.DAY_NOT_OVER
    assert {verdict.agrees for verdict in history.verdicts(store).values()} == {None}


def test_totals_expire(store: Store, database: str) -> None:
    told = some(3)
    store.add(calls(told))
    log_files_are_there(store)
    compared(database, truth_of(told))
    assert history.expire(store, DAY + timedelta(days=9), 30) == 0
    assert history.expire(store, DAY + timedelta(days=9), 5) == 2
    compared(database, truth_of(told))
    assert history.expire(store, DAY + timedelta(days=70), 0) == 1
    assert set(history.verdicts(store)) == {DAY}


@on_sqlite
def test_the_command_shows_both_sides_and_ends_with_1_if_they_differ(store: Store, database: str) -> None:
    told = [*some(5), *some(1200, kind=CLICK, mailing=90210)]
    store.add(calls(told[1:]))
    log_files_are_there(store)
    with fake_copernica(FakeCopernica(None, TOKEN, truth=truth_of(told))) as environ:
        here = {**environ, "DATABASE_URL": database}
        shown = typed("audit-mailings", str(DAY), environ=here)
        assert shown.exit_code == 1
        assert max(map(len, shown.stdout.splitlines()[1:-1])) <= 80
        assert "2026-11-20  the totals of 1 mailing differ (open: 1 missing)" in shown.stdout
        assert ["ms", "90210", "click", "1,200", "1,200", "1,200", "1,200"] in [
            line.split() for line in shown.stdout.splitlines()
        ]
        (told_day,) = map(
            json.loads, typed("audit-mailings", str(DAY), "--json", environ=here).stdout.splitlines()
        )
        assert told_day["agrees"] is False
        assert told_day["totals"][0] == {
            "product": "ms",
            "mailing": 77,
            "kind": "open",
            "copernica": {"total": 5, "unique": 5},
            "store": {"total": 4, "unique": 4},
            "difference": 1,
            "agrees": False,
            "causes": [],
        }
        store.add(calls(told[:1], 9000))
        assert typed("audit-mailings", str(DAY), environ=here).exit_code == 0
        future = typed("audit-mailings", "2126-11-20", environ=here)
        assert (future.exit_code, future.stderr.count("\n")) == (2, 1)


def compare(settings: Settings, day: date = DAY) -> int:
    return daily.compare_due(settings, day + timedelta(days=1), lambda: None)


@pytest.mark.slow
def test_days_are_compared_once_their_log_files_are_there_and_again_until_they_agree(
    store: Store, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daily, "audit", partial(audit, connect=connect))
    told = some(3)
    store.add(calls(told[1:]))
    with asked(database, truth_of(told)) as (fake, settings):
        assert compare(settings) == 0
        assert not fake.seen, "nothing is complete yet"
        log_files_are_there(store)
        assert compare(settings) == 0
        assert history.verdicts(store)[DAY].agrees is False
        requests = len(fake.seen)
        assert compare(settings) == 0
        assert len(fake.seen) == requests, "not again at once"
        store.add(calls(told[:1], 9))
        with store.writing() as connection:
            earlier = datetime.now(UTC) - timedelta(hours=21)
            connection.execute(tables.day_totals.update().values(checked_at=earlier))
        assert compare(settings) == 1
        with store.writing() as connection:
            connection.execute(tables.day_totals.update().values(checked_at=earlier))
        requests = len(fake.seen)
        assert compare(settings) == 0
        assert len(fake.seen) == requests, "it agrees"
        assert daily.due(store, DAY + history.AGAIN_FOR + timedelta(days=2)) == []


@on_sqlite
def test_a_token_without_the_right_ends_no_job_and_totals_can_be_left_out(
    store: Store, database: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(daily, "audit", partial(audit, connect=connect))
    store.add(calls(some(2)))
    log_files_are_there(store)
    with asked(database, truth_of(some(2)), "403*9@statistics", INGEST_AUDIT_MAILINGS="off") as (fake, settings):
        assert compare(settings) == 0
        assert not fake.seen
        assert compare(settings.model_copy(update={"audit_mailings": "on"})) == 0
    assert "totals are not compared" in caplog.text
    assert "Traceback" not in caplog.text


@pytest.mark.slow
def test_status_says_of_each_day_what_came_from_where_and_whether_it_is_complete(
    store: Store, database: str, redis_url: str, tmp_path: Path
) -> None:
    today = datetime.now(UTC).date()
    yesterday, shift = today - timedelta(days=1), (today - DAY).days - 1
    told = some(6)
    moved = [one._replace(second=one.second + shift * 86_400) for one in told]
    store.add(calls(moved[:3]) + calls(moved[3:5], 3, LOGFILE) + calls(moved[5:], 5, REST))
    store.add(calls([one._replace(second=one.second + (shift + 1) * 86_400) for one in told[:2]], 50))
    environ = {"REDIS_URL": redis_url, "DATABASE_URL": database, "INGEST_DATA_DIR": str(tmp_path)}

    def days() -> list[dict[str, object]]:
        found: list[dict[str, object]] = json.loads(typed("status", "--json", environ=environ).stdout)["days"]
        return found

    nothing = {"complete": None, "log_files": None, "totals": None, "differs": None}
    sources = {"webhook": 3, "logfile": 2, "rest": 1}
    assert days() == [
        {"day": str(today), **nothing, "webhook": 2, "logfile": 0, "rest": 0},
        {"day": str(yesterday), **nothing, **sources},
    ]
    reconciled.save(store, DayReport(yesterday, whole=True), reconciled.API)
    assert days()[1] == {**nothing, "day": str(yesterday), "complete": True, "log_files": True, **sources}
    compared(database, truth_of([*moved, Told("ms-77-9", second=moved[0].second)]), day=yesterday)
    why = "the totals of 1 mailing differ (open: 1 missing)"
    now = {"day": str(yesterday), "complete": False, "log_files": True, "totals": False, "differs": why, **sources}
    assert days()[1] == now
    figures = json.loads(typed("status", "--json", environ=environ).stdout)
    assert figures["reconciled"]["differing"] == figures["reconciled"]["incomplete"] == [str(yesterday)]
    assert figures["reconciled"]["complete_through"] is None
    assert "totals-differ" in [one["code"] for one in figures["warnings"]]
    assert f"{yesterday}" in typed("status", environ=environ).stdout
    with Store.open(database) as there:
        gauges = dict(shared_figures.of_store(status.of_store(there, for_people=False), today))
    assert gauges["ingest_day_complete", str(yesterday)] == 0
    compared(database, truth_of(moved), day=yesterday)
    assert days()[1] == {
        **nothing,
        "day": str(yesterday),
        "complete": True,
        "log_files": True,
        "totals": True,
        **sources,
    }


@on_sqlite
def test_what_reconcile_says_of_a_day_knows_its_totals(store: Store, database: str, tmp_path: Path) -> None:
    name = f"cdm-impression.{DAY}.log"
    lines = ["id,time,ip,email", *(f"ms-77-{n},{DAY} 12:00:0{n},192.0.2.1,jan@example.nl" for n in range(3))]
    (tmp_path / name).write_text("\n".join(lines) + "\n")

    def said() -> dict[str, object]:
        done = typed(
            "import", str(tmp_path / name), "--complete", "--wait", "0", "--json",
            environ={"DATABASE_URL": database, "REDIS_URL": "redis://127.0.0.1:1/0"},
        )  # fmt: skip
        told: dict[str, object] = json.loads(done.stdout)
        return {key: told[key] for key in ("complete", "log_files", "totals", "error")}

    assert said() == {"complete": True, "log_files": True, "totals": None, "error": None}
    add_destinations(store, [("ms", n, f"ms-77-{n}", 77) for n in range(4)])
    compared(database, truth_of([*some(3), Told("ms-77-3", second=NOON + 9)]))
    differs = {"agree": False, "why": "the totals of 1 mailing differ (open: 1 missing)"}
    assert said() == {"complete": False, "log_files": True, "totals": differs, "error": None}
    lines.append(f"ms-77-3,{DAY} 12:00:09,192.0.2.1,jan@example.nl")
    (tmp_path / name).write_text("\n".join(lines) + "\n")
    assert said()["totals"] is None, "that was before something was recovered"
    compared(database, truth_of([*some(3), Told("ms-77-3", second=NOON + 9)]))
    assert said()["totals"] == {"agree": True, "why": ""}
