"""How the database grows, from what is in it: `ingest db size`."""

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from math import inf
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from sqlalchemy import func, select

from ingest.disks import nearest
from ingest.errors import Unavailable
from workers.store import sizes, tables
from workers.store.sizes import Size
from workers.store.store import Store

#: Days that are looked back on: a week has all weekdays in it.
LOOKED_BACK = 7
#: Fewest events from which bytes per event are worked out: in a smaller database, what is empty weighs more.
ENOUGH = 10_000
#: Ages (days) for which it is said what would be held.
AGES = (30, 90, 400)
#: How an hour is written in `event_counts`.
HOUR = "%Y-%m-%d %H"


class Disk(NamedTuple):
    """Bytes of the disk that the database is on, and how many of them are free."""

    total: int
    free: int


class Growth(NamedTuple):
    """How large the database is, and what becomes of it; sizes in bytes."""

    database: str
    size: int
    events: int
    #: Of everything, for one event; assumed where there are too few events to tell.
    per_event: float
    assumed: bool
    #: None: the database cannot tell, or not in time.
    relations: Sequence[Size] | None
    #: Of how many days the events are, and how many there are on one of them, by type.
    days: float
    per_day: Mapping[str, float]
    disk: Disk | None
    #: `INGEST_RETENTION_DAYS`; 0: kept for ever.
    retention: int
    #: Days after which the events of some types go sooner: `INGEST_RETENTION_TYPES`.
    types: Mapping[str, int] = MappingProxyType({})

    @property
    def daily(self) -> float:
        """Events of a day."""
        return sum(self.per_day.values())

    @property
    def grows(self) -> float:
        """Bytes that come in on a day."""
        return self.daily * self.per_event

    @property
    def full_in(self) -> float | None:
        """Days until the disk is full at this rate; None: never, or not known.

        With a retention, the database stops growing once it holds that many days.
        """
        if self.disk is None or not self.grows:
            return None
        bounds = [self.types.get(kind, self.retention) for kind in self.per_day]
        if all(bounds) and self.would_hold(max(bounds)) <= self.size + self.disk.free:
            return None
        return self._filled_in(self.disk.free)

    def _filled_in(self, room: float) -> float | None:
        """Days until so many bytes have come in and stay; a type of which as much goes as comes adds nothing."""
        at = 0.0
        for until in (*sorted({self.types[kind] for kind in self.per_day if kind in self.types}), inf):
            growing = [number for kind, number in self.per_day.items() if self.types.get(kind, inf) >= until]
            rate = sum(growing) * self.per_event
            if not rate:
                return None
            if room <= rate * (until - at):
                return at + room / rate
            room -= rate * (until - at)
            at = until
        return None

    def would_hold(self, days: int) -> float:
        """Bytes of so many days at this rate; of a type that goes sooner, of so many less."""
        held = (number * min(days, self.types.get(kind, days)) for kind, number in self.per_day.items())
        return sum(held) * self.per_event

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "database": self.database,
            "size_bytes": self.size,
            "events": self.events,
            "bytes_per_event": self.per_event,
            "bytes_per_event_assumed": self.assumed,
            "relations": None
            if self.relations is None
            else [
                {
                    "table": one.table, "index": one.index or None, "bytes": one.size,
                    "bytes_per_event": one.size / self.events if self.events else None,
                }
                for one in self.relations
            ],
            "days": self.days,
            "events_per_day": dict(self.per_day),
            "growth_bytes_per_day": self.grows,
            "disk": None if self.disk is None else self.disk._asdict(),
            "full_in_days": self.full_in,
            "retention_days": self.retention or None,
            "retention_types": dict(self.types),
            "would_hold_bytes": {str(days): self.would_hold(days) for days in self.ages},
        }  # fmt: skip  # what belongs together on one line

    @property
    def ages(self) -> list[int]:
        """The ages for which it is said what would be held."""
        return sorted({*AGES, *([self.retention] if self.retention else [])})


def look(
    store: Store,
    retention: int,
    disk: float | None = None,
    now: datetime | None = None,
    types: Mapping[str, int] = MappingProxyType({}),
) -> Growth:
    """Measure it; `disk` is the size of the server's disk where it is on another machine.

    `retention` is how many days events are kept (0: for ever), `types` of some types, which go sooner.

    Raises:
        Unavailable: the database cannot be used now, or its events are not all counted yet.
    """
    if not store.is_counted:
        raise Unavailable("Some events are not counted yet since the last upgrade: run `ingest db upgrade` first.")
    size, events = sizes.of_database(store), store.stored()
    days, per_day = _recent(store, now or datetime.now(UTC))
    assumed = events < ENOUGH
    return Growth(
        store.shown,
        size,
        events,
        store.backend.facts.usual_bytes if assumed else size / events,
        assumed,
        sizes.of_relations(store),
        days,
        per_day,
        _disk(store.backend.path, size, disk),
        retention,
        types,
    )


def _recent(store: Store, now: datetime) -> tuple[float, dict[str, float]]:
    """Of how many of the last days there are events, and how many of each type came on one of them.

    A database that was begun an hour ago has an hour's: what comes in a day is reckoned from that.
    """
    until = now.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    since = until - timedelta(days=LOOKED_BACK)
    columns = tables.event_counts.c
    query = (
        select(columns.type, func.min(columns.hour), func.sum(columns.number))
        .where(columns.hour >= since.strftime(HOUR), columns.hour < until.strftime(HOUR))
        .group_by(columns.type)
    )
    with store.reading() as connection:
        rows = [(str(kind), hour, int(number)) for kind, hour, number in connection.execute(query) if number]
    if not rows:
        return 0.0, {}
    first = datetime.strptime(min(hour for _, hour, _ in rows), HOUR).replace(tzinfo=UTC)
    days = (until - first) / timedelta(days=1)
    numbers = Counter({kind: number for kind, _, number in rows})
    return days, {kind: number / days for kind, number in numbers.most_common()}


def _disk(file: Path | None, size: int, given: float | None) -> Disk | None:
    if given is not None:
        return Disk(int(given), max(0, int(given) - size))
    if file is None:
        return None
    try:
        usage = shutil.disk_usage(nearest(file.parent))
    except OSError:
        return None
    return Disk(usage.total, usage.free)
