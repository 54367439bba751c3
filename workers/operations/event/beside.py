"""What is beside an event: the one before and the one after it, others of its message and of its recipient."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, select

from ingest.copernica.events import Event, EventType
from workers.store import tables
from workers.store.filters import Filter
from workers.store.patience import within
from workers.store.rows import micros
from workers.store.store import Store

#: Other events that are shown of a message, and of a recipient.
SHOWN = 5
#: Other events that are read of one in all: of a test address there may be a million.
MOST = 1000
#: Seconds that looking for either may take, for whoever asks in a hurry (`workers.store.patience`).
PATIENCE = 1.0


@dataclass(frozen=True, slots=True)
class Line:
    """Another event, in a line."""

    delivery_id: bytes
    type: EventType
    occurred_at: int


@dataclass(frozen=True, slots=True)
class Beside:
    """The neighbours of an event; those of the message and the recipient are the nearest, the newest first."""

    previous: bytes | None
    next: bytes | None
    message: tuple[Line, ...]
    recipient: tuple[Line, ...]


def beside(store: Store, event: Event) -> Beside:
    """Find the neighbours of an event.

    Raises:
        Unavailable: the database cannot be used now.
    """
    key = tables.events.c.delivery_id
    with store.reading() as connection:
        before = select(key).where(key < event.delivery_id).order_by(key.desc()).limit(1)
        after = select(key).where(key > event.delivery_id).order_by(key).limit(1)
        previous, following = connection.execute(before).scalar(), connection.execute(after).scalar()
    message = _lines(store, event, Filter(message_id=event.message_id)) if event.message_id else ()
    recipient = _lines(store, event, Filter(recipient=event.recipient)) if event.recipient else ()
    known = {line.delivery_id for line in message}
    others = [line for line in recipient if line.delivery_id not in known]
    neighbours = _nearest(event, message), _nearest(event, others)
    return Beside(previous and bytes(previous), following and bytes(following), *neighbours)


def _nearest(event: Event, lines: Sequence[Line]) -> tuple[Line, ...]:
    """Those of some events that are nearest to one, the newest first."""
    nearest = sorted(lines, key=lambda line: abs(line.occurred_at - event.occurred_at))[:SHOWN]
    return tuple(sorted(nearest, key=lambda line: line.occurred_at, reverse=True))


def _lines(store: Store, event: Event, wanted: Filter) -> Sequence[Line]:
    columns = tables.events.c
    with within(PATIENCE), store.reading(by_message=True) as connection:
        conditions: list[ColumnElement[bool]] = [
            *wanted.conditions(store.backend),
            columns.delivery_id != event.delivery_id,
        ]
        query = select(columns.delivery_id, columns.type, columns.occurred_at).where(*conditions).limit(MOST)
        return [Line(bytes(key), EventType(kind), micros(at)) for key, kind, at in connection.execute(query)]
