"""The numbers of events that are kept with them: always those of the table, whatever happens to it."""

import random
from collections import Counter
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from itertools import count
from threading import Thread

import pytest
from sqlalchemy import select, update

from ingest.copernica.events import DAY, LOGFILE, REST, WEBHOOK, EventType
from tests.support.builders import NINE, SECOND, delivery_id, event
from tests.support.cli import typed
from tests.support.postgres import EmptyDatabase
from tests.support.running import until
from tests.support.sql import WITHOUT_0011, execute, rows
from workers.operations.erase import erase
from workers.reconcile import history
from workers.reconcile.report import DayReport
from workers.store import event_counts, postgres, tables
from workers.store.event_counts import NO_MAILING
from workers.store.filling import fill
from workers.store.filters import Filter
from workers.store.rows import event_of, event_row
from workers.store.schema import VERSION, upgrade
from workers.store.store import Store

pytestmark = pytest.mark.slow

HOUR = 3600 * SECOND
PEOPLE = ("jan@example.nl", "eva@example.nl", "piet@example.nl", None)
MENTION = "https://example.nl/?for=jan@example.nl"

Numbers = Counter[tuple[str, str, int, str]]


def kept(store: Store) -> Numbers:
    columns = tables.event_counts.c
    query = select(columns.hour, columns.type, columns.mailing, columns.source, columns.number)
    numbers: Numbers = Counter()
    with store.reading() as connection:
        for hour, kind, mailing, source, number in connection.execute(query):
            numbers[hour, kind, mailing, source] += number
    return Counter({key: number for key, number in numbers.items() if number})


