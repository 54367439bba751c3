"""Dead letters and quarantined calls: `ingest failed list | show | retry | drop`.

Quarantined calls are listed as failures of `store`, the first handler of all: what a later release can read, or
the database takes after all, is stored when it is retried.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Table, tuple_

from ingest.batch import Record, unpack
from ingest.copernica.events import Event
from workers.handlers.work_queue import WorkQueue
from workers.records import NOT_COPERNICAS, read
from workers.store import tables
from workers.store.rows import micros
from workers.store.store import Store

#: What quarantined calls are listed under.
STORE = "store"
#: Dead letters that are retried or dropped in one transaction.
PORTION = 500


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which dead letters; None means any. `error` is a part of the text, `since` and `until` bound the failure."""

    handler: str | None = None
    error: str | None = None
    type: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    delivery_id: bytes | None = None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One failure. Times are µs since 1970."""

    handler: str
    delivery_id: bytes
    type: str
    occurred_at: int
    failed_at: int
    attempts: int
    error: str
    traceback: str
    record: Record

    @property
    def event(self) -> Event | None:
        """What the handler got; None if the call cannot be read."""
        event = read(self.record)
        return event if isinstance(event, Event) else None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        event = self.event
        return {
            "handler": self.handler, "delivery_id": self.delivery_id.hex(), "type": self.type,
            "occurred_at": self.occurred_at, "failed_at": self.failed_at, "attempts": self.attempts,
            "recipient": event.recipient if event else None, "error": self.error,
        }  # fmt: skip


def find(store: Store, wanted: Wanted) -> Iterator[DeadLetter]:
    """Dead letters in the order of their failure, a few in memory at a time."""
    if wanted.handler != STORE:
        table = tables.dead_letters
        for row in store.rows(table, _conditions(table, wanted), (table.c.failed_at, table.c.delivery_id)):
            yield DeadLetter(
                row.handler, row.delivery_id, row.type, micros(row.occurred_at), micros(row.failed_at),
                row.attempts, row.error, row.traceback, unpack(bytes(row.packed))[0],
            )  # fmt: skip
    if wanted.handler in (None, STORE) and wanted.type in (None, "unknown"):
        table = tables.quarantine
        for row in store.rows(table, _conditions(table, wanted), (table.c.received_at, table.c.delivery_id)):
            received = micros(row.received_at)
            record = Record(row.delivery_id, received, row.path.encode(), row.content_type.encode(), row.body)
            yield DeadLetter(STORE, row.delivery_id, "unknown", received, received, 1, row.reason, "", record)


def _conditions(table: Table, wanted: Wanted) -> list[ColumnElement[bool]]:
    columns = table.c
    kept = table is tables.quarantine
    failed_at, error = (columns.received_at, columns.reason) if kept else (columns.failed_at, columns.error)
    found: list[ColumnElement[bool]] = []
    if wanted.handler is not None and not kept:
        found.append(columns.handler == wanted.handler)
    if wanted.type is not None and not kept:
        found.append(columns.type == wanted.type)
    if wanted.error is not None:
        found.append(error.icontains(wanted.error, autoescape=True))
    if wanted.since is not None:
        found.append(failed_at >= wanted.since)
    if wanted.until is not None:
        found.append(failed_at < wanted.until)
    if wanted.delivery_id is not None:
        found.append(columns.delivery_id == wanted.delivery_id)
    return found


def retry(store: Store, letters: Sequence[DeadLetter], has_handlers: bool) -> int:
    """Hand dead letters to their handlers again, and delete them; returns how many went.

    Those of `store` stay where they are if they still cannot be stored, or proved to be forged; with
    `has_handlers`, handlers get those that are stored.
    """
    queue = WorkQueue(store)
    gone = 0
    for handler in {letter.handler for letter in letters} - {STORE}:
        own = [letter for letter in letters if letter.handler == handler]
        gone += queue.retry(handler, [letter.record for letter in own])
    for letter in letters:
        forged = letter.error.startswith(NOT_COPERNICAS)
        if letter.handler == STORE and letter.event is not None and not forged:
            gone += store.readmit(letter.record, letter.event, has_handlers)
    return gone


def drop(store: Store, letters: Sequence[DeadLetter]) -> int:
    """Delete dead letters; returns how many."""
    dead = [(letter.handler, letter.delivery_id) for letter in letters if letter.handler != STORE]
    kept = [letter.delivery_id for letter in letters if letter.handler == STORE]
    columns = tables.dead_letters.c
    with store.writing() as connection:
        gone = 0
        if dead:
            chosen = tuple_(columns.handler, columns.delivery_id).in_(dead)
            gone += connection.execute(tables.dead_letters.delete().where(chosen)).rowcount
        if kept:
            chosen = tables.quarantine.c.delivery_id.in_(kept)
            gone += connection.execute(tables.quarantine.delete().where(chosen)).rowcount
        return gone


def portions(
    letters: Sequence[DeadLetter], act: Callable[[Sequence[DeadLetter]], int], step: Callable[[int], object]
) -> int:
    """Act on all dead letters, `PORTION` at a time; `step` gets the size of each. Returns how many went."""
    gone = 0
    for at in range(0, len(letters), PORTION):
        portion = letters[at : at + PORTION]
        gone += act(portion)
        step(len(portion))
    return gone
