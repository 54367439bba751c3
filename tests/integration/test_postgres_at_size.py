"""Many writers on one PostgreSQL: they neither deadlock, nor wait for what looks after the partitions."""

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime

import pytest
from sqlalchemy import Connection

from ingest.copernica.events import Event
from tests.support.months import event_of_month, first_second, partition
from tests.support.postgres import Server
from tests.support.sql import everything, rows
from workers.store import postgres_partitions
from workers.store.months import MONTHS_AHEAD, Month
from workers.store.rows import event_row
from workers.store.store import Store

pytestmark = pytest.mark.slow

#: Locks on tables that this transaction holds and that writers, or readers, of the same table would wait for.
LOCKS = """
    SELECT c.relname, l.mode FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
    WHERE l.pid = pg_backend_pid() AND l.granted AND c.relkind IN ('r', 'p')
    AND c.relnamespace = 'public'::regnamespace
    AND l.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')"""
WRITERS, ROUNDS, KEYS = 4, 12, 300


@pytest.fixture
def url(postgres_server: Server) -> str:
    return postgres_server.new_database("at_size", "template")


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with closing(Store.open(url)) as store:
        yield store


class Upkeep:
    """Transactions of the upkeep: what each holds when it commits, and whether a drain could store beside it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.held: set[tuple[str, str]] = set()
        self.stored = 0

    @contextmanager
    def __call__(self) -> Iterator[Connection]:
        with self._store.writing() as connection:
            yield connection
            self.held |= {(name, mode) for name, mode in connection.exec_driver_sql(LOCKS)}
            self._drain()

    def _drain(self) -> None:
        with self._store.writing() as beside:
            beside.exec_driver_sql("SET LOCAL lock_timeout = '2s'")
            new = [event_of_month(0, 1000 + 100 * self.stored + number) for number in range(30)]
            self._store.backend.insert_events(beside, [event_row(one) for one in new])
            self.stored += 1


def test_upkeep_locks_nothing_that_drains_write_to(store: Store) -> None:
    store.add([event_of_month(-3, number) for number in range(3)] + [event_of_month(0)])
    upkeep = Upkeep(store)
    ahead = Month.now().later(MONTHS_AHEAD + 3)
    assert postgres_partitions.make_room(upkeep, [first_second(-3), _second(ahead)]) == []
    assert postgres_partitions.empty_expired(upkeep, first_second(-1).to_bytes(4, "big"), store.backend) == 3
    assert (partition(-3), "AccessExclusiveLock") in upkeep.held  # it was emptied, and the test saw its locks
    assert {name for name, _ in upkeep.held}.isdisjoint({"events", partition(0), partition(1)})
    assert upkeep.stored >= 3


def _second(month: Month) -> int:
    """Within a month that has no partition yet, but whose ids are not credible: it is not made."""
    return int.from_bytes(month.first_id[:4], "big")


def test_writers_of_the_same_events_wait_for_each_other_and_never_deadlock(store: Store, url: str) -> None:
    seen = [_deadlocks(store)]

    def write(seed: int) -> int:
        draw = random.Random(seed)
        new = 0
        with closing(Store.open(url)) as own:
            for _ in range(ROUNDS):
                batch: list[Event] = [event_of_month(0, key) for key in draw.sample(range(KEYS), KEYS * 2 // 3)]
                new += own.add(batch).new
                own.add([event_of_month(0, key) for key in draw.sample(range(KEYS, KEYS + 40), 15)])  # by INSERT
        return new

    with ThreadPoolExecutor(WRITERS) as pool:
        new = sum(pool.map(write, range(WRITERS)))
    assert new == KEYS
    assert len(everything(store)) == store.stored() == KEYS + 40
    seen.append(_deadlocks(store))
    assert seen[0] == seen[1]


def _deadlocks(store: Store) -> int:
    return int(rows(store, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")[0][0])


def test_the_month_that_now_is_written_to_is_none_that_is_emptied(store: Store) -> None:
    store.add([event_of_month(0)])
    now = int(datetime.now(UTC).timestamp())
    assert postgres_partitions.empty_expired(store.writing, now.to_bytes(4, "big"), store.backend) == 0
