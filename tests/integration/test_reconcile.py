"""Reconciling with real databases and files: after it the store holds what happened, neither more nor less."""

import gzip
import json
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from ingest.batch import unpack
from ingest.copernica.events import LOGFILE
from ingest.errors import SettingsError
from ingest.settings import Settings
from tests.support.cli import typed
from tests.support.logs import (
    DAY,
    PREFIXES,
    START,
    Happened,
    a_day,
    contents,
    csv_of,
    files,
    no_progress,
    stored_keys,
)
from workers.operations.erase import erase
from workers.reconcile.logfile import LogFile
from workers.reconcile.report import DayReport
from workers.reconcile.run import ReconcileOptions, days_of, reconcile_files
from workers.reconcile.schedule import Schedule
from workers.records import Quarantined, read
from workers.store.filters import Filter
from workers.store.schema import upgrade
from workers.store.store import Store

things = st.builds(
    Happened,
    st.sampled_from(PREFIXES),
    st.sampled_from((0, 1, 43_200, 86_399)),
    st.sampled_from(("5fd2c1aa90bb", "5fd2c1aa90c4", "é;\n")),
    st.sampled_from(("jan@example.nl", "eva@example.nl")),
    st.sampled_from(("192.0.2.1", "2001:db8::7")),
    st.sampled_from(("https://example.nl/a", "https://example.nl/?b=1,2")),
)


def settings_for(database: str, redis_url: str | None = None, **more: str) -> Settings:
    return Settings.read({"DATABASE_URL": database, **({"REDIS_URL": redis_url} if redis_url else {}), **more})


def reconciled(
    database: str, happened: list[Happened], options: ReconcileOptions | None = None, **more: Any
) -> DayReport:
    reports = list(
        reconcile_files(
            settings_for(database), files(happened), True, options or ReconcileOptions(wait=0), no_progress, **more
        )
    )
    assert len(reports) == 1
    return reports[0]


@contextmanager
def emptied(store: Store) -> Iterator[None]:
    with store.writing() as connection:
        connection.execute(text("DELETE FROM events"))
    yield


@pytest.mark.timeout(240)  # seconds; much of it is for machines that are busy
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(happened=st.lists(things, max_size=20), data=st.data())
def test_the_store_ends_as_what_happened_whatever_was_lost_or_late(
    store: Store, database: str, happened: list[Happened], data: st.DataObject
) -> None:
    calls = [one.call(number) for number, one in enumerate(happened)]
    truth = Counter(one.key for one in happened)
    lost = {number for number in range(len(calls)) if data.draw(st.booleans())}
    with emptied(store):
        for number, call in enumerate(calls):
            if number not in lost:
                for _ in range(data.draw(st.integers(1, 2))):
                    store.add([call])
        if not happened:
            return
        first = reconciled(database, happened)
        assert first.complete
        assert first.total("recovered") == len(lost)
        assert first.total("in_store") == len(calls) - len(lost)
        assert stored_keys(store) == truth

        again = reconciled(database, happened)
        assert (again.total("recovered"), again.total("superseded"), again.total("only_in_store")) == (0, 0, 0)
        assert stored_keys(store) == truth

        late = store.add([calls[number] for number in lost])
        third = reconciled(database, happened)
        # A call that does not tell its time may take the event of another, whose own is then one too many.
        assert late.new == third.total("superseded")
        assert late.new + late.upgraded == len(lost)
        assert stored_keys(store) == truth
        assert not [event for event in store.find(Filter()) if event.source == LOGFILE], "calls tell more"


def test_what_the_log_files_lack_is_reported_and_stays(store: Store, database: str) -> None:
    day = a_day()
    store.add([one.call(number) for number, one in enumerate(day)])
    report = reconciled(database, day[:-70])
    assert report.total("only_in_store") == 70
    assert report.complete, "nothing that Copernica has is missing"
    assert stored_keys(store).total() == len(day)


def test_the_number_of_a_link_is_not_taken_for_another_click(store: Store, database: str) -> None:
    """The Marketing Suite's log files have the number in `linkinfo`, webhooks the address in `original`."""
    clicks = [one for one in a_day(100) if one.type == "click"]
    twice = [*clicks, *clicks]
    store.add([one.call(number) for number, one in enumerate(twice)])
    report = reconciled(database, [one._replace(link="4711", ip=f"::ffff:{one.ip}") for one in twice])
    assert (report.complete, report.total("recovered"), report.total("in_store")) == (True, 0, len(twice))
    assert stored_keys(store) == Counter(one.key for one in twice)


def test_who_was_erased_does_not_come_back(store: Store, database: str) -> None:
    day = a_day(100)
    erase(store, day[0].recipient, dry_run=False)
    for _ in range(2):
        report = reconciled(database, day)
        theirs = [one for one in day if one.recipient == day[0].recipient]
        assert (report.complete, report.total("erased")) == (True, len(theirs))
    assert stored_keys(store) == Counter(one.key for one in day if one not in theirs)


