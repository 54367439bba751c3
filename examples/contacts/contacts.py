"""Keeps a small table of contacts up to date: when each was last seen, what they opened and clicked, who bounced.

A handler may get an event twice: its worker can be killed after the work and before the note that it is done. So
each delivery id is written down in the same transaction as what it changed, and the second time changes nothing.
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

#: What each event changes. A bounce says nothing about when somebody was there to read.
CHANGES = {
    "open": "opens = opens + 1, last_seen = max(coalesce(last_seen, ''), :at)",
    "click": "clicks = clicks + 1, last_seen = max(coalesce(last_seen, ''), :at)",
    "bounce": "bounced = 1",
    "failure": "bounced = 1",
}


@on(*CHANGES, batch=500, where=lambda event: event.recipient)
def contacts(events: list[Event]) -> None:
    """Up to 500 at once: one transaction for all of them costs little more than for one."""
    with database() as connection:
        for event in events:
            note(connection, event)


def note(connection: sqlite3.Connection, event: Event) -> None:
    """Write down what one event says, unless it was written down before."""
    fresh = connection.execute("INSERT OR IGNORE INTO seen VALUES (?)", (event.delivery_id,)).rowcount
    if not fresh or event.recipient is None:
        return
    at = datetime.fromtimestamp(event.occurred_at / 1e6, UTC).isoformat(" ", "seconds")
    values = {"address": event.recipient.lower(), "at": at}
    connection.execute("INSERT OR IGNORE INTO contacts (address) VALUES (:address)", values)
    connection.execute(f"UPDATE contacts SET {CHANGES[event.type]} WHERE address = :address", values)  # noqa: S608


@contextmanager
def database() -> Iterator[sqlite3.Connection]:
    """The file `contacts.db`, or another that CONTACTS_DB names; one transaction."""
    path = os.environ.get("CONTACTS_DB", "contacts.db")
    with closing(sqlite3.connect(path, timeout=20)) as connection:
        connection.executescript(TABLES)
        with connection:
            yield connection
