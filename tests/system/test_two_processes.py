"""What two processes do at the same time, and what one of them leaves behind when it is killed."""

import asyncio
import multiprocessing
import os
import signal
import subprocess
import sys
from contextlib import closing
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
import redis

from ingest.redis_client import connect
from ingest.stream.consumer import Consumer
from tests.support.builders import event, record
from tests.support.months import event_of_month, first_second, partition, partitions
from tests.support.postgres import EmptyDatabase, Server
from tests.support.processes import at_once
from tests.support.spool import numbered, opened, replayed
from tests.support.sql import everything, stored_numbers
from tests.support.stream import keep
from workers.drain.drain import Drain
from workers.store.months import MONTHS_AHEAD
from workers.store.postgres_insert import COPY_FROM
from workers.store.schema import upgrade
from workers.store.store import Store


def _write(barrier: Barrier, url: str, order: int, first: int) -> None:
    with closing(Store.open(url)) as store:
        barrier.wait(20)
        for start in range(0, 1000, 20):
            both = [event(n) for n in range(start, start + 20)][::order]
            store.add([*both, event(first + start)])
        for start in range(1000, 2000, COPY_FROM):
            store.add([event(n) for n in range(start, start + COPY_FROM)][::order])
    sys.exit(0)


def test_two_processes_can_write_the_same_events_at_once(database: str, store: Store) -> None:
    assert at_once(_write, (database, 1, 10_000), (database, -1, 20_000)) == [0, 0]
    assert store.stored() == 2000 + 50 + 50


@pytest.fixture
def partitioned(postgres_database: EmptyDatabase) -> str:
    """The URL of an empty database that keeps events by month."""
    return postgres_database.url()


def _make_at_once(barrier: Barrier, url: str, number: int) -> None:
    with closing(Store.open(url)) as store:
        for ahead in range(-12, 2):
            barrier.wait(20)
            far_away = b"\xff" * 8 + bytes([number, 0, 0, ahead + 12])
            store.add([event_of_month(ahead, number), event(delivery_id=far_away)])
            problems = store.make_room([first_second(ahead)])
            assert all("in use" in problem for problem in problems), problems
        barrier.wait(20)
        store.make_room()
    sys.exit(0)


def test_two_processes_can_make_the_same_partition_at_once(partitioned: str) -> None:
    assert at_once(_make_at_once, (partitioned, 1), (partitioned, 2)) == [0, 0]
    with closing(Store.open(partitioned)) as store:
        assert store.make_room() == []
        assert partitions(store) == [partition(ahead) for ahead in range(-12, MONTHS_AHEAD + 1)]
        assert store.stored() == 2 * 2 * 14


def _expire_at_once(barrier: Barrier, url: str) -> None:
    with closing(Store.open(url)) as store:
        barrier.wait(20)
        store.expire(first_second(0))
    sys.exit(0)


def test_two_processes_can_expire_at_once(partitioned: str) -> None:
    with closing(Store.open(partitioned)) as store:
        store.add([event_of_month(ahead) for ahead in range(-24, 1)])
        store.make_room()
        assert at_once(_expire_at_once, (partitioned,), (partitioned,)) == [0, 0]
        assert everything(store) == [event_of_month(0)]


def _upgrade(barrier: Barrier, urls: list[str]) -> None:
    for url in urls:
        barrier.wait(20)
        upgrade(url)
    sys.exit(0)


def test_two_processes_can_upgrade_at_once(tmp_path: Path, postgres_server: Server) -> None:
    urls = [f"sqlite:///{tmp_path}/{number}.db" for number in range(10)]
    urls += [postgres_server.new_database(f"upgraded{number}") for number in range(5)]
    assert at_once(_upgrade, (urls,), (urls,)) == [0, 0]
    for url in urls:
        Store.open(url).close()


def _die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _drain_and_die(redis_url: str, database: str, owner: type, line: str) -> None:
    setattr(owner, line, _die)
    Drain(connect(redis_url), Store.open(database)).run()


@pytest.mark.parametrize(
    ("owner", "line", "committed"),
    [(Store, "add_rows", 0), (Consumer, "ack", 30)],
    ids=["commit", "acknowledgement"],
)
def test_a_drain_that_is_killed_costs_nothing_but_the_work(
    client: redis.Redis,
    redis_url: str,
    database: str,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    owner: type,
    line: str,
    committed: int,
) -> None:
    keep(client, *([record(n * 10 + k) for k in range(10)] for n in range(3)))
    arguments = (redis_url, database, owner, line)
    process = multiprocessing.get_context("spawn").Process(target=_drain_and_die, args=arguments)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    process.close()
    assert store.stored() == committed
    assert Consumer(client).pending() == 3

    monkeypatch.setattr("ingest.stream.consumer.RECLAIM_IDLE_MS", 0)
    done = Drain(client, store).run()
    assert (done.stored, done.doubles) == (30 - committed, committed)
    assert stored_numbers(store) == list(range(30))
    assert (Consumer(client).batches(), Consumer(client).pending()) == (0, 0)


async def test_the_living_keep_their_segments_and_the_dead_are_inherited_by_one(tmp_path: Path) -> None:
    code = (
        "import asyncio, sys, time; from pathlib import Path; from ingest.batch import Batch\n"
        "from ingest.spool import Spool\n"
        "spool = Spool(Path(sys.argv[1]), 10**9)\n"
        "asyncio.run(spool.keep([Batch(b'theirs', 7)])); print(flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        async with opened(tmp_path) as one, opened(tmp_path) as another:
            await one.keep(numbered(1))
            await another.tidy()
            assert another.events == 0
            process.send_signal(signal.SIGKILL)
            process.wait()
            await asyncio.gather(one.tidy(), another.tidy())
            assert sorted([one.events, another.events]) in ([0, 8], [1, 7])
            assert sorted(await replayed(one) + await replayed(another)) == [b"1", b"theirs"]
    finally:
        process.kill()
        process.communicate()
    assert list(tmp_path.iterdir()) == []
