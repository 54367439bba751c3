"""Events in PostgreSQL lie in a partition per month, which come and go by themselves."""

import re
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime

import pytest

from ingest.errors import RowsRejected, Unavailable
from tests.support.builders import LONG, event
from tests.support.months import event_of_month, first_second, partition, partitions
from tests.support.postgres import Server
from tests.support.sql import everything, execute, explained, rows
from workers.store import monthly_partitions
from workers.store.filters import Filter
from workers.store.postgres import COPY_FROM
from workers.store.store import Store


def count(store: Store, name: str) -> int:
    return int(rows(store, f"SELECT count(*) FROM {name}")[0][0])


@pytest.fixture
def url(postgres_server: Server) -> str:
    return postgres_server.new_database("partitioned", "template")


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with closing(Store.open(url)) as store:
        yield store


def test_tidying_makes_room_for_this_month_and_the_next(store: Store) -> None:
    assert partitions(store) == []
    store.tidy()
    store.tidy()
    assert partitions(store) == [partition(0), partition(1)]


def test_each_month_that_has_events_has_a_partition(store: Store) -> None:
    ends = [event_of_month(ahead, 2**64 - 1, -1) for ahead in (-3, -2, 1)]
    begins = [event_of_month(ahead, 0) for ahead in (-3, -2, 1)]
    store.add(ends + begins)
    assert partitions(store) == [partition(ahead) for ahead in (-4, -3, -2, 0, 1)]
    assert count(store, "events_other") == 0
    assert [count(store, partition(ahead)) for ahead in (-4, -3, -2, 0, 1)] == [1, 2, 1, 1, 1]
    assert everything(store) == sorted(ends + begins, key=lambda e: e.delivery_id)


@pytest.mark.parametrize("number", [1, COPY_FROM])
def test_an_id_of_an_impossible_time_is_kept_all_the_same(store: Store, number: int) -> None:
    seconds = (0, 1, 2**31, 2**32 - 1, int(datetime(2009, 12, 31, 23, tzinfo=UTC).timestamp()), first_second(3))
    odd = [
        event(delivery_id=moment.to_bytes(4, "big") + n.to_bytes(8, "big"))
        for moment in sorted(seconds)
        for n in range(number)
    ]
    odd.sort(key=lambda e: e.delivery_id)
    assert store.add([event_of_month(0), *odd]) == len(odd) + 1
    assert partitions(store) == [partition(0), partition(1)]
    assert count(store, "events_other") == len(odd)
    assert store.add(odd) == 0


@pytest.mark.parametrize("ahead", [-3, 0, 1])
def test_events_that_came_before_their_partition_move_into_it(store: Store, ahead: int) -> None:
    far = b"\xff" * 12
    store.add([event_of_month(-5), event(delivery_id=far)])
    execute(store, *[f"DROP TABLE {name}" for name in partitions(store)])
    early = event_of_month(ahead)
    execute(store, f"UPDATE events_other SET delivery_id = '\\x{early.delivery_id.hex()}'")
    with closing(Store.open(store.engine.url.render_as_string(False))) as other:
        assert other.add([early, event_of_month(ahead, 2), event(delivery_id=far)]) == 2
        assert everything(other) == [early, event_of_month(ahead, 2), event(delivery_id=far)]
    assert count(store, "events_other") == 1
    assert count(store, partition(ahead)) == 2


def test_an_id_is_there_once_wherever_it_lies(store: Store) -> None:
    events = [event_of_month(ahead, n) for ahead in (-2, 0, 5) for n in range(COPY_FROM)]
    assert store.add(events) == len(events)
    assert store.add(events) == 0
    assert store.add(events[::-7]) == 0


def test_old_months_are_dropped_and_in_the_last_one_what_is_older(store: Store) -> None:
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
    assert store.expire(first_second(-1) + day) == len(old)
    assert partitions(store) == [partition(-1), partition(0), partition(1)]
    assert everything(store) == kept
    assert store.expire(first_second(0)) == 1
    assert partitions(store) == [partition(0), partition(1)]
    assert everything(store) == kept[1:]


def test_an_event_of_a_month_that_others_dropped_is_kept(store: Store, url: str) -> None:
    store.add([event_of_month(-3)])
    with closing(Store.open(url)) as other:
        assert other.expire(first_second(-1)) == 1
        assert store.add([event_of_month(-3), event_of_month(0)]) == 2
        assert other.add([event_of_month(-3), event_of_month(-3, 2)]) == 1
    assert everything(store) == [event_of_month(-3), event_of_month(-3, 2), event_of_month(0)]
    assert count(store, "events_other") == 0


def test_a_month_that_others_read_is_dropped_another_day(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monthly_partitions, "DROP_PATIENCE", 0.1)
    store.add([event_of_month(-3), event_of_month(0)])
    with store.engine.connect() as reader:
        reader.exec_driver_sql(f"SELECT * FROM {partition(-3)}")
        with pytest.raises(Unavailable):
            store.expire(first_second(-1))
    assert store.expire(first_second(-1)) == 1
    assert everything(store) == [event_of_month(0)]


def test_an_operators_own_rule_holds_for_new_months_too(store: Store) -> None:
    execute(store, "ALTER TABLE events ADD CONSTRAINT rule CHECK (recipient <> 'nobody')")
    store.add([event_of_month(0)])
    with pytest.raises(RowsRejected):
        store.add([event_of_month(-2)._replace(recipient="nobody")])
    assert store.add([event_of_month(-2)]) == 1


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
