"""What is done once a day: retention, and who sees that it is done."""

import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from ingest.batch import Record
from ingest.copernica.events import DAY, EventType, decode
from ingest.jobs import DAILY_EVERY, DAILY_RETRY, JobScheduler
from ingest.settings import Settings
from ingest.stream.keys import Keys
from ingest.stream.reports import EndpointReport
from tests.support.builders import FORM, NINE, SECOND, aged_call, event
from tests.support.cli import NOWHERE, typed
from tests.support.running import free_port
from tests.support.sql import rows, waiting_records
from workers.operations import retention
from workers.operations.retention import clean_up, daily_job
from workers.records import Quarantined
from workers.store import commits, console_tables, tables
from workers.store.filters import Filter
from workers.store.schema import upgrade
from workers.store.store import Store

KEYS = Keys()
SETTINGS = Settings.read({})
REPORT = EndpointReport("off", 0, 0, {}, 0, 0.0, "closed")
AGES = (400, 62, 31, 30.01, 29.99, 29, 1, 0)


def ages(found: Iterator[bytes]) -> list[float]:
    return sorted((int.from_bytes(each[4:], "big") / 100 for each in found), reverse=True)


@pytest.fixture
def calls(store: Store) -> list[Record]:
    """Events, unreadable and unverified calls of all ages."""
    calls = [aged_call(age) for age in AGES]
    events = [decode(one.body, FORM, "/", one.received_at, one.delivery_id) for one in calls]
    store.add(events, [Quarantined(one, "no form") for one in calls], calls)
    return calls


def left(store: Store) -> list[list[float]]:
    return [
        ages(event.delivery_id for event in store.find(Filter())),
        ages(bytes(row.delivery_id) for row in store.rows(tables.quarantine)),
        ages(record.delivery_id for record in waiting_records(store)),
    ]


@pytest.fixture
def settings(redis_url: str, database: str) -> Settings:
    environ = {"REDIS_URL": redis_url, "DATABASE_URL": database, "INGEST_RETENTION_DAYS": "30"}
    return Settings.read(environ)


def test_what_is_older_than_the_retention_goes_and_the_rest_stays(
    settings: Settings, store: Store, calls: list[Record]
) -> None:
    assert clean_up(settings) == 3 * 4
    assert left(store) == [[29.99, 29, 1, 0]] * 3
    assert clean_up(settings) == 0
    assert left(store) == [[29.99, 29, 1, 0]] * 3
    # The same calls, delivered once more: nothing stands in their way, and the next day they go again.
    store.add([decode(one.body, FORM, "/", one.received_at, one.delivery_id) for one in calls])
    assert store.stored() == len(AGES)
    assert clean_up(settings) == 4


def test_without_a_retention_everything_is_kept(settings: Settings, store: Store, calls: list[Record]) -> None:
    assert clean_up(settings.model_copy(update={"retention_days": 0})) == 0
    assert left(store) == [list(AGES)] * 3


@pytest.mark.slow
@pytest.mark.parametrize(("days", "kept"), [(7, 6), (0, 29), (365, 29)])
def test_when_calls_were_stored_is_kept_for_a_month_and_never_longer_than_events(
    settings: Settings, store: Store, days: int, kept: int
) -> None:
    now = time.time_ns() // 1000
    with store.writing() as connection:
        for age in (1, 6, 8, 29, 31):
            one = aged_call(age)
            noted = commits._noted("drain", now - age * 86_400_000_000, one.delivery_id, one.delivery_id, (), ())
            connection.execute(console_tables.commits.insert(), [noted])
    clean_up(settings.model_copy(update={"retention_days": days}))
    ((oldest,),) = rows(store, "SELECT min(stored_at) FROM commits")
    assert round((now - oldest) / 86_400_000_000) == kept


def test_what_expired_is_found_no_more(settings: Settings, store: Store) -> None:
    bodies = [b"type=open&id=m&recipient=jan@example.nl", b"type=click&id=m&recipient=eva@example.nl"]
    records = [aged_call(age)._replace(body=body) for age, body in zip((31, 1), bodies, strict=True)]
    store.add([decode(one.body, FORM, "/", one.received_at, one.delivery_id) for one in records])
    clean_up(settings)
    assert list(store.find(Filter(recipient="jan@example.nl"))) == []
    assert [event.type for event in store.find(Filter(message_id="m"))] == ["click"]
    assert [row[1:] for row in store.counts(Filter(), "day")] == [("click", 1)]


