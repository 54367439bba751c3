"""What the store has of each day: how many events of each type, and a number that changes whenever these do."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from sqlalchemy import func, select

from ingest.copernica.event_types import EventType
from ingest.errors import Unavailable
from workers.reconcile.schedule import Schedule
from workers.store.store import Store
from workers.store.tables import event_counts, events

#: How much earlier than its event a call may have been signed: clocks differ, and calls are deleted by their time.
SLACK = timedelta(hours=1)

_COUNTS = event_counts.c
_TYPES = frozenset(map(str, EventType))


@dataclass(frozen=True, slots=True)
class Counted:
    """The events of one type on one day: how many, and what is another number after each change of them."""

    rows: int
    changes: str


@dataclass(frozen=True, slots=True)
class Day:
    """A day (UTC) as the store has it.

    `complete` is what reconciling says of it (None: nobody knows yet), `over` whether it is. Of one that is
    `frozen` the retention has deleted events already, or may any moment.
    """

    day: date
    types: Mapping[str, Counted]
    over: bool
    complete: bool | None
    frozen: bool


def days(store: Store, retention_days: int, now: datetime | None = None) -> dict[date, Day]:
    """All days of which the store has, or had, events; in their order.

    Raises:
        Unavailable: the database cannot be used now, or has not counted all its events yet.
    """
    now = now or datetime.now(UTC)
    if not store.is_counted:
        raise Unavailable("Some events are not counted yet: run `ingest db upgrade`, which counts them.")
    schedule = Schedule.of(store, now=now)
    return {
        day: Day(
            day,
            {kind: one for kind, one in types.items() if one.rows > 0},
            day < now.date(),
            schedule.is_complete(day),
            bool(retention_days) and _begin(day) < now - timedelta(days=retention_days) + SLACK,
        )
        for day, types in sorted(_counted(store).items())
    }


def without_events(store: Store, day: date) -> Day:
    """A day of which the store knows of no event, and has not just lost the last one to an erasure.

    If it has none from before either, a retention has deleted all of that, whatever is set now.
    """
    first = next(store.keys(events, 1), None)
    end = _begin(day).timestamp() + 86_400  # a day may be the last that there is
    is_before_all = first is None or int.from_bytes(first[0].delivery_id[:4], "big") >= end
    return Day(day, {}, day < datetime.now(UTC).date(), None, is_before_all)


def counted(store: Store, day: date) -> Mapping[str, Counted]:
    """The same of the types of one day, as they are at this moment."""
    return {kind: one for kind, one in _counted(store, day).get(day, {}).items() if one.rows > 0}


def _counted(store: Store, only: date | None = None) -> dict[date, dict[str, Counted]]:
    on = func.substr(_COUNTS.hour, 1, 10)
    query = select(on, _COUNTS.type, func.sum(_COUNTS.number), func.sum(_COUNTS.changes)).group_by(
        on, _COUNTS.type
    )
    if only is not None:
        query = query.where(_COUNTS.hour >= f"{only}", _COUNTS.hour < f"{only}~")
    found: defaultdict[date, dict[str, Counted]] = defaultdict(dict)
    with store.reading() as connection:
        for day, kind, rows, changes in connection.execute(query):
            # Of times that no calendar has, there is no day; they stay in the store alone.
            if (known := _day(day)) is not None and kind in _TYPES:
                found[known][kind] = Counted(int(rows), f"{int(changes)}")
    return found


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _begin(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
