"""Queues and handlers that are paused: their work waits, and nothing is lost."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
import redis
from rq import Queue
from rq.serializers import JSONSerializer
from rq.suspension import is_suspended, suspend

from ingest.batch import pack
from ingest.jobs import JobScheduler
from ingest.stream.consumer import Consumer
from ingest.stream.keys import Keys
from ingest.stream.pauses import Pause, Pauses
from tests.support.builders import record
from tests.support.cli import typed
from tests.support.plugged import Plug
from tests.support.sql import add
from workers import pausing
from workers.drain.drain import Drain, drain_job
from workers.handlers.jobs import hand_on_job, handle_job
from workers.operations.retention import daily_job
from workers.pausing import PauseWatch
from workers.reconcile.daily import reconcile_job
from workers.store.store import Store

pytestmark = pytest.mark.slow

TWO = "@on('open')\ndef a(event): calls.append('a')\n@on('open')\ndef b(event): calls.append('b')\n"


def said(*arguments: str, redis_url: str) -> str:
    done = typed(*arguments, environ={"REDIS_URL": redis_url, "DATABASE_URL": "sqlite:///none.db"})
    assert done.exit_code == 0, done.stderr
    return done.stdout


def jobs(client: redis.Redis) -> Sequence[str]:
    found = Queue("handlers", connection=client, serializer=JSONSerializer).jobs
    return [job.args[0] if job.args else "hand on" for job in found]


def test_a_paused_handler_is_not_called_and_others_are(plug: Plug, store: Store, client: redis.Redis) -> None:
    world = plug(TWO)
    add(store, record(1), record(2))
    Pauses(client).add(["handler:a"])
    hand_on_job()
    assert jobs(client) == ["b"]
    assert (handle_job("a"), handle_job("b")["done"]) == ({"done": 0, "unwanted": 0, "failed": 0}, 2)
    assert (world.calls, world.handoffs.waiting()) == (["b", "b"], {"a": 2})
    assert jobs(client) == ["b"]  # it does not go round and round
    assert client.exists(Keys().handoffs)  # the sweeps look again
    Pauses(client).remove(["handler:a"])
    assert world.work("a")["done"] == 2


def test_a_pause_ends_the_turn_of_a_handler_at_work(
    plug: Plug, store: Store, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pausing, "LOOK_EVERY", 0.0)
    world = plug("""
from ingest.stream.pauses import Pauses
client = None
@on("open")
def h(event):
    calls.append(number(event))
    if len(calls) == 3: Pauses(client).add(["queue:handlers"])
""")
    add(store, *map(record, range(9)))
    hand_on_job()
    world.module.client = client
    assert handle_job("h")["done"] == 3
    assert (world.handoffs.waiting(), world.handoffs.due()) == ({"h": 6}, ["h"])
    hand_on_job()
    assert jobs(client)[1:] == []


@pytest.mark.parametrize("paused", ["queue:events", "handler:events"])
def test_a_paused_queue_drains_nothing(
    client: redis.Redis, redis_url: str, sqlite_url: str, monkeypatch: pytest.MonkeyPatch, paused: str
) -> None:
    for name, value in {"REDIS_URL": redis_url, "DATABASE_URL": sqlite_url, "COPERNICA_TOKEN": "t"}.items():
        monkeypatch.setenv(name, value)
    client.xadd(Keys().stream, {"b": pack([record(1)])})
    Pauses(client).add([paused])
    is_paused = paused.startswith("queue")
    assert drain_job()["stored"] == (0 if is_paused else 1)
    assert Consumer(client).batches() == (1 if is_paused else 0)
    if not is_paused:
        return
    scheduler = JobScheduler(client)
    assert scheduler.enqueue_daily()
    assert scheduler.enqueue_reconcile(datetime.now(UTC).date().isoformat())
    assert (daily_job(), reconcile_job()) == (0, 0)
    assert 0 < client.ttl(Keys().daily) <= 600  # and again, until it goes on
    assert 0 < client.ttl(f"{Keys().reconcile}:{datetime.now(UTC).date()}") <= 60
    refused = typed("drain", environ={"REDIS_URL": redis_url, "DATABASE_URL": sqlite_url})
    assert (refused.exit_code, "`ingest resume events`" in refused.stderr) == (1, True)
    forced = typed(
        "drain", "--force", environ={"REDIS_URL": redis_url, "DATABASE_URL": sqlite_url, "INGEST_VERIFY": "off"}
    )
    assert forced.stdout.startswith("1 event stored, 0 were there already, 0 about people who were erased, ")


def test_a_drain_at_work_ends_when_its_queue_is_paused(client: redis.Redis, store: Store) -> None:
    for n in range(8):
        client.xadd(Keys().stream, {"b": pack([record(n)])})
    asked = iter([False, True, True, True])
    assert Drain(client, store, paused=lambda: next(asked)).run(time.monotonic() + 60).stored == 4
    assert not Queue("events", connection=client, serializer=JSONSerializer).jobs


def test_what_is_paused_until_a_time_goes_on_by_itself(client: redis.Redis) -> None:
    pauses = Pauses(client)
    now = time.time_ns() // 1000
    pauses.add(["handler:a"], now - 1)
    pauses.add(["handler:b"], now + 60_000_000)
    pauses.add(["queue:events"])
    assert pauses.all() == [Pause("handler:b", now + 60_000_000), Pause("queue:events", None)]
    assert pauses.remove(["handler:a", "handler:b", "handler:c"]) == ["handler:b"]
    client.flushall()
    assert pauses.all() == []


def test_a_watch_asks_now_and_then_and_keeps_its_answer_while_redis_fails(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    watch = PauseWatch(client, "handler:a", "queue:handlers", clock=lambda: now)
    assert not watch()
    Pauses(client).add(["queue:handlers"])
    assert not watch()  # it has just looked
    now = 1.0
    assert watch()

    def fail(_: Pauses) -> list[Pause]:
        raise redis.ConnectionError

    monkeypatch.setattr(Pauses, "all", fail)
    now = 2.0
    assert watch()


def test_pause_and_resume_as_typed(client: redis.Redis, redis_url: str) -> None:
    assert said("pause", "events", redis_url=redis_url).startswith("Paused until it is resumed: the queue events.")
    until = said("pause", "queue:handlers", "--until", "2h", "--tz", "Asia/Kolkata", redis_url=redis_url)
    assert "+05:30: the queue handlers." in until
    (events, handlers) = Pauses(client).all()
    assert (events, handlers.name) == (Pause("queue:events", None), "queue:handlers")
    assert abs((handlers.until or 0) / 1e6 - time.time() - 7200) < 60
    assert said("resume", "events", redis_url=redis_url) == "Goes on: the queue events.\n"
    assert said("resume", "event", redis_url=redis_url) == "event is not paused.\n"
    assert said("resume", "handler", redis_url=redis_url) == "handler is not paused. Did you mean handlers?\n"
    suspend(client)
    assert "Goes on: the queue handlers.\nGo on: all workers" in said("resume", redis_url=redis_url)
    assert (Pauses(client).all(), is_suspended(client)) == ([], 0)
    assert said("resume", redis_url=redis_url) == "Nothing is paused.\n"
    assert said("pause", redis_url=redis_url).count("Paused") == 2
    mistaken = typed("pause", "evnts", environ={"REDIS_URL": redis_url})
    assert (mistaken.exit_code, "Did you mean events?" in mistaken.stderr) == (2, True)