def test_a_suspected_click_explains_what_only_the_store_has(store: Store, database: str) -> None:
    clicks = [one for one in a_day(100) if one.prefix == "cdm-click"]
    store.add([one.call(number) for number, one in enumerate(clicks)])
    suspected = [one._replace(prefix="cdm-bot-click") for one in clicks[:5]]
    report = reconciled(database, [*clicks[6:], *suspected])
    assert (report.complete, report.total("recovered")) == (True, 0)
    assert (report.total("suspected"), report.total("only_in_store")) == (5, 1)
    every = reconciled(database, [*clicks[6:], *suspected], ReconcileOptions(wait=0, everything=True))
    assert (every.total("recovered"), every.total("suspected")) == (5, 5), (
        "with --all, they are events of their own"
    )


def test_recovered_events_reach_the_handlers_as_they_are_stored(
    store: Store, database: str, redis_url: str
) -> None:
    day = a_day(21)
    options = ReconcileOptions(wait=0)
    told = settings_for(database, redis_url, INGEST_HANDLERS="mine")
    (report,) = reconcile_files(told, files(day), True, options, no_progress)
    assert report.total("recovered") == 21
    with store.reading() as connection:
        packed = connection.execute(text("SELECT packed FROM outbox")).scalars().all()
    handed = [read(record) for batch in packed for record in unpack(bytes(batch))]
    assert not [event for event in handed if isinstance(event, Quarantined)]
    assert {e.delivery_id: e for e in handed if not isinstance(e, Quarantined)} == {
        event.delivery_id: event for event in store.find(Filter())
    }
    list(reconcile_files(told, files(a_day(42)), True, ReconcileOptions(wait=0, handlers=False), no_progress))
    with store.reading() as connection:
        assert connection.execute(text("SELECT sum(count) FROM outbox")).scalar() == 21


def test_a_damaged_line_is_skipped_and_the_day_is_not_complete(tmp_path: Path, database: str) -> None:
    (name, content), *_ = contents([one for one in a_day(20) if one.prefix == "cdm-delivery"]).items()
    lines = content.split(b"\n")
    lines[2] = b"only,three,columns"
    (tmp_path / name).write_bytes(b"\n".join(lines))
    done = typed("import", "--complete", "--wait", "0", str(tmp_path / name), environ={"DATABASE_URL": database})
    assert done.exit_code == 1
    assert "line 3" in done.stdout
    assert "not complete" in done.stdout
    store = Store.open(database)
    assert stored_keys(store).total() == len(lines) - 3
    assert Schedule.of(store).through is None
    store.close()


@pytest.mark.parametrize(
    "packing", [*(pytest.param(one, marks=pytest.mark.slow) for one in ("plain", "gz")), "zip"]
)
def test_files_downloaded_by_hand_may_be_packed(tmp_path: Path, packing: str) -> None:
    database = f"sqlite:///{tmp_path}/events.db"
    environ = {"DATABASE_URL": database}
    upgrade(database)
    day = a_day(60)
    paths = []
    for name, content in contents(day).items():
        if packing == "gz":
            paths.append(tmp_path / f"{name}.csv.gz")
            paths[-1].write_bytes(gzip.compress(content))
        elif packing == "zip":
            paths = [tmp_path / "all.zip"]
            with zipfile.ZipFile(paths[0], "a", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr(f"logs/{name}", content)
        else:
            paths.append(tmp_path / name)
            paths[-1].write_bytes(content)
    done = typed("import", "--json", "--wait", "0", *map(str, paths), environ=environ)
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)
    assert sum(kind["recovered"] for kind in report["kinds"]) == len(day)
    assert not report["complete"], "nobody said that these are all files of the day"
    shown = typed("import", "--complete", "--wait", "0", *map(str, paths), environ=environ)
    assert f"{DAY}  complete" in shown.stdout
    store = Store.open(database)
    assert Schedule.of(store).through == (DAY, DAY)
    store.close()


