"""Sessions of the console that somebody ended before they would have ended by themselves."""

import time

from sqlalchemy import select

from workers.store.console_tables import ended_sessions
from workers.store.store import Store

_COLUMNS = ended_sessions.c


def add(store: Store, session_id: bytes, until: int) -> None:
    """Note one, and forget those that have ended by themselves; `until` in Unix seconds."""
    with store.writing() as connection:
        connection.execute(ended_sessions.delete().where(_COLUMNS.until < int(time.time())))
        connection.execute(ended_sessions.delete().where(_COLUMNS.session == session_id.hex()))
        connection.execute(ended_sessions.insert().values(session=session_id.hex(), until=until))


def all_of(store: Store) -> dict[bytes, int]:
    """When each would have ended by itself (Unix seconds)."""
    query = select(ended_sessions).where(_COLUMNS.until >= int(time.time()))
    with store.reading() as connection:
        return {bytes.fromhex(row.session): row.until for row in connection.execute(query)}
