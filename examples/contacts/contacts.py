"""Keeps a small table of contacts: when each was last active, what they opened and clicked, who bounced.

A handler may get an event twice: its worker can be killed after the work, before it has noted that it is done. So
each delivery id is stored in the same transaction as the change it causes, and the second time changes nothing.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime

from ingest import Event
from workers import on

TABLES = """
CREATE TABLE IF NOT EXISTS contacts (
    address   TEXT PRIMARY KEY,
    last_seen TEXT,
    opens     INTEGER NOT NULL DEFAULT 0,
    clicks    INTEGER NOT NULL DEFAULT 0,
    bounced   INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS seen (delivery_id BLOB PRIMARY KEY) WITHOUT ROWID;
"""

#: What each event changes. A bounce does not mean that the contact was active.
CHANGES = {
    "open": "opens = opens + 1, last_seen = max(coalesce(last_seen, ''), :at)",
    "click": "clicks = clicks + 1, last_seen = max(coalesce(last_seen, ''), :at)",
    "bounce": "bounced = 1",
    "failure": "bounced = 1",
}


@on(*CHANGES, batch=500, where=lambda event: event.recipient)
def contacts(events: list[Event]) -> None:
    """Takes up to 500 at once: a transaction for all of them costs little more than one for a single event."""
    with database() as connection:
        for event in events:
            apply(connection, event)


def apply(connection: sqlite3.Connection, event: Event) -> None:
    """Apply one event, unless it was applied before."""
    is_new = connection.execute("INSERT OR IGNORE INTO seen VALUES (?)", (event.delivery_id,)).rowcount
    if not is_new or event.recipient is None:
        return
    at = datetime.fromtimestamp(event.occurred_at / 1e6, UTC).isoformat(" ", "seconds")
    values = {"address": event.recipient.lower(), "at": at}
    connection.execute("INSERT OR IGNORE INTO contacts (address) VALUES (:address)", values)
    connection.execute(f"UPDATE contacts SET {CHANGES[event.type]} WHERE address = :address", values)  # noqa: S608


@contextmanager
def database() -> Iterator[sqlite3.Connection]:
    """One transaction in the file `contacts.db`, or in the one that CONTACTS_DB names."""
    path = os.environ.get("CONTACTS_DB", "contacts.db")
    with closing(sqlite3.connect(path, timeout=20)) as connection:
        connection.executescript(TABLES)
        with connection:
            yield connection
