"""What a list shows of an event: everything but what may be megabytes."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Text, case, cast, func, select

from ingest.copernica.events import EventType
from workers.store import tables
from workers.store.rows import load, micros
from workers.store.store import Store

#: Characters of a text that a list has; whoever wants to see more opens the event.
CUT = 500
#: Characters of the JSON of tags up to which a list has them: some hundred.
TAGS_CUT = 4000


class Line(NamedTuple):
    """An event, its texts cut off after `CUT` characters. Times are µs since 1970."""

    delivery_id: bytes
    type: EventType
    message_id: str | None
    occurred_at: int
    received_at: int
    recipient: str | None
    ip: str | None
    url: str | None
    user_agent: str | None
    referer: str | None
    profile: int | None
    subprofile: int | None
    database: int | None
    mailing: int | None
    code: int | None
    extended: str | None
    state: str | None
    description: str | None
    source: str
    #: None if they are too many to be shown.
    listed_tags: list[str] | None

    @property
    def tags(self) -> list[str]:
        """Those that are shown."""
        return self.listed_tags or []


_CUT = frozenset(
    {"message_id", "recipient", "ip", "url", "user_agent", "referer", "extended", "state", "description"}
)


def _columns() -> list[ColumnElement[Any]]:
    columns = tables.events.c
    tags = cast(columns.tags, Text)
    named: list[ColumnElement[Any]] = [
        func.substr(columns[name], 1, CUT) if name in _CUT else columns[name] for name in Line._fields[:-1]
    ]
    return [*named, case((func.length(tags) <= TAGS_CUT, tags))]


#: The columns of a query whose rows `line_of` takes.
COLUMNS = _columns()


def line_of(row: Sequence[Any]) -> Line:
    """The line of a row with `COLUMNS`."""
    delivery_id, kind, message_id, occurred_at, received_at, *others, tags = row
    head = bytes(delivery_id), EventType(kind), message_id, micros(occurred_at), micros(received_at)
    return Line._make((*head, *others, None if tags is None else load(tags)))


def with_ids(store: Store, delivery_ids: Sequence[bytes]) -> list[Line]:
    """The lines of events that are still there, in the order of their ids."""
    key = tables.events.c.delivery_id
    with store.reading() as connection:
        found = connection.execute(select(*COLUMNS).where(key.in_(delivery_ids)).order_by(key)).all()
    return [line_of(row) for row in found]