def counted(store: Store, below: bytes | None = None) -> Numbers:
    """The same, by counting the events with a smaller delivery id."""
    numbers: Numbers = Counter()
    for one in store.find(Filter()):
        if below is None or one.delivery_id < below:
            hour = datetime.fromtimestamp(one.occurred_at // SECOND, UTC)
            mailing = NO_MAILING if one.mailing is None else one.mailing
            numbers[f"{hour:%Y-%m-%d %H}", one.type.value, mailing, one.source] += 1
    return numbers


def mark(store: Store) -> bytes | None:
    with store.reading() as connection:
        return event_counts.counted_below(connection)


def upgrade_in_place(store: Store, this: bytes) -> None:
    """As a call does that follows its recovered event: the row stays, and says more."""
    columns = tables.events.c
    with store.writing() as connection:
        store._backend.share_turns(connection, event_counts.TURNS)
        before = connection.execute(select(tables.events).where(columns.delivery_id == this)).one()
        connection.execute(
            update(tables.events).where(columns.delivery_id == this).values(source=WEBHOOK, mailing=8)
        )
        after = connection.execute(select(tables.events).where(columns.delivery_id == this)).one()
        (as_it_is,) = map(event_row, map(event_of, [after]))
        event_counts.change(connection, store._backend, [as_it_is], [event_counts.Deleted.of_row(before)])


@pytest.mark.parametrize("seed", range(4))
def test_the_numbers_are_those_of_the_table(store: Store, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr(event_counts, "STEP_EVENTS", 25)
    luck, number = random.Random(seed), count()
    for _ in range(25):
        there = [e.delivery_id for e in store.find(Filter())]
        match luck.choice(
            ["add", "add", "add", "doubles", "supersede", "upgrade", "erase", "expire", "anew", "more", "more"]
        ):
            case "add":  # late and recovered ones among them: the id says when the call came in
                last = [
                    event(
                        delivery_id=delivery_id(next(number), NINE + luck.randrange(70) * DAY * SECOND),
                        type=luck.choice([EventType.OPEN, EventType.CLICK]),
                        occurred_at=NINE + luck.randrange(60) * HOUR + luck.randrange(HOUR),
                        mailing=luck.choice([None, 0, 7]),
                        source=luck.choice([WEBHOOK, WEBHOOK, LOGFILE, REST]),
                        recipient=luck.choice(PEOPLE),
                        profile=None,
                        url=luck.choice([None, MENTION]),
                    )
                    for _ in range(luck.choice([1, 3, 60]))
                ]
                store.add(last)
            case "doubles" if there:
                store.add([*last, last[0]._replace(type=EventType.BOUNCE)])
                twice = event(next(number))
                store.add([twice, twice._replace(type=EventType.BOUNCE, mailing=9), *last[:5]])
            case "supersede":
                store.erase(luck.sample(there, min(4, len(there))), (), (), ())
            case "upgrade" if there:
                upgrade_in_place(store, luck.choice(there))
            case "erase":
                erase(store, luck.choice(["jan@example.nl", "piet@example.nl"]), dry_run=False)
            case "expire":
                store.expire(NINE // SECOND + luck.choice([1, 20, 45]) * DAY)
            case "anew":
                store.count_anew()
            case "more":
                store.count_more()
        assert kept(store) == counted(store, mark(store))
    fill(store)
    assert mark(store) is None
    assert kept(store) == counted(store)
    assert store.stored() == counted(store).total()


@pytest.mark.parametrize("by", ["hour", "day"])
def test_they_answer_as_counting_does(store: Store, by: str) -> None:
    luck = random.Random(1)
    kinds = EventType.OPEN, EventType.CLICK
    events = [
        event(n, occurred_at=NINE + luck.randrange(50 * HOUR), type=luck.choice(kinds), mailing=n % 3 or None)
        for n in range(300)
    ]
    store.add(events)
    nine = datetime.fromtimestamp(NINE // SECOND, UTC)
    moments = [None, nine, *(nine + timedelta(minutes=luck.randrange(50 * 60)) for _ in range(6))]
    moments += [datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC), nine + timedelta(hours=3)]
    filters = [
        Filter(types, since=since, until=until)
        for since in moments
        for until in moments
        for types in ((), ("click",))
    ]
    asked = luck.sample(filters, 12)
    answers = [(store.counts(wanted, by), store.count(wanted)) for wanted in asked]
    store.count_anew()
    assert not store.is_counted
    assert answers == [(store.counts(wanted, by), store.count(wanted)) for wanted in asked]
    assert store.stored() == 300


def test_days_are_told_by_their_sources(store: Store) -> None:
    def some(first: int, source: str, day: int, many: int) -> None:
        store.add(
            [event(first + n, source=source, occurred_at=NINE + (day * DAY + n) * SECOND) for n in range(many)]
        )

    for given in ((0, WEBHOOK, 0, 3), (10, LOGFILE, 0, 2), (20, REST, 1, 1), (30, WEBHOOK, 2, 4)):
        some(*given)
    day = datetime.fromtimestamp(NINE // SECOND, UTC).replace(hour=0, minute=0)
    told = [(f"{day:%Y-%m-%d}", "logfile", 2), (f"{day:%Y-%m-%d}", "webhook", 3)]
    assert store.sources(day, day + timedelta(days=1)) == told
    told.append((f"{day + timedelta(days=1):%Y-%m-%d}", "rest", 1))
    assert store.sources(day, day + timedelta(days=2)) == told
    store.count_anew()
    assert store.sources(day, day + timedelta(days=2)) == told, "counted while the numbers are made again"


def _as_of_0010(store: Store) -> None:
    if store.engine.dialect.name == "mysql":
        pytest.skip("no release that old has made tables in MariaDB")
    execute(store, *WITHOUT_0011)


@pytest.mark.parametrize("recovered", [False, True])
def test_an_upgrade_tells_sources_apart_by_counting_anew_only_where_it_must(
    database: str, store: Store, recovered: bool
) -> None:
    store.add([event(n, mailing=n % 2, source=LOGFILE if recovered and n < 5 else WEBHOOK) for n in range(20)])
    if recovered:
        history.save(store, DayReport(date(2026, 11, 20)), history.API)
    numbers = kept(store)
    _as_of_0010(store)
    execute(store, "UPDATE alembic_version SET version_num = '0010'")
    upgrade(database)
    with closing(Store.open(database)) as upgraded:
        assert upgraded.is_counted is not recovered
        fill(upgraded)
        assert kept(upgraded) == numbers == counted(upgraded)


def test_two_that_store_at_once_do_not_wait_for_each_other(postgres_database: EmptyDatabase) -> None:
    url = postgres_database.url()
    with closing(Store.open(url)) as one, closing(Store.open(url)) as other:
        with one.writing() as connection:
            event_counts.change(connection, one._backend, [event_row(event(7))])
            assert other.add([event(1)]).new == 1  # else it would wait for ever
            assert kept(other).total() == 1
        assert kept(other).total() == 2
        assert rows(other, "SELECT shard, number FROM event_counts ORDER BY shard") == [(0, 1), (1, 1)]


def test_with_all_shards_in_use_the_first_is_waited_for(
    postgres_database: EmptyDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "SHARDS", 1)
    url = postgres_database.url()
    with closing(Store.open(url)) as one, closing(Store.open(url)) as other:
        with one.writing() as connection:
            event_counts.change(connection, one._backend, [event_row(event(7))])
            waiting = Thread(target=other.add, args=([event(1)],))
            waiting.start()
            until(lambda: bool(rows(one, "SELECT 1 FROM pg_locks WHERE NOT granted")), "the other to wait")
        waiting.join()
        assert rows(other, "SELECT shard, number FROM event_counts") == [(0, 2)]


def test_an_upgrade_counts_what_was_there_before_and_goes_on_where_it_was(
    database: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_counts, "STEP_EVENTS", 10)
    store.add([event(n, delivery_id=delivery_id(n, NINE + n * SECOND), mailing=n % 2) for n in range(35)])
    _as_of_0010(store)
    execute(store, "DROP TABLE event_counts", "DROP TABLE fillings", "ALTER TABLE handoffs DROP COLUMN error")
    execute(store, "UPDATE alembic_version SET version_num = '0008'")
    upgrade(database)
    with closing(Store.open(database)) as upgraded:
        assert upgraded.count_more() == pytest.approx(10 / 34)
        # One that was counted already, and one that is yet to be.
        upgraded.erase([delivery_id(3, NINE + 3 * SECOND), delivery_id(30, NINE + 30 * SECOND)], (), (), ())
        upgraded.add([event(100, delivery_id=delivery_id(100, NINE + 5 * SECOND))])
        assert kept(upgraded) == counted(upgraded, mark(upgraded))
    environ = {"DATABASE_URL": database, "REDIS_URL": "redis://127.0.0.1:1"}
    done = typed("db", "upgrade", environ=environ)
    assert (done.exit_code, done.stdout) == (0, f"The schema is already at {VERSION}.\n34 events are counted.\n")
    with closing(Store.open(database)) as upgraded:
        assert kept(upgraded) == counted(upgraded)
        execute(upgraded, "DELETE FROM event_counts")
        assert upgraded.stored() == 0
    assert typed("db", "upgrade", "--recount", environ=environ).exit_code == 0
    with closing(Store.open(database)) as upgraded:
        assert kept(upgraded) == counted(upgraded)
