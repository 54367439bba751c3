"""Events in PostgreSQL lie in a partition per month, which come and go by themselves."""

import re
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from multiprocessing.synchronize import Barrier

import pytest

from ingest.copernica.events import Event
from ingest.errors import RowsRejected, Unavailable
from tests.support.builders import LONG, event
from tests.support.postgres import Server
from tests.support.processes import at_once
from tests.support.sql import everything, execute, explained, rows
from workers.store import postgres
from workers.store.postgres import COPY_FROM
from workers.store.store import Filter, Store

THIS = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def month(ahead: int) -> datetime:
    """The beginning of this month, or of one so many months away."""
    months = THIS.year * 12 + THIS.month - 1 + ahead
    return THIS.replace(year=months // 12, month=months % 12 + 1)


def table(ahead: int) -> str:
    return f"events_{month(ahead):%Y_%m}"


def second(ahead: int) -> int:
    return int(month(ahead).timestamp())


def of(ahead: int, number: int = 1, seconds: int = 0) -> Event:
    """An event of so many seconds into a month."""
    return event(delivery_id=(second(ahead) + seconds).to_bytes(4, "big") + number.to_bytes(8, "big"))


def partitions(store: Store) -> list[str]:
    children = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'events'::regclass ORDER BY 1"
    return [name for (name,) in rows(store, children) if name != "events_other"]


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
    assert partitions(store) == [table(0), table(1)]


def test_each_month_that_has_events_has_a_partition(store: Store) -> None:
    ends = [of(ahead, 2**64 - 1, -1) for ahead in (-3, -2, 1)]
    begins = [of(ahead, 0) for ahead in (-3, -2, 1)]
    store.add(ends + begins)
    assert partitions(store) == [table(ahead) for ahead in (-4, -3, -2, 0, 1)]
    assert count(store, "events_other") == 0
    assert [count(store, table(ahead)) for ahead in (-4, -3, -2, 0, 1)] == [1, 2, 1, 1, 1]
    assert everything(store) == sorted(ends + begins, key=lambda e: e.delivery_id)


@pytest.mark.parametrize("number", [1, COPY_FROM])
def test_an_id_of_an_impossible_time_is_kept_all_the_same(store: Store, number: int) -> None:
    seconds = (0, 1, 2**31, 2**32 - 1, int(datetime(2009, 12, 31, 23, tzinfo=UTC).timestamp()), second(3))
    odd = [
        event(delivery_id=moment.to_bytes(4, "big") + n.to_bytes(8, "big"))
        for moment in sorted(seconds)
        for n in range(number)
    ]
    odd.sort(key=lambda e: e.delivery_id)
    assert store.add([of(0), *odd]) == len(odd) + 1
    assert partitions(store) == [table(0), table(1)]
    assert count(store, "events_other") == len(odd)
    assert store.add(odd) == 0


@pytest.mark.parametrize("ahead", [-3, 0, 1])
def test_events_that_came_before_their_partition_move_into_it(store: Store, ahead: int) -> None:
    far = b"\xff" * 12
    store.add([of(-5), event(delivery_id=far)])
    execute(store, *[f"DROP TABLE {name}" for name in partitions(store)])
    early = of(ahead)
    execute(store, f"UPDATE events_other SET delivery_id = '\\x{early.delivery_id.hex()}'")
    with closing(Store.open(store.engine.url.render_as_string(False))) as other:
        assert other.add([early, of(ahead, 2), event(delivery_id=far)]) == 2
        assert everything(other) == [early, of(ahead, 2), event(delivery_id=far)]
    assert count(store, "events_other") == 1
    assert count(store, table(ahead)) == 2


def test_an_id_is_there_once_wherever_it_lies(store: Store) -> None:
    events = [of(ahead, n) for ahead in (-2, 0, 5) for n in range(COPY_FROM)]
    assert store.add(events) == len(events)
    assert store.add(events) == 0
    assert store.add(events[::-7]) == 0


def test_old_months_are_dropped_and_in_the_last_one_what_is_older(store: Store) -> None:
    day = 86_400
    old = [event(delivery_id=b"\0" * 12), of(-4), of(-3), of(-2, 1, 5 * day), of(-1), of(-1, 9, day - 1)]
    kept = [of(-1, 1, day), of(0), event(delivery_id=b"\xff" * 12)]
    store.add(old + kept)
    assert store.expire(second(-1) + day) == len(old)
    assert partitions(store) == [table(-1), table(0), table(1)]
    assert everything(store) == kept
    assert store.expire(second(0)) == 1
    assert partitions(store) == [table(0), table(1)]
    assert everything(store) == kept[1:]


def test_an_event_of_a_month_that_others_dropped_is_kept(store: Store, url: str) -> None:
    store.add([of(-3)])
    with closing(Store.open(url)) as other:
        assert other.expire(second(-1)) == 1
        assert store.add([of(-3), of(0)]) == 2
        assert other.add([of(-3), of(-3, 2)]) == 1
    assert everything(store) == [of(-3), of(-3, 2), of(0)]
    assert count(store, "events_other") == 0


def test_a_month_that_others_read_is_dropped_another_day(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "DROP_PATIENCE", 0.1)
    store.add([of(-3), of(0)])
    with store.engine.connect() as reader:
        reader.exec_driver_sql(f"SELECT * FROM {table(-3)}")
        with pytest.raises(Unavailable):
            store.expire(second(-1))
    assert store.expire(second(-1)) == 1
    assert everything(store) == [of(0)]


def _make_at_once(barrier: Barrier, url: str, number: int) -> None:
    with closing(Store.open(url)) as store:
        for ahead in range(-12, 2):
            barrier.wait(20)
            store.add([of(ahead, number), event(delivery_id=b"\xff" * 8 + bytes([number, 0, 0, ahead + 12]))])
        barrier.wait(20)
        store.tidy()
    sys.exit(0)


def test_two_processes_can_make_the_same_partition_at_once(store: Store, url: str) -> None:
    assert at_once(_make_at_once, (url, 1), (url, 2)) == [0, 0]
    assert partitions(store) == [table(ahead) for ahead in range(-12, 2)]
    assert store.stored() == 2 * 2 * 14


def _expire_at_once(barrier: Barrier, url: str) -> None:
    with closing(Store.open(url)) as store:
        barrier.wait(20)
        store.expire(second(0))
    sys.exit(0)


def test_two_processes_can_expire_at_once(store: Store, url: str) -> None:
    store.add([of(ahead) for ahead in range(-24, 1)])
    assert at_once(_expire_at_once, (url,), (url,)) == [0, 0]
    assert everything(store) == [of(0)]


def test_an_operators_own_rule_holds_for_new_months_too(store: Store) -> None:
    execute(store, "ALTER TABLE events ADD CONSTRAINT rule CHECK (recipient <> 'nobody')")
    store.add([of(0)])
    with pytest.raises(RowsRejected):
        store.add([of(-2)._replace(recipient="nobody")])
    assert store.add([of(-2)]) == 1


def test_a_search_does_not_read_all_events(store: Store) -> None:
    store.add([of(0, n)._replace(recipient=f"{n}@example.nl", message_id=f"{n}") for n in range(20_000)])
    execute(store, "ANALYZE events")
    by_address = r"Index Cond: \(lower\(substr\(recipient, 1, 320\)\) = "
    for wanted, index in (
        (Filter(recipient="7@EXAMPLE.nl"), by_address),
        (Filter(recipient=LONG + "7", types=("open",)), by_address),
        (Filter(message_id="7"), r"Bitmap Index Scan on events_\d+_\d+_message_id_idx"),
    ):
        plan = explained(store, "EXPLAIN", wanted)
        assert re.search(index, "\n".join(plan)), plan
        assert not [step for step in plan if f"Seq Scan on {table(0)}" in step]
