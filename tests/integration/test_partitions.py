"""Events in PostgreSQL lie in a partition per month, which come and go by themselves."""

import re
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime

import pytest
from sqlalchemy import Connection

from ingest.errors import RowsRejected, Unavailable
from tests.support.builders import LONG, event
from tests.support.months import event_of_month, first_second, month, partition, partitions
from tests.support.postgres import Server
from tests.support.sql import everything, execute, explained, rows
from workers.store import event_counts, postgres, postgres_counts, postgres_partitions
from workers.store.filters import Filter
from workers.store.months import MONTHS_AHEAD
from workers.store.postgres_insert import COPY_FROM
from workers.store.schema import upgrade
from workers.store.store import Store

pytestmark = pytest.mark.slow


def count(store: Store, name: str) -> int:
    return int(rows(store, f"SELECT count(*) FROM {name}")[0][0])


@pytest.fixture
def url(postgres_server: Server) -> str:
    return postgres_server.new_database("partitioned", "template")


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with closing(Store.open(url)) as store:
        yield store


AHEAD = [partition(months) for months in range(MONTHS_AHEAD + 1)]


def test_upgrading_makes_room_for_a_year(store: Store, url: str) -> None:
    assert partitions(store) == AHEAD
    execute(store, f"DROP TABLE {partition(1)}, {partition(MONTHS_AHEAD)}")
    assert store.make_room() == []
    assert partitions(store) == AHEAD
    execute(store, f"DROP TABLE {partition(0)}")
    upgrade(url)
    assert partitions(store) == AHEAD


def test_a_partition_is_told_of_once_it_is_there_and_never_one_that_is_only_tried(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    store.weaknesses()
    assert partitions(store) == AHEAD
    execute(store, f"DROP TABLE {partition(1)}")
    store.make_room()
    store.make_room()
    assert caplog.messages == [f"made the partition {partition(1)}"]


def test_events_of_a_month_that_has_none_are_kept_until_a_partition_is_made(store: Store) -> None:
    ends = [event_of_month(ahead, 2**64 - 1, -1) for ahead in (-3, -2, 1)]
    begins = [event_of_month(ahead, 0) for ahead in (-3, -2, 1)]
    assert store.add(ends + begins).new == 6
    assert partitions(store) == AHEAD
    assert count(store, "events_other") == 4
    assert store.make_room() == []
    assert partitions(store) == [*map(partition, (-4, -3, -2)), *AHEAD]
    assert count(store, "events_other") == 0
    assert [count(store, partition(ahead)) for ahead in (-4, -3, -2, 0, 1)] == [1, 2, 1, 1, 1]
    assert everything(store) == sorted(ends + begins, key=lambda e: e.delivery_id)
    assert store.add(ends + begins).new == 0


def test_the_first_rows_of_a_month_are_not_summed_up_one_by_one(store: Store) -> None:
    store.add([event_of_month(0)])
    open_ranges = rows(
        store,
        "SELECT brin_summarize_new_values(indexrelid::regclass) FROM pg_index "
        "JOIN pg_class c ON c.oid = indexrelid "
        f"JOIN pg_am ON pg_am.oid = c.relam WHERE amname = 'brin' AND indrelid = '{partition(0)}'::regclass",
    )
    assert set(open_ranges) == {(1,)}


def test_a_month_can_be_asked_for_before_it_has_events(store: Store) -> None:
    assert store.make_room([first_second(-7)]) == []
    assert partitions(store) == [partition(-7), *AHEAD]


@pytest.mark.parametrize("number", [1, COPY_FROM])
def test_an_id_of_an_impossible_time_is_kept_all_the_same(store: Store, number: int) -> None:
    beyond = first_second(MONTHS_AHEAD + 1)
    seconds = (0, 1, 2**31, 2**32 - 1, int(datetime(2009, 12, 31, 23, tzinfo=UTC).timestamp()), beyond)
    odd = [
        event(delivery_id=moment.to_bytes(4, "big") + n.to_bytes(8, "big"))
        for moment in sorted(seconds)
        for n in range(number)
    ]
    odd.sort(key=lambda e: e.delivery_id)
    assert store.add([event_of_month(0), *odd]).new == len(odd) + 1
    assert store.make_room(seconds) == []
    assert partitions(store) == AHEAD
    assert count(store, "events_other") == len(odd)
    assert store.add(odd).new == 0


def test_many_events_are_only_moved_where_that_may_hold_others_up(
    store: Store, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_partitions, "MOVED_MEANWHILE", 2)
    store.add([event_of_month(-1, n) for n in range(3)])
    assert store.make_room() == [
        f"events_other holds more than 2 events of {month(-1):%Y-%m}, too many to move while others read: "
        "run `ingest db upgrade` at a quiet hour."
    ]
    assert count(store, "events_other") == 3
    upgrade(url)
    assert (count(store, "events_other"), count(store, partition(-1))) == (0, 3)


def test_an_id_is_there_once_wherever_it_lies(store: Store) -> None:
    events = [event_of_month(ahead, n) for ahead in (-2, 0, MONTHS_AHEAD + 5) for n in range(COPY_FROM)]
    assert store.add(events).new == len(events)
    assert store.add(events).new == 0
    assert store.add(events[::-7]).new == 0


def test_old_months_are_emptied_and_in_the_last_one_what_is_older(store: Store, url: str) -> None:
    day = 86_400
    old = [
        event(delivery_id=b"\0" * 12),
        event_of_month(-4),
        event_of_month(-3),
        event_of_month(-2, 1, 5 * day),
        event_of_month(-1),
        event_of_month(-1, 9, day - 1),
    ]
    kept = [event_of_month(-1, 1, day), event_of_month(0), event(delivery_id=b"\xff" * 12)]
    store.add(old + kept)
    store.make_room()
    assert store.expire(first_second(-1) + day) == len(old)
    assert everything(store) == kept
    assert store.expire(first_second(0)) == 1
    assert everything(store) == kept[1:]
    assert partitions(store) == [*map(partition, (-4, -3, -2, -1)), *AHEAD]
    upgrade(url)
    assert partitions(store) == AHEAD


def test_a_late_event_keeps_its_month_from_being_dropped(store: Store, url: str) -> None:
    store.add([event_of_month(-3, 1), event_of_month(-4, 2)])
    store.make_room()
    assert store.expire(first_second(-1)) == 2
    store.add([event_of_month(-3, 3)])
    upgrade(url)
    assert partitions(store) == [partition(-3), *AHEAD]
    assert everything(store) == [event_of_month(-3, 3)]
    assert store.expire(first_second(-1)) == 1


# --- tables that are in use ---


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_partitions, "LOCK_PATIENCE_MS", 20)
    monkeypatch.setattr(postgres_partitions, "LOCK_PAUSE", 0.01)


