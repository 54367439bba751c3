"""Searches events by anything, the newest first, at any size: page by page, and never longer than it may.

Events are in the order in which they occurred, those of one moment in that of their delivery ids. A page goes on
from a `Place` in that order, so nothing is ever counted or skipped.

For a recipient or a message there is an index. Everything else is read by time, in windows: the table
`event_counts` says which hours have events of a type, mailing or source at all, and how many events each hour has.
So a window has some thousand rows, however sparse or dense those are. Where the time for a page is up before it is
full, it has what was found by then, and tells how far it got.
"""

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple, Self

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select

from ingest.copernica.addresses import folded
from ingest.copernica.events import EPOCH, MICROS
from ingest.errors import TookTooLong
from workers.store import tables
from workers.store.backend import INDEXED
from workers.store.filters import Filter
from workers.store.hours import Span, Windows
from workers.store.lines import COLUMNS, Line, line_of
from workers.store.patience import within
from workers.store.store import Store

#: Seconds after which no further window is read for a page.
BUDGET = 0.12
#: Seconds that a single query may take: that for a recipient or a message, and that for a window.
POINTED_LIMIT, WINDOW_LIMIT = 2.0, 1.0
#: Seconds for all of a window, where there is a way to read the greater part of it quickly.
WHOLE_LIMIT = 0.1
#: Events that a summary is made of: each lies somewhere else, and to read one from a disk takes up to 1 ms.
SUMMED = 500
#: Events of a recipient from which on a page of them is sooner found by time.
FREQUENT = 5000

_PLACE = re.compile(r"([0-9]{1,16})-((?:[0-9a-f]{24})?)")
_EVENTS = tables.events.c
#: The same as the column, but no order of an index: SQLite would read all events by their time rather than the few
#: of a recipient.
_occurred_at = func.coalesce(_EVENTS.occurred_at, _EVENTS.occurred_at)


class Place(NamedTuple):
    """Where a page ends: in µs since 1970, and behind which delivery id of that moment."""

    at: int
    delivery_id: bytes = b""

    def __str__(self) -> str:
        """As it stands in a URL."""
        return f"{self.at}-{self.delivery_id.hex()}"

    @classmethod
    def read(cls, text: str) -> Self | None:
        """What `str` has written; None if that is not so."""
        found = _PLACE.fullmatch(text)
        return None if found is None else cls(int(found[1]), bytes.fromhex(found[2]))


@dataclass(slots=True)
class Found:
    """A page of events, the newest first, whichever way it was searched."""

    lines: list[Line] = field(default_factory=list)
    #: From where the search goes on in its direction; None if there is nothing more.
    further: Place | None = None
    #: Up to which time (µs since 1970) everything was looked at, if the page is not full and there is more.
    reached: int | None = None
    #: Whether events may be missing whose calls came long after they occurred: it would have taken too long.
    only_on_time: bool = False


def search(
    store: Store,
    wanted: Filter,
    place: Place | None,
    size: int,
    older: bool = True,
    budget: float = BUDGET,
    whole: bool = False,
) -> Found:
    """A page of events before a place, or after it; from the newest on without one.

    With `whole`, late ones are not left out for the sake of speed (`Found.only_on_time`).

    Raises:
        TookTooLong: not even a part of a page can be read in time.
        Unavailable: the database cannot be used now.
    """
    wanted = store.known(wanted)
    looking = _Looking(store, wanted, place, size, older, whole)
    if wanted.is_pointed and not looking.is_frequent():
        try:
            with within(POINTED_LIMIT):
                return looking.pointed()
        except TookTooLong:  # one of many thousand events: the newest of them are near
            pass
    return looking.by_time(budget)


def each(store: Store, wanted: Filter, portion: int, place: Place | None = None) -> Iterator[list[Line]]:
    """All events from a place on, the newest first, in portions; some may be empty, so that a caller can stop."""
    while True:
        found = search(store, wanted, place, portion, whole=True)
        yield found.lines
        if (place := found.further) is None:
            return


class Kinds(NamedTuple):
    """Type and mailing of somebody's newest events, the newest first; when the first and last occurred (µs)."""

    events: list[tuple[str, int | None]]
    first: int
    last: int


def kinds(store: Store, wanted: Filter, limit: int = SUMMED) -> Kinds | None:
    """What the newest events of a recipient or a message are; None if there are none.

    Raises:
        TookTooLong: they are too many.
    """
    column, second = store.seconds(_EVENTS.occurred_at)  # to make a time of each would take longer than all else
    wanted = store.known(wanted)
    about = wanted.about(store.backend, limit)
    conditions = [*about, *wanted.others(store.backend), *wanted.within()]
    query = select(_EVENTS.type, _EVENTS.mailing, column).where(*conditions)
    with within(POINTED_LIMIT), store.reading(by_message=True) as connection:
        rows = connection.execute(query.order_by(_occurred_at.desc()).limit(limit)).all()
    if not rows:
        return None
    return Kinds([(row[0], row[1]) for row in rows], second(rows[-1][2]) * MICROS, second(rows[0][2]) * MICROS)