def test_types_that_are_kept_for_fewer_days_go_sooner_wherever_they_wait(settings: Settings, store: Store) -> None:
    def aged(age: float, kind: str, number: int) -> Record:
        call = aged_call(age)
        return call._replace(
            delivery_id=call.delivery_id[:4] + number.to_bytes(8, "big"),
            body=f"type={kind}&id=m{number}&mailing=7&time={int(time.time() - age * DAY)}".encode(),
        )

    calls = [
        aged(6, "open", 1),
        aged(8, "open", 2),
        aged(8, "click", 3),
        aged(31, "click", 4),
        aged(20, "open", 5),
    ]
    store.add(
        [decode(one.body, FORM, "/", one.received_at, one.delivery_id) for one in calls],
        hand_on={one.delivery_id: one for one in calls},
    )
    changed = settings.model_copy(update={"retention_types": (("open", 7),)})
    assert clean_up(changed) == 3 + 3  # each lies in the outbox, too
    assert [event.message_id for event in store.find(Filter())] == ["m3", "m1"]
    assert store.counts(Filter(mailing=7), "day") == store.counts(Filter(), "day")
    assert sum(number for _, _, number in store.counts(Filter(), "day")) == 2
    assert clean_up(changed) == 0


def test_types_are_deleted_sooner_also_where_all_others_stay_for_ever(settings: Settings, store: Store) -> None:
    old = event(1, occurred_at=NINE - 4000 * DAY * SECOND)._replace(delivery_id=(1).to_bytes(12, "big"))
    store.add([old, old._replace(delivery_id=(2).to_bytes(12, "big"), type=EventType.CLICK)])
    clean_up(settings.model_copy(update={"retention_days": 0, "retention_types": (("open", 7),)}))
    assert [one.type for one in store.find(Filter())] == ["click"]


@pytest.fixture
def in_environment(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("INGEST_RETENTION_DAYS", "30")


@pytest.mark.usefixtures("in_environment")
def test_the_job_cleans_up(
    database: str, store: Store, calls: list[Record], client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", database)
    JobScheduler(client).enqueue_daily()
    assert daily_job() == 12
    assert client.ttl(KEYS.daily) > DAILY_RETRY


@pytest.mark.usefixtures("in_environment")
def test_what_cannot_be_read_goes_with_the_rest(
    database: str, store: Store, client: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", database)
    monkeypatch.setenv("INGEST_SPOOL_DIR", str(tmp_path))
    now = time.time()
    for age, name in ((31, "old"), (29, "new")):
        client.xadd(KEYS.dead, {"b": name}, id=f"{int((now - age * DAY) * 1000)}-0")
        (tmp_path / f"{name}.bad").write_bytes(b"")
        os.utime(tmp_path / f"{name}.bad", (now, now - age * DAY))
    daily_job()
    entries: Any = client.xrange(KEYS.dead)
    assert [fields[b"b"] for _, fields in entries] == [b"new"]
    assert sorted(path.name for path in tmp_path.glob("*.bad")) == ["new.bad"]


def test_a_clock_that_is_ahead_deletes_nothing(
    settings: Settings, store: Store, calls: list[Record], client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + 1000 * DAY * 10**9)
    assert clean_up(settings) == 3 * 4
    assert left(store) == [[29.99, 29, 1, 0]] * 3


@pytest.mark.usefixtures("in_environment")
def test_a_job_without_its_database_says_so_once_and_is_tried_again_soon(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("DATABASE_URL", NOWHERE)
    JobScheduler(client).enqueue_daily()
    assert client.ttl(KEYS.daily) > DAILY_EVERY - 60
    with caplog.at_level(logging.INFO):
        assert daily_job() == 0
    (line,) = caplog.records
    assert line.levelno == logging.ERROR
    assert line.exc_info is None
    assert "tried again" in line.getMessage()
    assert "geheim" not in caplog.text
    assert 0 < client.ttl(KEYS.daily) <= DAILY_RETRY


@pytest.mark.usefixtures("in_environment")
def test_a_job_with_neither_database_nor_redis_ends_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("DATABASE_URL", NOWHERE)
    monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{free_port()}/0")
    assert daily_job() == 0
    assert [line.levelno for line in caplog.records] == [logging.ERROR, logging.WARNING]
    assert "Traceback" not in caplog.text


def test_a_number_of_days_that_cannot_be_is_refused(redis_url: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/x.db"
    upgrade(url)
    for days in ("-1", "1.5", "ever", "99999999"):
        environ = {"REDIS_URL": redis_url, "DATABASE_URL": url, "INGEST_RETENTION_DAYS": days}
        done = typed("stats", environ=environ)
        assert done.exit_code == 2
        assert f"INGEST_RETENTION_DAYS='{days}' cannot be used" in done.stderr


def test_a_clock_that_jumps_ahead_deletes_no_more_than_two_days_would(
    settings: Settings, store: Store, calls: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    clean_up(settings)
    now = retention._earliest_now(settings, store)
    monkeypatch.setattr(retention, "_earliest_now", lambda *_: now + 365 * DAY)
    clean_up(settings)
    assert left(store) == [[1, 0]] * 3