@pytest.mark.usefixtures("hasty")
def test_months_are_made_another_time_while_others_read_everything(store: Store) -> None:
    execute(store, f"DROP TABLE {partition(0)}")
    with store.engine.connect() as backup:
        backup.exec_driver_sql("SELECT count(*) FROM events")
        (problem,) = store.make_room()
        assert problem == (
            f"{partition(0)} could not be made, because the table of events is in use all the time, as by a "
            "backup; until it is made, events of that month go into events_other."
        )
        assert store.add([event_of_month(0, n) for n in range(COPY_FROM)]).new == COPY_FROM
    assert store.make_room() == []
    assert count(store, partition(0)) == COPY_FROM


@pytest.mark.usefixtures("hasty")
def test_a_month_that_others_read_is_emptied_another_day(store: Store) -> None:
    store.add([event_of_month(-3), event_of_month(0)])
    store.make_room()
    with store.engine.connect() as reader:
        reader.exec_driver_sql(f"SELECT * FROM {partition(-3)}")
        with pytest.raises(Unavailable, match="in use all the time"):
            store.expire(first_second(-1))
    assert store.expire(first_second(-1)) == 1
    assert everything(store) == [event_of_month(0)]


def test_while_a_month_is_counted_to_be_emptied_nobody_waits_for_a_turn(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.add([event_of_month(-3, 1), event_of_month(-3, 2), event_of_month(0)])
    store.make_room()
    before = store.stored()
    counting = postgres_counts.of_table
    counted: list[int] = []

    def while_counting(connection: Connection, name: str) -> tuple[int, event_counts.Numbers]:
        found = counting(connection, name)
        with store.writing() as other:  # as whoever erases somebody, and all who store something behind them
            other.exec_driver_sql("SET LOCAL lock_timeout = '1s'")
            store._backend.take_turns(other, event_counts.TURNS)
        assert store.add([event_of_month(0, 7 + len(counted))]).new == 1
        counted.append(found[0])
        return found

    monkeypatch.setattr(postgres_counts, "of_table", while_counting)
    assert store.expire(first_second(-1)) == 2
    assert counted == [2]
    assert store.stored() == before - 2 + 1 == len(everything(store))


def test_what_is_counted_meanwhile_of_what_was_there_before_is_counted_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.add([event_of_month(-3, n) for n in range(3)] + [event_of_month(0)])
    store.make_room()
    store.count_anew()
    counting = postgres_counts.of_table
    calls: list[str] = []

    def while_counting(connection: Connection, name: str) -> tuple[int, event_counts.Numbers]:
        found = counting(connection, name)
        if not calls:
            while store.count_more() < 1:
                pass
        calls.append(name)
        return found

    monkeypatch.setattr(postgres_counts, "of_table", while_counting)
    assert store.expire(first_second(-1)) == 3
    assert len(calls) == 2
    assert store.is_counted
    assert store.stored() == 1 == len(everything(store))


def test_a_table_that_was_detached_is_left_alone(store: Store) -> None:
    execute(store, f"ALTER TABLE events DETACH PARTITION {partition(1)}")
    (problem,) = store.make_room()
    assert (
        problem == f"public.{partition(1)} exists and is no partition of public.events: attach, rename or drop it."
    )
    assert store.add([event_of_month(1)]).new == 1


def test_an_operators_own_rule_holds_for_new_months_too(store: Store) -> None:
    execute(store, "ALTER TABLE events ADD CONSTRAINT rule CHECK (recipient <> 'nobody')")
    store.make_room([first_second(-2)])
    with pytest.raises(RowsRejected):
        store.add([event_of_month(-2)._replace(recipient="nobody")])
    assert store.add([event_of_month(-2)]).new == 1


def test_a_search_does_not_read_all_events(store: Store) -> None:
    store.add(
        [event_of_month(0, n)._replace(recipient=f"{n}@example.nl", message_id=f"{n}") for n in range(20_000)]
    )
    execute(store, "ANALYZE events")
    by_address = r"Index Cond: \(lower\(substr\(recipient, 1, 320\)\) = "
    for wanted, index in (
        (Filter(recipient="7@EXAMPLE.nl"), by_address),
        (Filter(recipient=LONG + "7", types=("open",)), by_address),
        (Filter(message_id="7"), r"Bitmap Index Scan on events_\d+_\d+_message_id_idx"),
    ):
        plan = explained(store, "EXPLAIN", wanted)
        assert re.search(index, "\n".join(plan)), plan
        assert not [step for step in plan if f"Seq Scan on {partition(0)}" in step]


def test_a_message_is_looked_up_also_where_the_server_would_rather_read_everything(store: Store) -> None:
    store.add([event_of_month(0, n)._replace(message_id=f"{n}") for n in range(100)])
    execute(store, "ANALYZE events")
    wanted = Filter(message_id="7")
    plan = "\n".join(explained(store, "EXPLAIN", wanted))
    assert "Seq Scan" not in plan
    assert "_message_id_idx" in plan
    assert [each.message_id for each in store.find(wanted)] == ["7"]
    assert [[each.message_id for each in page] for page in store.pages(wanted, b"", 10)] == [["7"]]
    assert store.count(wanted) == sum(number for *_, number in store.counts(wanted, "day")) == 1
    assert rows(store, "SHOW enable_seqscan") == [("on",)]  # only for that


def test_a_search_by_message_starts_processes_only_where_there_are_very_many_events(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To start them takes as long as such a search in five million events."""

    def allowed() -> str:
        with store.reading(by_message=True) as connection:
            return str(connection.exec_driver_sql("SHOW max_parallel_workers_per_gather").scalar_one())

    assert allowed() == "0"
    monkeypatch.setattr(postgres, "ALONE", postgres.ALONE.replace("1000000", "-100"))
    assert allowed() != "0"
    assert rows(store, "SHOW max_parallel_workers_per_gather") != [("0",)]
