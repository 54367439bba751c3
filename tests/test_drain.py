"""The drain, from a real server into a real store: killed at any line, each event is stored once."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
import redis
from rq import Queue, SimpleWorker
from rq.registry import FailedJobRegistry
from rq.serializers import JSONSerializer

from ingest import buffer
from ingest.batch import Record, pack
from ingest.buffer import EVENTS_QUEUE, GROUP, Backlog, Keys
from ingest.connections import connect
from ingest.copernica.simulator import Simulator
from ingest.settings import Settings
from workers import drain
from workers.drain import Drain, drain_once, new_backlog
from workers.store import Filter, Store

KEYS = Keys()
FORM = b"application/x-www-form-urlencoded"


@pytest.fixture
def database(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'events.db'}"


@pytest.fixture
def store(database: str) -> Iterator[Store]:
    store = Store.open(database)
    yield store
    store.close()


@pytest.fixture
def settings(redis_url: str, database: str) -> Settings:
    return Settings.read({"REDIS_URL": redis_url, "DATABASE_URL": database})


def record(number: int, body: bytes | None = None, content_type: bytes = FORM) -> Record:
    body = b"type=open&id=%d&time=1795165964" % number if body is None else body
    return Record(number.to_bytes(12, "big"), 1_795_165_965_000_000, b"/copernica", content_type, body)


def keep(client: redis.Redis, *batches: Sequence[Record]) -> None:
    """Put batches into the stream, as an endpoint does."""
    with client.pipeline() as transaction:
        for records in batches:
            transaction.xadd(KEYS.stream, {"b": pack(records)})
            transaction.hincrby(KEYS.counts, "accepted", len(records))
        transaction.execute()


def queue(client: redis.Redis) -> Queue:
    return Queue(EVENTS_QUEUE, connection=client, serializer=JSONSerializer)


def numbers(store: Store) -> list[int]:
    return [int(found["delivery_id"], 16) for found in store.find(Filter())]


def test_everything_is_stored_and_acknowledged(client: redis.Redis, store: Store) -> None:
    calls = Simulator(seed=1)
    records = [record(n, calls.call().body) for n in range(2000)]
    keep(client, *(records[at : at + 97] for at in range(0, 2000, 97)))
    backlog = new_backlog(client)
    done = Drain(backlog, store).run()
    assert (done.stored, done.doubles, done.quarantined, done.dead, done.batches) == (2000, 0, 0, 0, 21)
    assert numbers(store) == list(range(2000))
    assert (backlog.batches(), backlog.pending()) == (0, 0)
    assert backlog.counts() == {"accepted": 2000, "drained": 2000}
    assert client.xinfo_consumers(KEYS.stream, GROUP) == []
    assert len(queue(client)) == 0


def test_what_came_twice_is_stored_once(client: redis.Redis, store: Store) -> None:
    keep(client, [record(1), record(2)], [record(2), record(1), record(3)])
    done = Drain(new_backlog(client), store).run()
    assert (done.stored, done.doubles, done.events) == (3, 2, 5)
    assert Backlog(client).counts() == {"accepted": 5, "drained": 5, "doubles": 2}


def _die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _drain_and_die(redis_url: str, database: str, owner: type, line: str) -> None:
    setattr(owner, line, _die)
    Drain(new_backlog(connect(redis_url)), Store.open(database)).run()


@pytest.mark.parametrize(
    ("owner", "line", "committed"), [(Store, "add", 0), (Backlog, "ack", 30)], ids=["commit", "acknowledgement"]
)
def test_a_drain_that_is_killed_costs_nothing_but_the_work(
    client: redis.Redis,
    settings: Settings,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    owner: type,
    line: str,
    committed: int,
) -> None:
    keep(client, *([record(n * 10 + k) for k in range(10)] for n in range(3)))
    arguments = (settings.redis, settings.database, owner, line)
    process = multiprocessing.get_context("spawn").Process(target=_drain_and_die, args=arguments)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    process.close()
    assert store.stored() == committed
    assert Backlog(client).pending() == 3

    monkeypatch.setattr(buffer, "RECLAIM_IDLE_MS", 0)
    done = Drain(new_backlog(client), store).run()
    assert (done.stored, done.doubles) == (30 - committed, committed)
    assert numbers(store) == list(range(30))
    assert (Backlog(client).batches(), Backlog(client).pending()) == (0, 0)


def test_a_damaged_batch_goes_to_the_dead_stream_and_the_rest_is_stored(client: redis.Redis, store: Store) -> None:
    keep(client, [record(1)])
    damaged = pack([record(2)])[:-1] + b"?"
    client.xadd(KEYS.stream, {"b": damaged})
    keep(client, [record(3)])
    done = Drain(new_backlog(client), store).run()
    assert (done.stored, done.dead, numbers(store)) == (2, 1, [1, 3])
    buried = cast(Any, client.xrange(KEYS.dead))[0][1]
    assert (buried[b"b"], buried[b"reason"]) == (damaged, b"The batch is damaged: its checksum does not match.")
    assert Backlog(client).batches() == 0


def test_a_body_that_is_no_form_goes_to_quarantine_and_the_rest_is_stored(
    client: redis.Redis, store: Store
) -> None:
    unreadable = [b"hello", b"\0=\0", b'{"a": NaN}']
    keep(client, [record(1), *(record(n, body) for n, body in enumerate(unreadable, 2)), record(5)])
    done = Drain(new_backlog(client), store).run()
    assert (done.stored, done.quarantined, numbers(store)) == (5, 3, [1, 5])
    with store._engine.connect() as connection:
        kept = connection.exec_driver_sql("SELECT body FROM quarantine ORDER BY delivery_id").scalars().all()
    assert kept == unreadable
    assert Backlog(client).batches() == 0


def test_deep_nesting_holds_nothing_up(client: redis.Redis, store: Store) -> None:
    levels = range(100, 1100)  # some can be decoded but not encoded again
    keep(client, *([record(n, b'{"a":' + b"[" * n + b"]" * n + b"}", b"application/json")] for n in levels))
    assert Drain(new_backlog(client), store).run().stored == len(levels)
    assert store.stored() + store.quarantined() == len(levels)


def test_one_drain_by_hand_needs_no_worker(client: redis.Redis, settings: Settings, store: Store) -> None:
    keep(client, [record(1), record(2)])
    keep(client, [record(3)])
    Backlog(client, "another").claim(1)
    done, left = drain_once(settings)
    assert (done.stored, left, numbers(store)) == (1, 1, [3])
    assert client.keys("rq:*") == []


def test_a_full_server_can_be_drained(
    client: redis.Redis,
    settings: Settings,
    store: Store,
    fill_memory: Callable[[], object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(drain, "REPORT_EVERY", 0.0)
    everything = drain.SIBLING_BATCHES + 100
    keep(client, *([record(n)] for n in range(everything)))
    assert Backlog(client).pending() == 0  # makes the group
    fill_memory()
    drain_once(settings)
    assert (store.stored(), Backlog(client).batches()) == (everything, 0)


def test_a_damaged_batch_in_a_full_server_stays_and_the_rest_is_stored(
    client: redis.Redis, settings: Settings, store: Store, fill_memory: Callable[[], object]
) -> None:
    keep(client, [record(1)])
    client.xadd(KEYS.stream, {"b": b"damaged"})
    keep(client, [record(2)])
    assert Backlog(client).pending() == 0  # makes the group
    fill_memory()
    drain_once(settings)
    assert numbers(store) == [1, 2]
    assert Backlog(client).batches() + Backlog(client).dead_batches() == 1


def test_a_drain_whose_time_is_over_lets_another_go_on(client: redis.Redis, store: Store) -> None:
    keep(client, [record(1)])
    assert Drain(new_backlog(client), store).run(seconds=0).stored == 0
    assert [job.func_name for job in queue(client).jobs] == [buffer.DRAIN_JOB]


def test_a_drain_that_is_asked_to_stop_lets_another_go_on(
    client: redis.Redis, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(client, [record(1)])
    monkeypatch.setattr(drain.stopping, "asked", True)
    assert Drain(new_backlog(client), store).run().stored == 0
    assert len(queue(client)) == 1


def test_a_long_backlog_wakes_one_sibling(client: redis.Redis, store: Store) -> None:
    keep(client, *([record(n)] for n in range(3 * drain.SIBLING_BATCHES)))
    assert Drain(new_backlog(client), store).run().stored == 3 * drain.SIBLING_BATCHES
    assert len(queue(client)) == 1


def test_a_drain_lets_the_next_batch_wake_a_worker(client: redis.Redis, store: Store) -> None:
    client.set(KEYS.wake, 1)
    Drain(new_backlog(client), store).run()
    assert client.exists(KEYS.wake) == 0


@pytest.fixture
def _signals() -> Iterator[None]:
    """A worker takes SIGINT and SIGTERM for itself."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.usefixtures("_signals")
def test_the_job_runs_under_a_standard_worker(
    client: redis.Redis, settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", settings.redis)
    monkeypatch.setenv("DATABASE_URL", settings.database)
    monkeypatch.setattr(drain, "LINGER_MS", 1)
    keep(client, [record(1), record(2)])
    Backlog(client).enqueue_drain()
    worker = SimpleWorker([queue(client)], connection=client, serializer=JSONSerializer)
    worker.work(burst=True, logging_level=None)
    assert FailedJobRegistry(queue=queue(client)).get_job_ids() == []
    assert (numbers(store), Backlog(client).batches(), len(queue(client))) == ([1, 2], 0, 0)