@dataclass(slots=True)
class _Looking:
    store: Store
    wanted: Filter
    place: Place | None
    size: int
    older: bool
    #: Whether nothing is to be left out, and whether something was.
    whole: bool
    only_on_time: bool = False

    def is_frequent(self) -> bool:
        """Whether it is about somebody of whom there are so many events that those of a page are near."""
        recipient, others = self.wanted.recipient, self.wanted.others(self.store.backend)
        if recipient is None or others or self.wanted.message_id is not None:
            return False
        with self.store.reading() as connection:
            backend = self.store.backend
            return any(backend.is_frequent(connection, one, FREQUENT) for one in self.wanted.recipients if one)

    def pointed(self) -> Found:
        """By an index."""
        wanted, backend = self.wanted, self.store.backend
        conditions = [*wanted.about(backend), *wanted.others(backend)]
        if wanted.since is not None:
            conditions.append(_occurred_at >= wanted.since)
        if wanted.until is not None:
            conditions.append(_occurred_at < wanted.until)
        with self.store.reading(by_message=True) as connection:
            lines = self._read(connection, conditions, self.size + 1)
        return self._page(lines)

    def by_time(self, budget: float) -> Found:
        """In windows of time."""
        conditions = [*_plainly_about(self.wanted), *self.wanted.others(self.store.backend), *self.wanted.within()]
        windows = Windows(self.store, self.wanted, None if self.place is None else self.place.at, self.older)
        lines: list[Line] = []
        now = time.monotonic()
        ended = now + budget
        while window := windows.following():
            began = now
            try:
                lines += self._of_window(window, conditions, self.size + 1 - len(lines))
            except TookTooLong:
                if not windows.halve(window):
                    raise
            now = time.monotonic()
            if len(lines) > self.size or now > ended:
                break
            # Windows grow: the last one would take as long as all before it, and go beyond the time.
            windows.shrink((ended - now) / (now - began))
        page = self._page(lines)
        page.only_on_time = self.only_on_time
        if page.further is None and (edge := windows.reached) is not None and windows.has_more():
            # Everything on this side of the edge was looked at.
            page.further = Place(edge)
            page.reached = edge if len(lines) < self.size else None
        return page

    def _of_window(
        self, window: Sequence[Span], conditions: Sequence[ColumnElement[bool]], limit: int
    ) -> list[Line]:
        wanted = [*conditions, or_(*(_between(*span) for span in window))]
        on_time = [one for span in window if (one := self.store.backend.on_time(*span)) is not None]
        can_be_quick = bool(on_time) and not self.whole
        if not self.only_on_time:
            seconds = WHOLE_LIMIT if can_be_quick else WINDOW_LIMIT
            try:
                with within(seconds), self.store.reading(by_message=True) as connection:
                    return self._read(connection, wanted, limit)
            except TookTooLong:
                if not can_be_quick:
                    raise
                self.only_on_time = True
        with within(WINDOW_LIMIT), self.store.reading() as connection:
            return self._read(connection, [*wanted, or_(*on_time)], limit)

    def _page(self, lines: list[Line]) -> Found:
        """The page that these lines make, one more than fits if there are more."""
        page = Found(lines[: self.size])
        if len(lines) > self.size:
            last = page.lines[-1]
            page.further = Place(last.occurred_at, last.delivery_id)
        if not self.older:
            page.lines.reverse()
        return page

    def _read(self, connection: Connection, conditions: Sequence[ColumnElement[bool]], limit: int) -> list[Line]:
        query = select(*COLUMNS).where(*conditions).limit(limit)
        key = (_occurred_at if self.wanted.is_pointed else _EVENTS.occurred_at), _EVENTS.delivery_id
        if self.place is not None:
            query = query.where(self._beyond(key[0], self.place))
        order = [column.desc() for column in key] if self.older else [column.asc() for column in key]
        return [line_of(row) for row in connection.execute(query.order_by(*order))]

    def _beyond(self, occurred_at: ColumnElement[datetime], place: Place) -> ColumnElement[bool]:
        at = _moment(place.at)
        if self.older:
            return or_(occurred_at < at, and_(occurred_at == at, _EVENTS.delivery_id < place.delivery_id))
        return or_(occurred_at > at, and_(occurred_at == at, _EVENTS.delivery_id > place.delivery_id))


def _between(low: int, high: int) -> ColumnElement[bool]:
    return and_(_EVENTS.occurred_at >= _moment(low), _EVENTS.occurred_at < _moment(high))


def _moment(at: int) -> datetime:
    return EPOCH + timedelta(microseconds=at)


def _plainly_about(wanted: Filter) -> list[ColumnElement[bool]]:
    """The conditions on recipient and message without an index, for whoever reads row by row."""
    conditions: list[ColumnElement[bool]] = []
    if wanted.recipient is not None:
        addresses = [folded(one) for one in wanted.recipients if one]
        same = func.lower(_EVENTS.recipient).in_(addresses)
        conditions.append(or_(same, _EVENTS.folded_recipient.in_([one[:INDEXED] for one in addresses])))
    if wanted.message_id is not None:
        conditions.append(_EVENTS.message_id == wanted.message_id)
    return conditions
