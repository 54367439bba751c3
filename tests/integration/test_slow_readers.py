"""Who reads slowly, such as a pager, holds nothing up: SQLite's log is emptied, PostgreSQL's months can go."""

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from ingest.copernica.events import EPOCH, Event, EventType
from tests.support.builders import NINE, SECOND, delivery_id, event, record
from tests.support.sql import add, rows
from workers.operations.erase import erase
from workers.records import Quarantined
from workers.store import database as database_module
from workers.store import sqlite, tables
from workers.store import store as store_module
from workers.store.filters import Filter
from workers.store.store import Store

pytestmark = pytest.mark.slow

EVENTS = 60


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "FETCH_SIZE", 7)
    monkeypatch.setattr(store_module, "FETCH_SIZE", 7)
    monkeypatch.setattr(database_module, "PORTION", 10)
    monkeypatch.setattr(store_module, "PORTION", 10)
    monkeypatch.setattr(store_module, "GATHERED", 25)


def events_of(count: int) -> list[Event]:
    days = [timedelta(hours=13 * n) // timedelta(microseconds=1) for n in range(count)]
    return [
        event(
            n,
            recipient="jan@example.nl",
            occurred_at=NINE + days[n],
            delivery_id=delivery_id(n, NINE + n * SECOND),
        )
        for n in range(count)
    ]


def filters() -> list[Filter]:
    begin = datetime.fromtimestamp(NINE // SECOND, UTC)
    return [
        Filter(),
        Filter(types=("open",)),
        Filter(recipient="jan@example.nl"),
        Filter(since=begin + timedelta(days=2), until=begin + timedelta(days=20)),
    ]


def _find(wanted: Filter) -> Callable[[Store], Iterator[object]]:
    return lambda store: store.find(wanted)


READERS: dict[str, Callable[[Store], Iterator[object]]] = {
    **{f"find {number}": _find(wanted) for number, wanted in enumerate(filters())},
    "rows": lambda store: store.rows(tables.quarantine),
    "mentioning": lambda store: store.mentioning("jan@example.nl", [""], ["jan@example.nl"]),
    "keys": lambda store: store.keys(tables.events, 10),
}


def idle(store: Store) -> bool:
    """Whether no transaction is open."""
    if store.engine.dialect.name == "sqlite":
        with store.engine.connect() as connection:
            return not connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()[0]
    if store.engine.dialect.name == "mysql":
        return rows(store, "SELECT count(*) FROM information_schema.innodb_trx") == [(0,)]
    return rows(store, "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'") == [(0,)]


@pytest.mark.parametrize("reader", READERS)
def test_no_transaction_is_open_while_a_reader_rests(store: Store, database: str, reader: str) -> None:
    store.add(events_of(EVENTS), [Quarantined(record(n), "why") for n in range(EVENTS)])
    reading = READERS[reader](store)
    number = 0
    other = Store.open(database)
    for number, _ in enumerate(reading, 1):
        assert idle(other)
        other.add([event(1000 + number)])
    other.close()
    assert number >= 6


@pytest.mark.parametrize("number", range(4))
def test_what_is_read_in_portions_is_all_there_once_and_in_order(store: Store, number: int) -> None:
    events = events_of(EVENTS)
    store.add(events)
    wanted = filters()[number]
    assert list(store.find(wanted)) == [event for event in events if wanted.fits(event)]


@pytest.mark.parametrize("by", ["hour", "day"])
def test_what_is_counted_in_portions_is_counted_once(store: Store, by: str) -> None:
    events = events_of(EVENTS)
    store.add(events)
    for wanted in filters():
        counts = store.counts(wanted, by)
        assert sum(number for _, _, number in counts) == sum(map(wanted.fits, events))
        assert counts == sorted(counts)
        assert len(counts) == len({names[:2] for names in counts})


def test_an_erasure_looks_at_every_event(store: Store) -> None:
    add(store, *map(record, range(EVENTS)))
    store.add([event(100 + n, recipient="jan@example.nl") for n in range(EVENTS)])
    assert len(erase(store, "jan@example.nl", dry_run=True).deleted) == EVENTS


def test_a_log_that_is_not_emptied_is_told(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store.open(sqlite_url) as store:
        store.add(events_of(EVENTS))
        assert store.weaknesses() == []
        monkeypatch.setattr(sqlite, "LOG_BOUND", 1)
        (weakness,) = store.weaknesses()
        assert f"{Path(store.shown)}-wal has 0 MiB" in weakness.text


def test_events_of_one_time_are_read_once_each_and_nothing_is_sorted(store: Store) -> None:
    opens = [event(n, occurred_at=NINE + n // 40 * SECOND, delivery_id=delivery_id(n)) for n in range(EVENTS)]
    store.add([*opens[::-1], *(one._replace(type=EventType.CLICK) for one in events_of(EVENTS))])
    moment, second_of = store.seconds(tables.events.c.occurred_at)
    of_kind, more = store.by_time("open")
    query = select(moment, *more, tables.events.c.delivery_id).where(of_kind)
    from_the_first = tables.events.c.occurred_at >= EPOCH
    portions = store.streamed(query, from_the_first, [moment, *more])
    read = [(second_of(row[0]), row[-1]) for portion in portions for row in portion]
    assert Counter(read) == Counter((one.occurred_at // SECOND, one.delivery_id) for one in opens)
    if store.engine.dialect.name == "sqlite":
        assert [second for second, _ in read] == sorted(second for second, _ in read)
        in_order = query.where(from_the_first).order_by(moment, *more)
        plan = in_order.compile(store.engine, compile_kwargs={"literal_binds": True})
        assert "TEMP B-TREE" not in str(rows(store, f"EXPLAIN QUERY PLAN {plan}"))
