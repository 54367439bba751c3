"""What the store has of a day (UTC, by the webhooks' clock), by mailing and kind.

Totals are read from `event_counts`, which are kept with the events. How many messages that were takes one read of
the day's events: of each a hash of the message's id is kept, eight bytes, so that five million events take some
40 MB. Events that name no mailing, such as all that came from log files, get that of their message where
`destinations` knows it.
"""

from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, or_, select

from ingest.copernica.event_types import EventType
from ingest.copernica.events import WEBHOOK
from workers.store import tables
from workers.store.store import Store
from workers.totals.report import KINDS, Number

#: A mailing and a kind of event.
Key = tuple[int, EventType]
#: Events between two calls of `breathe`.
STEP = 100_000
#: Of what part of a day the messages of events without a mailing are looked up at once.
LOOKED_UP = timedelta(hours=1)

A_DAY = timedelta(days=1)
_COLUMNS = tables.events.c
_OF_KINDS = [kind.value for kind in KINDS]


@dataclass(slots=True)
class Ours:
    """The events of a day."""

    totals: Counter[Key] = field(default_factory=Counter)
    unique: dict[Key, int] = field(default_factory=dict)
    #: Events of which no mailing is known.
    unnamed: Counter[EventType] = field(default_factory=Counter)
    #: Kinds of which webhooks brought some.
    by_webhook: set[EventType] = field(default_factory=set)
    #: The products of mailings, where `destinations` tells.
    products: dict[int, set[str]] = field(default_factory=dict)
    #: By mailing and kind, events close to one of the two midnights: of this day, and of the days around it.
    inside: Counter[Key] = field(default_factory=Counter)
    outside: Counter[Key] = field(default_factory=Counter)

    def number(self, mailing: int, kind: EventType) -> Number:
        """Of one kind of a mailing."""
        key = mailing, kind
        return Number(self.totals[key], self.unique.get(key, 0))

    @property
    def mailings(self) -> set[int]:
        """Those that have events of a kind that is compared."""
        return {mailing for (mailing, _), number in self.totals.items() if number}


def begin_of(day: date) -> datetime:
    """The midnight with which a day begins."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def read(store: Store, day: date, edge: timedelta, breathe: Callable[[], object] = lambda: None) -> Ours:
    """What the store has of a day; events within `edge` of a midnight may be of the day before or after, too.

    Raises:
        Unavailable: the database cannot be used now.
    """
    ours, begin = Ours(), begin_of(day)
    for mailing, kind, source, number in store.by_mailing(begin, begin + A_DAY, _OF_KINDS):
        if not mailing:  # 0 is Copernica's way to say that there is none
            ours.unnamed[EventType(kind)] += number
        else:
            ours.totals[mailing, EventType(kind)] += number
        if source == WEBHOOK:
            ours.by_webhook.add(EventType(kind))
    breathe()
    hashes: defaultdict[Key, array[int]] = defaultdict(lambda: array("q"))
    _named(store, begin, hashes, breathe)
    if any(ours.unnamed.values()):
        _fill(store, begin, ours, hashes, breathe)
    for key, seen in hashes.items():
        ours.unique[key] = len(set(seen))
        breathe()
    _edges(store, begin, edge, ours)
    return ours


def _named(
    store: Store, begin: datetime, hashes: "defaultdict[Key, array[int]]", breathe: Callable[[], object]
) -> None:
    """Note the message of each event that names its mailing."""
    told = 0
    moment, _ = store.seconds(_COLUMNS.occurred_at)
    for kind in KINDS:
        of_kind, more = store.by_time(kind.value)
        order: list[ColumnElement[Any]] = [moment, *more]
        query = select(*order, _COLUMNS.mailing, _COLUMNS.message_id).where(
            of_kind, _COLUMNS.mailing > 0, _COLUMNS.occurred_at < begin + A_DAY
        )
        by_mailing: defaultdict[int, array[int]] = defaultdict(lambda: array("q"))
        for rows in store.streamed(query, _COLUMNS.occurred_at >= begin, order):
            row: Any
            for row in rows:
                if (message := row[-1]) is not None:
                    by_mailing[row[-2]].append(hash(message))
            told += len(rows)
            if told >= STEP:
                told = 0
                breathe()
        hashes.update({(mailing, kind): seen for mailing, seen in by_mailing.items()})


def _fill(
    store: Store,
    begin: datetime,
    ours: Ours,
    hashes: "defaultdict[Key, array[int]]",
    breathe: Callable[[], object],
) -> None:
    """Give events that name no mailing that of their message."""
    destinations = tables.destinations.c
    query = (
        select(destinations.product, destinations.mailing, _COLUMNS.type, _COLUMNS.message_id, func.count())
        .join_from(tables.events, tables.destinations, destinations.message_id == _COLUMNS.message_id)
        .where(func.coalesce(_COLUMNS.mailing, 0) == 0, destinations.mailing > 0, _COLUMNS.type.in_(_OF_KINDS))
        .group_by(destinations.product, destinations.mailing, _COLUMNS.type, _COLUMNS.message_id)
    )
    with store.reading() as connection:
        if connection.execute(select(destinations.destination).limit(1)).scalar() is None:
            return
    for part in _parts(query, begin):
        with store.reading() as connection:
            for product, mailing, name, message, number in connection.execute(part):
                kind = EventType(name)
                ours.totals[mailing, kind] += number
                ours.unnamed[kind] -= number
                ours.products.setdefault(mailing, set()).add(product)
                hashes[mailing, kind].append(hash(message))
        breathe()


def _parts(query: Select[Any], begin: datetime) -> Iterator[Select[Any]]:
    """The same query for one part of the day after the other: no transaction is open for long."""
    for at in range(A_DAY // LOOKED_UP):
        first = begin + at * LOOKED_UP
        yield query.where(_COLUMNS.occurred_at >= first, _COLUMNS.occurred_at < first + LOOKED_UP)


def _edges(store: Store, begin: datetime, edge: timedelta, ours: Ours) -> None:
    """Count the events that are close to a midnight."""
    end = begin + A_DAY
    around = {
        "inside": ((begin, begin + edge), (end - edge, end)),
        "outside": ((begin - edge, begin), (end, end + edge)),
    }
    query = select(_COLUMNS.mailing, _COLUMNS.type, func.count()).group_by(_COLUMNS.mailing, _COLUMNS.type)
    query = query.where(_COLUMNS.mailing > 0, _COLUMNS.type.in_(_OF_KINDS))
    for name, spans in around.items():
        within = or_(
            *(and_(_COLUMNS.occurred_at >= since, _COLUMNS.occurred_at < until) for since, until in spans)
        )
        found: Counter[Key] = getattr(ours, name)
        with store.reading() as connection:
            for mailing, kind, number in connection.execute(query.where(within)):
                found[mailing, EventType(kind)] += number


def shifted(store: Store, day: date, hours: int) -> Counter[Key]:
    """The totals of events that name a mailing, of the day that begins so many hours later."""
    begin = begin_of(day) + timedelta(hours=hours)
    found: Counter[Key] = Counter()
    for mailing, name, _, number in store.by_mailing(begin, begin + A_DAY, _OF_KINDS):
        if mailing:
            found[mailing, EventType(name)] += number
    return found
