"""Dead letters page by page, the newest first: for the console.

A page looks at no more than `LOOK` letters, in the order of an index, so that it is there at once however many
there are; where a rare error is looked for, it says how far it looked, and the next page goes on from there.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, and_, func, or_, select

from ingest.batch import unpack
from ingest.copernica.events import EPOCH, Event
from workers.handlers.dead_letters import DeadLetter, Wanted, conditions, letter
from workers.records import read
from workers.store.rows import micros
from workers.store.store import Store
from workers.store.tables import dead_letters

#: Letters of a page.
SIZE = 50
#: Letters that are looked at for one page.
LOOK = 2000
#: Letters that are counted: more are "more than so many".
COUNT_MOST = 100_000
#: Characters of an error that a list is given.
ERROR_SHOWN = 500

_COLUMNS = dead_letters.c
_KEY = _COLUMNS.failed_at, _COLUMNS.handler, _COLUMNS.delivery_id


class Place(NamedTuple):
    """Where a page ends: the letter that the next one begins behind."""

    failed_at: datetime
    handler: str
    delivery_id: bytes

    def as_text(self) -> str:
        """For an address."""
        return f"{micros(self.failed_at)}:{self.delivery_id.hex()}:{self.handler}"

    @classmethod
    def from_text(cls, text: str) -> "Place | None":
        """What `as_text` made; None of anything else."""
        moment, _, rest = text.partition(":")
        delivery_id, _, handler = rest.partition(":")
        try:
            return cls(EPOCH + timedelta(microseconds=int(moment)), handler, bytes.fromhex(delivery_id))
        except (ValueError, OverflowError, OSError):
            return None


class Line(NamedTuple):
    """A dead letter in a list. Times are µs since 1970."""

    handler: str
    delivery_id: bytes
    type: str
    failed_at: int
    attempts: int
    error: str
    recipient: str | None


@dataclass(frozen=True, slots=True)
class Page:
    """A page of dead letters; where the next one begins, and how far back (µs since 1970) this one has looked."""

    letters: tuple[Line, ...]
    next: Place | None
    looked_back_to: int | None
    #: Whether it looked at as many as it may, and found fewer than a page of them.
    gave_up: bool


def page(store: Store, wanted: Wanted, after: Place | None = None, size: int = SIZE) -> Page:
    """Dead letters that are wanted, the newest failure first, beginning behind a place."""
    within = [_COLUMNS.handler == wanted.handler] if wanted.handler is not None else []
    if wanted.until is not None:
        within.append(_COLUMNS.failed_at < wanted.until)
    if wanted.since is not None:
        within.append(_COLUMNS.failed_at >= wanted.since)
    if after is not None:
        within.append(_before(after))
    order = [column.desc() for column in _KEY]
    looked = select(*_KEY, _COLUMNS.type, _COLUMNS.attempts, _COLUMNS.error, _COLUMNS.packed).where(*within)
    keys = select(*_KEY).where(*within).order_by(*order).limit(LOOK)
    with store.reading() as connection:
        ends = connection.execute(keys).all()
        if not ends:
            return Page((), None, None, gave_up=False)
        last = Place(*ends[-1])
        found = looked.where(*conditions(dead_letters, wanted), _COLUMNS.failed_at >= last.failed_at)
        found = found.where(or_(_after(last), _is(last)))
        rows = connection.execute(found.order_by(*order).limit(size + 1)).all()
    lines = tuple(_line(row) for row in rows[:size])
    if len(rows) > size:
        end = rows[size - 1]
        return Page(lines, Place(end.failed_at, end.handler, bytes(end.delivery_id)), None, gave_up=False)
    more = last if len(ends) == LOOK else None
    return Page(lines, more, micros(last.failed_at) if more else None, gave_up=more is not None)


def _before(place: Place) -> ColumnElement[bool]:
    """Further back than a place; the first part is for an index, which the rest would not use."""
    at, handler, delivery_id = place
    same = and_(_COLUMNS.failed_at == at, _COLUMNS.handler == handler, _COLUMNS.delivery_id < delivery_id)
    return and_(
        _COLUMNS.failed_at <= at,
        or_(_COLUMNS.failed_at < at, and_(_COLUMNS.failed_at == at, _COLUMNS.handler < handler), same),
    )


def _after(place: Place) -> ColumnElement[bool]:
    at, handler, delivery_id = place
    same = and_(_COLUMNS.failed_at == at, _COLUMNS.handler == handler, _COLUMNS.delivery_id > delivery_id)
    return and_(
        _COLUMNS.failed_at >= at,
        or_(_COLUMNS.failed_at > at, and_(_COLUMNS.failed_at == at, _COLUMNS.handler > handler), same),
    )


def _is(place: Place) -> ColumnElement[bool]:
    at, handler, delivery_id = place
    return and_(_COLUMNS.failed_at == at, _COLUMNS.handler == handler, _COLUMNS.delivery_id == delivery_id)


def _line(row: Any) -> Line:
    event = read(unpack(bytes(row.packed))[0])
    recipient = event.recipient if isinstance(event, Event) else None
    return Line(
        row.handler,
        bytes(row.delivery_id),
        row.type,
        micros(row.failed_at),
        row.attempts,
        row.error[:ERROR_SHOWN],
        recipient,
    )


def count(store: Store, wanted: Wanted, most: int = COUNT_MOST) -> int:
    """How many dead letters are wanted, up to one more than `most`."""
    matching = select(_COLUMNS.delivery_id).where(*conditions(dead_letters, wanted)).limit(most + 1)
    with store.reading() as connection:
        return connection.execute(select(func.count()).select_from(matching.subquery())).scalar_one()


def one(store: Store, handler: str, delivery_id: bytes) -> DeadLetter | None:
    """A dead letter in full; None if it is gone."""
    query = select(dead_letters).where(_COLUMNS.handler == handler, _COLUMNS.delivery_id == delivery_id)
    with store.reading() as connection:
        row = connection.execute(query).one_or_none()
    return None if row is None else letter(row)
