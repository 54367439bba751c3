"""How far behind the workers are, and how many there should be."""

import time
from collections.abc import Sequence
from typing import Any, cast

import pytest
import redis
from click.testing import CliRunner
from orjson import loads
from rq import Worker
from rq.serializers import JSONSerializer
from rq.suspension import suspend
from rq.worker import WorkerStatus

from ingest.batch import Record, pack
from ingest.cli.main import main
from ingest.errors import Unavailable
from ingest.settings import Settings
from ingest.stream.consumer import GROUP, Consumer
from ingest.stream.keys import Keys
from tests.support.builders import handler, record
from tests.support.sql import add, execute, give
from tests.support.stream import KEYS, keep
from workers.handlers.throttle import OPENS_AT, Bucket, TargetBreaker, is_held_up
from workers.handlers.work_queue import WorkQueue
from workers.operations.scale import TARGET_SECONDS, gather, recommended
from workers.store.store import Store

#: In ms: when a batch came in whose drain is still at it.
HOUR_AGO = 3_600_000


@pytest.fixture
def settings(redis_url: str, database: str, store: Store) -> Settings:
    return Settings.read({"REDIS_URL": redis_url, "DATABASE_URL": database})


def old_batch(client: redis.Redis, records: Sequence[Record]) -> None:
    """As if it had been written an hour ago."""
    id_ = f"{time.time_ns() // 10**6 - HOUR_AGO}-0"
    client.xadd(KEYS.stream, {"b": pack(records, with_dictionary=True)}, id=id_)
    client.hincrby(KEYS.counts, "accepted", len(records))


def test_what_is_claimed_and_not_acknowledged_still_waits(client: redis.Redis, settings: Settings) -> None:
    old_batch(client, [record(1), record(2)])
    drain = Consumer(client, "drain:1")
    entries = drain.claim(10)
    assert len(entries) == 1
    (group,) = client.xinfo_groups(KEYS.stream)
    assert group["lag"] in (0, None), "which is why it is not what is asked"
    scale = gather(settings)
    assert 3600 <= scale.seconds_behind == scale.queues["events"].seconds_behind < 3700
    assert scale.queues["events"].waiting == 2
    drain.ack([entry.id for entry in entries], 2)
    assert gather(settings).seconds_behind == 0


def test_a_deletion_that_makes_the_lag_unknown_changes_nothing(client: redis.Redis, settings: Settings) -> None:
    old_batch(client, [record(1)])
    keep(client, [record(2)], [record(3)])
    Consumer(client).prepare()
    entries = cast(Any, client.xrange(KEYS.stream))
    client.xdel(KEYS.stream, entries[1][0])
    assert next(one for one in client.xinfo_groups(KEYS.stream) if one["name"] == GROUP.encode())["lag"] is None
    assert gather(settings).queues["events"].seconds_behind >= 3600


def test_nothing_waits_in_an_empty_installation(settings: Settings) -> None:
    scale = gather(settings)
    assert scale.seconds_behind == 0
    assert {name: queue.recommended_workers for name, queue in scale.queues.items()} == {
        "events": 1,
        "handlers": 1,
    }


def due_ago(store: Store, name: str, seconds: int) -> None:
    execute(store, f"UPDATE handoffs SET due_at = due_at - {seconds * 10**6} WHERE handler = '{name}'")


def test_handlers_are_behind_by_what_is_due_be_it_claimed_or_not(store: Store, settings: Settings) -> None:
    for name, seconds in (("crm", 50), ("later", -500)):
        give(store, name, [record(1)])
        due_ago(store, name, seconds)
    assert 50 <= gather(settings).queues["handlers"].seconds_behind < 60
    assert WorkQueue(store).claim(handler("crm"), 1, 1)
    behind = gather(settings).queues["handlers"]
    assert 50 <= behind.seconds_behind < 60
    assert behind.waiting == 2


def test_what_no_handler_was_given_yet_waits_since_it_came_in(store: Store, settings: Settings) -> None:
    now = time.time_ns() // 1000
    add(store, *(record(number)._replace(received_at=now - number * 10**6) for number in (30, 40)))
    assert 40 <= gather(settings).queues["handlers"].seconds_behind < 50


