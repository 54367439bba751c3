"""How large the database is and how it grows: `ingest db size`."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from ingest.copernica.events import EventType
from tests.support.builders import NINE, SECOND, event
from tests.support.cli import typed
from workers.operations.growth import Disk, Growth, look
from workers.store.store import Store

NOON = datetime.fromtimestamp(NINE // SECOND, UTC) + timedelta(hours=3)
HOUR = 3600 * SECOND


def filled(store: Store) -> None:
    opens = [event(number, occurred_at=NINE - number * HOUR) for number in range(48)]
    clicks = [event(100 + number, type=EventType.CLICK, occurred_at=NINE) for number in range(12)]
    long_ago = [event(200, occurred_at=NINE - 40 * 24 * HOUR)]
    ahead = [event(201, occurred_at=NINE + 24 * HOUR)]
    store.add([*opens, *clicks, *long_ago, *ahead])


def test_each_table_and_index_is_told_with_its_partitions_together(store: Store) -> None:
    filled(store)
    found = look(store, retention=0, now=NOON)
    assert found.events == 62
    assert found.relations is not None
    of_events = {one.index for one in found.relations if one.table == "events"}
    assert "" in of_events
    assert len(of_events) >= (
        2 if store.engine.dialect.name == "mysql" else 3
    )  # which tells of all indexes at once
    assert not [one for one in found.relations if "_2026_" in one.table + one.index]
    assert 0 < sum(one.size for one in found.relations) <= found.size


def test_what_came_in_the_last_days_is_what_comes_on_a_day(store: Store) -> None:
    filled(store)
    found = look(store, retention=0, now=NOON)
    assert found.days == pytest.approx(51 / 24)  # from the first open's hour to the end of this one
    assert found.per_day == {
        "open": pytest.approx(48 / found.days),
        "click": pytest.approx(12 / found.days),
    }
    assert found.assumed  # 62 events cannot tell what one takes
    assert found.grows == pytest.approx(found.daily * found.per_event)


def test_an_empty_database_does_not_grow(store: Store) -> None:
    found = look(store, retention=0, disk=1e9, now=NOON)
    assert (found.events, found.daily, found.full_in) == (0, 0, None)


def test_the_command_says_it_for_people_and_for_scripts(database: str) -> None:
    with Store.open(database) as store:
        store.add([event(number, occurred_at=int(datetime.now(UTC).timestamp()) * SECOND) for number in range(5)])
    said = typed(
        "db", "size", "--disk", "500GB", environ={"DATABASE_URL": database, "INGEST_RETENTION_DAYS": "400"}
    )
    assert "5 events" in said.output
    assert "free of 500 GB" in said.output
    assert "INGEST_RETENTION_DAYS=400" in said.output
    told = json.loads(typed("db", "size", "--json", environ={"DATABASE_URL": database}).output)
    assert told["events_per_day"]["open"] >= 5
    assert set(told["would_hold_bytes"]) == {"30", "90", "400"}


def test_types_that_go_sooner_are_counted_for_so_many_days_only(store: Store) -> None:
    filled(store)
    found = look(store, retention=90, now=NOON, types={"open": 7})
    opens, clicks = found.per_day["open"], found.per_day["click"]
    assert found.would_hold(90) == pytest.approx((7 * opens + 90 * clicks) * found.per_event)
    assert found.as_dict()["retention_types"] == {"open": 7}


def test_the_command_reads_what_goes_sooner(database: str) -> None:
    with Store.open(database) as store:
        store.add([event(1, occurred_at=int(datetime.now(UTC).timestamp()) * SECOND)])
    environ = {"DATABASE_URL": database, "INGEST_RETENTION_TYPES": "open=7"}
    assert "INGEST_RETENTION_TYPES=open=7" in typed("db", "size", environ=environ).output


@pytest.mark.parametrize(
    ("free", "retention", "types", "full_in"),
    [
        (1_000_000, 0, {"open": 5}, 15),  # 5 days of both, and of clicks what then comes in
        (1_000_000, 0, {"open": 5, "click": 5}, None),
        (100_000, 0, {"open": 5}, 1),
        (1_000_000, 20, {"open": 5}, 15),
        (2_000_000, 20, {"open": 5}, None),
    ],
)
def test_of_a_type_of_which_as_much_goes_as_comes_no_disk_is_filled(
    free: int, retention: int, types: dict[str, int], full_in: float | None
) -> None:
    per_day = {"open": 500.0, "click": 500.0}
    found = Growth("x", 0, 10_000, 100.0, False, None, 7.0, per_day, Disk(free, free), retention, types)
    assert found.full_in == full_in


@dataclass(frozen=True, slots=True)
class Case:
    """A disk, a retention, and the days until it is full."""

    free: int
    retention: int
    full_in: float | None


@pytest.mark.parametrize(
    "case",
    [
        Case(1_000_000, 0, 10),
        Case(1_000_000, 10, None),  # it holds ten days at most, and these fit
        Case(1_000_000, 400, 10),
        Case(0, 0, 0),
    ],
)
def test_a_disk_is_full_when_what_comes_in_has_filled_it_unless_as_much_is_deleted(case: Case) -> None:
    disk = Disk(2_000_000, case.free)
    found = Growth("x", 500_000, 10_000, 100.0, False, None, 7.0, {"open": 1000.0}, disk, case.retention)
    assert found.full_in == case.full_in
