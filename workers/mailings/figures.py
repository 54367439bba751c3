"""The figures of one mailing, as pages and commands show them.

Numbers of events are those of this moment. How many messages that were, and what was most frequent, is as of some
seconds ago (`as_of`), and `is_fresh` says whether nothing has changed since.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cached_property, lru_cache
from itertools import chain
from typing import Any, NamedTuple

from sqlalchemy import Connection, func, select

from ingest.copernica.event_types import EventType
from workers.mailings.hours import Hours, changes_of, hours_of
from workers.mailings.names import Name, names_of
from workers.mailings.part import KINDS, LISTS
from workers.mailings.reading import begin_of
from workers.store import tables
from workers.store.mailing_tables import mailing_figures, mailing_parts
from workers.store.store import Store

_PARTS, _FIGURES = mailing_parts.c, mailing_figures.c
_KINDS = [kind.value for kind in KINDS]
#: Where what others are a part of comes from.
STORE, COPERNICA, SENT = "store", "copernica", "sent"


class Numbers(NamedTuple):
    """Events, and of how many messages; None: that is not known yet."""

    total: int = 0
    unique: int | None = 0


class Base(NamedTuple):
    """How many messages rates are a part of: as the `STORE` or `COPERNICA` counts them, or as they were `SENT`."""

    number: int
    source: str


@dataclass
class Figures:
    """One mailing. What is found from its `hours`, of which there may be tens of thousands, is found once."""

    mailing: int
    #: By type of event.
    kinds: dict[str, Numbers] = field(default_factory=dict)
    #: Events by type and hour.
    hours: Hours = field(default_factory=dict)
    #: Reasons, links, tags and clients, each the most frequent first.
    tops: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    #: What Copernica calls it, for each product that has a mailing of this number.
    names: Sequence[Name] = ()
    #: Messages that Copernica says were delivered, where totals were compared.
    theirs: int | None = None
    #: When the unique numbers were made, µs since 1970; None: not yet.
    as_of: int | None = None
    is_fresh: bool = False

    def of(self, kind: str) -> Numbers:
        """The numbers of a type."""
        return self.kinds.get(kind, Numbers())

    @cached_property
    def first_hour(self) -> str | None:
        """When it was sent: the first hour with a delivery, or with anything if there is none."""
        deliveries = self.hours.get(EventType.DELIVERY)
        return min(deliveries or chain.from_iterable(self.hours.values()), default=None)

    @cached_property
    def last_hour(self) -> str | None:
        """The last hour in which anything happened."""
        return max(chain.from_iterable(self.hours.values()), default=None)

    @property
    def base(self) -> Base | None:
        """What rates are a part of: messages that were delivered.

        Copernica does not name the mailing in its webhooks on deliveries in each account: where the store has
        fewer of them than of messages that were opened, or than Copernica counts, Copernica's number counts.
        """
        here = self.of(EventType.DELIVERY).unique or 0
        if here < (self.theirs or 0):
            return Base(self.theirs or 0, COPERNICA)
        seen = max((self.of(kind).unique or 0) for kind in (EventType.OPEN, EventType.CLICK))
        if here and here >= seen:
            return Base(here, STORE)
        sent = max((name.destinations or 0 for name in self.names), default=0)
        return Base(sent, SENT) if sent >= max(seen, 1) else None

    def rate(self, kind: str) -> float | None:
        """Which part of the `base` had an event of a type, from 0 to 1; None if that is not known."""
        unique, base = self.of(kind).unique, self.base
        return None if base is None or unique is None else unique / base.number

    def curve(self, kind: str) -> list[tuple[int, int]]:
        """Events of a type by whole hours since sending; what is before counts for the first."""
        if self.first_hour is None:
            return []
        begin = _number_of(self.first_hour)
        hours = [(_number_of(hour) - begin, number) for hour, number in self.hours.get(kind, {}).items()]
        first = sum(number for hour, number in hours if hour <= 0)
        return ([(0, first)] if first else []) + sorted(each for each in hours if each[0] > 0)

    @property
    def began(self) -> datetime | None:
        """The begin of the first hour."""
        return None if self.first_hour is None else begin_of(self.first_hour)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        base = self.base
        return {
            "mailing": self.mailing,
            "names": [name.as_dict() for name in self.names],
            "first_hour": self.first_hour,
            "last_hour": self.last_hour,
            "as_of": None if self.as_of is None else self.as_of / 1_000_000,
            "is_fresh": self.is_fresh,
            "base": None if base is None else base._asdict(),
            "events": {
                kind: {"total": numbers.total, "unique": numbers.unique, "rate": self.rate(kind)}
                for kind in _KINDS
                if (numbers := self.of(kind)).total
            },
            **{name: dict(self.tops.get(name, {})) for name in LISTS},
        }


def figures_of(store: Store, mailing: int) -> Figures | None:
    """The figures of a mailing; None if there is nothing of it.

    Raises:
        Unavailable: the database cannot be used now.
    """
    found = Figures(mailing)
    with store.reading() as connection:
        # First what was made, then what is: if something is stored in between, it is out of date, not wrong.
        made = connection.execute(select(mailing_figures).where(_FIGURES.mailing == mailing)).one_or_none()
        changes = changes_of(connection, mailing)
        found.is_fresh = made is not None and made.changes == changes
        found.hours = _with_attributed(connection, mailing, hours_of(store, connection, mailing, changes))
        found.theirs = _theirs(connection, mailing)
        found.names = names_of(connection, [mailing]).get(mailing, ())
    if not found.hours and not found.names and not found.theirs:
        return None
    unique = {} if made is None else {kind: numbers[1] for kind, numbers in json.loads(made.kinds).items()}
    found.kinds = {kind: Numbers(sum(hours.values()), unique.get(kind)) for kind, hours in found.hours.items()}
    if made is not None:
        found.as_of, found.tops = made.as_of, json.loads(made.tops)
    return found


@lru_cache(10_000)
def _number_of(hour: str) -> int:
    """The number of an hour of `event_counts`, counted from one that is long gone."""
    return date.fromisoformat(hour[:10]).toordinal() * 24 + int(hour[11:])


def _with_attributed(connection: Connection, mailing: int, own: Hours) -> Hours:
    """The events that name a mailing, and besides those that name none and are known to be of it."""
    attributed = select(_PARTS.hour, _PARTS.type, _PARTS.number).where(
        _PARTS.mailing == mailing, _PARTS.owner <= 0, _PARTS.number != 0
    )
    if not (rows := connection.execute(attributed).all()):
        return own
    found = {kind: Counter(hours) for kind, hours in own.items()}
    for hour, kind, number in rows:
        found.setdefault(kind, Counter())[hour] += number
    return found


def _theirs(connection: Connection, mailing: int) -> int | None:
    """Messages of all days that Copernica counts as delivered."""
    columns = tables.mailing_totals.c
    query = select(func.sum(func.coalesce(columns.theirs_unique, columns.theirs))).where(
        columns.mailing == mailing, columns.kind == EventType.DELIVERY.value
    )
    found = connection.execute(query).scalar()
    return None if found is None else int(found)