def test_more_workers_are_no_help_to_a_handler_that_waits_for_its_target(
    store: Store, settings: Settings, client: redis.Redis
) -> None:
    give(store, "crm", [record(1)])
    due_ago(store, "crm", 1000)
    worker(client, "handlers", busy=False)
    assert gather(settings).queues["handlers"].recommended_workers == 2
    breaker = TargetBreaker(client, "crm", 5)
    for _ in range(OPENS_AT):
        breaker.failed()
    behind = gather(settings).queues["handlers"]
    assert (behind.recommended_workers, behind.seconds_behind > 1000) == (1, True)


def test_a_handler_waits_for_its_rate_while_its_bucket_is_empty(client: redis.Redis) -> None:
    assert not is_held_up(client, "crm")
    bucket = Bucket(client, "crm", 0.001)
    bucket.take(1)
    assert is_held_up(client, "crm")
    client.hincrbyfloat(Keys().bucket("crm"), "at", -3600)
    assert not is_held_up(client, "crm")


def worker(client: redis.Redis, queue: str, busy: bool) -> None:
    one = Worker([queue], connection=client, serializer=JSONSerializer)
    one.register_birth()  # type: ignore[no-untyped-call]
    one.set_state(WorkerStatus.BUSY if busy else WorkerStatus.IDLE)


def test_workers_are_counted_by_their_queue(client: redis.Redis, settings: Settings) -> None:
    for queue, busy in (("events", True), ("events", False), ("handlers", True), ("another", True)):
        worker(client, queue, busy)
    found = gather(settings).queues
    assert {name: (queue.workers, queue.busy) for name, queue in found.items()} == {
        "events": (2, 1),
        "handlers": (1, 1),
    }


def test_while_rq_is_suspended_as_many_are_recommended_as_there_are(
    client: redis.Redis, settings: Settings
) -> None:
    for _ in range(3):
        worker(client, "events", busy=False)
    old_batch(client, [record(1)])
    suspend(client)
    assert gather(settings).queues["events"].recommended_workers == 3


@pytest.mark.parametrize(
    ("workers", "busy", "behind", "wanted"),
    [
        (0, 0, 0.0, 1),
        (0, 0, 10 * TARGET_SECONDS, 2),
        (4, 0, 0.0, 1),
        (4, 3, 0.0, 3),
        (4, 4, TARGET_SECONDS / 2, 4),
        (4, 4, TARGET_SECONDS * 1.1, 5),
        (4, 4, 1e9, 8),
    ],
)
def test_as_many_are_recommended_as_would_catch_up(workers: int, busy: int, behind: float, wanted: int) -> None:
    assert recommended(workers, busy, behind, None) == wanted
    assert recommended(workers, busy, behind, 1) == 1


def test_nobody_is_told_to_stop_workers_while_redis_is_away(settings: Settings) -> None:
    away = Settings.read({"REDIS_URL": "redis://127.0.0.1:1/0", "DATABASE_URL": settings.database})
    with pytest.raises(Unavailable):
        gather(away)


@pytest.mark.parametrize("form", ["json", "hirefire", "judoscale"])
def test_the_command_prints_what_each_scaler_reads(
    form: str, settings: Settings, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", settings.redis)
    monkeypatch.setenv("DATABASE_URL", settings.database)
    old_batch(client, [record(1)])
    done = CliRunner().invoke(main, ["scale", "--format", form])
    assert done.exit_code == 0, done.output
    said = loads(done.output)
    if form == "json":
        assert said["queues"]["events"]["seconds_behind"] >= 3600
    elif form == "hirefire":
        assert [one["name"] for one in said] == ["worker", "handlers"]
        assert said[0]["value"] >= 3600
    else:
        (at, value, measure, queue), _ = said["metrics"]
        assert (measure, queue) == ("queue_time", "events")
        assert value >= 3600_000
        assert abs(at - time.time()) < 60