def test_a_file_whose_name_does_not_say_its_kind_needs_options(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/events.db"
    environ = {"DATABASE_URL": database}
    upgrade(database)
    (content,) = contents([one for one in a_day(20) if one.prefix == "cdm-click"]).values()
    (tmp_path / "download.txt").write_bytes(content)
    refused = typed("import", str(tmp_path / "download.txt"), environ=environ)
    assert (refused.exit_code, refused.stderr.count("\n")) == (1, 1)
    assert "--kind" in refused.stderr
    told = ("--kind", "cdm-click", "--day", str(DAY), "--wait", "0")
    assert typed("import", *told, str(tmp_path / "download.txt"), environ=environ).exit_code == 0


def test_a_packed_file_that_is_cut_off_is_no_whole_day(tmp_path: Path) -> None:
    environ = {"DATABASE_URL": f"sqlite:///{tmp_path}/events.db"}
    upgrade(environ["DATABASE_URL"])
    (name, content), *_ = contents([one for one in a_day(3000) if one.prefix == "cdm-click"]).items()
    packed = gzip.compress(content)
    (tmp_path / f"{name}.gz").write_bytes(packed[: len(packed) // 2])
    done = typed("import", "--complete", "--wait", "0", str(tmp_path / f"{name}.gz"), environ=environ)
    assert (done.exit_code, done.stderr) == (1, "")
    assert "unpacked" in done.stdout
    assert "not complete" in done.stdout


def named_as_of(day: date, happened: list[Happened]) -> list[LogFile]:
    return [each._replace(name=each.name.replace(str(DAY), str(day)), day=day) for each in files(happened)]


def test_lines_of_another_day_never_make_a_day_complete(store: Store, database: str) -> None:
    evening = [one for one in a_day(100) if one.prefix == "cdm-delivery" and one.second > 60_000]
    told = settings_for(database)
    options = ReconcileOptions(wait=0)
    tomorrow = DAY + timedelta(days=1)
    (report,) = reconcile_files(told, named_as_of(tomorrow, evening), True, options, no_progress)
    assert (report.complete, report.ok, report.total("outside")) == (False, True, len(evening))
    assert report.why == f"{len(evening)} lines are of another day"
    assert f"{len(evening)} lines are not of {tomorrow}, though" in report.kinds[0].notes[0]
    assert Schedule.of(store).through is None
    # What was written down shortly after midnight may be in the next day's file.
    at_midnight = [one._replace(second=86_399) for one in evening]
    (report,) = reconcile_files(told, named_as_of(tomorrow, at_midnight), True, options, no_progress)
    assert (report.complete, report.total("outside")) == (True, 0)


def test_lines_of_the_files_day_in_the_logs_own_time_zone_are_of_that_day(store: Store, database: str) -> None:
    ends = [one._replace(second=second) for one in a_day(7) for second in (0, 86_399)]
    told = settings_for(database, INGEST_LOGFILE_TZ="Asia/Tokyo")
    (report,) = reconcile_files(told, files(ends), True, ReconcileOptions(wait=0), no_progress)
    assert (report.complete, report.total("outside")) == (True, 0)


def test_times_without_a_call_are_shown(tmp_path: Path, database: str) -> None:
    store = Store.open(database)
    failed = [
        {
            "time": f"2026-11-20 {clock}",
            "response": said,
            "recipient": "https://example.nl/copernica",
            "header": "",
        }
        for clock, said in (("02:13:00", "503"), ("02:13:04", "503"), ("02:17:00", "timeout"), ("05:00:00", "503"))
    ]
    content = csv_of(("time", "response", "recipient", "header"), failed)
    (tmp_path / f"feedback-loop-errors.{DAY}.log").write_bytes(content)
    path = str(tmp_path / f"feedback-loop-errors.{DAY}.log")
    done = typed("import", "--json", "--wait", "0", path, environ={"DATABASE_URL": database})
    outages = json.loads(done.stdout)["outages"]
    assert [(o["since"], o["until"], o["calls"]) for o in outages] == [
        ("2026-11-20T02:13:00Z", "2026-11-20T02:17:00Z", 3),
        ("2026-11-20T05:00:00Z", "2026-11-20T05:00:00Z", 1),
    ]
    assert outages[0]["responses"] == {"503": 2, "timeout": 1}
    store.close()


def test_days_that_are_not_over_are_refused_unless_asked_for() -> None:
    today = datetime.now(UTC).date()
    with pytest.raises(SettingsError, match="--partial"):
        days_of(today - timedelta(days=1), today, partial=False)
    assert days_of(today, None, partial=True) == [today]
    with pytest.raises(SettingsError, match="not begun"):
        days_of(today + timedelta(days=1), None, partial=True)
    with pytest.raises(SettingsError, match="earlier day first"):
        days_of(date(2026, 11, 3), date(2026, 11, 1), partial=False)
    assert len(days_of(date(2026, 10, 30), date(2026, 11, 2), partial=False)) == 4


def test_calls_under_way_are_counted_when_they_do_not_arrive(
    store: Store, database: str, client: redis.Redis, redis_url: str
) -> None:
    from ingest.batch import Record, pack
    from ingest.stream.keys import Keys

    record = Record(b"x" * 12, START, b"/copernica", b"", b"a=1")
    client.xadd(Keys().stream, {"b": pack([record])})
    client.hset(Keys().counts, "accepted", 1)
    told = settings_for(database, redis_url)
    (report,) = reconcile_files(told, files(a_day(7)), True, ReconcileOptions(wait=0.3), no_progress)
    assert report.in_flight == 1
    assert report.complete
