"""How long it is kept which message a destination is, and that nothing is left of who was erased."""

from collections.abc import Collection, Iterator, Sequence
from typing import TypeVar

from sqlalchemy import or_, select

from ingest.copernica.events import DAY, REST
from workers.store import tables
from workers.store.event_counts import DESTINATIONS
from workers.store.store import Store

T = TypeVar("T", str, int)

#: Seconds after which a destination is forgotten, and asked for again if need be: people rarely open older mail.
KEPT = 180 * DAY
#: Keys of one statement.
TOGETHER = 500


def expire(store: Store, before: int) -> None:
    """Forget what was asked for before a time (Unix seconds)."""
    with store.writing() as connection:
        connection.execute(tables.destinations.delete().where(tables.destinations.c.kept_at < before))


def erase(store: Store, messages: Collection[str], profiles: Collection[int]) -> None:
    """Forget which destinations these messages are, and which are of these profiles: reads the whole table."""
    columns = tables.destinations.c
    for of_them in (
        *(columns.message_id.in_(some) for some in _portions(sorted(messages))),
        *(columns.profile.in_(some) for some in _portions(sorted(profiles))),
    ):
        with store.writing() as connection:
            store.overwrite(connection)
            if connection.execute(tables.destinations.delete().where(of_them)).rowcount:
                store.note_change(connection, DESTINATIONS)


def without_recipient(store: Store, messages: Collection[str]) -> list[bytes]:
    """The delivery ids of events of these messages that results told of, and that name nobody."""
    columns = tables.events.c
    found: list[bytes] = []
    for some in _portions(sorted(messages)):
        nameless = columns.source == REST, or_(columns.recipient.is_(None), columns.recipient == "")
        query = select(columns.delivery_id).where(store.of_messages(some), *nameless)
        with store.reading(by_message=True) as connection:
            found += connection.execute(query).scalars()
    return found


def _portions(values: Sequence[T]) -> Iterator[Sequence[T]]:
    return (values[at : at + TOGETHER] for at in range(0, len(values), TOGETHER))
