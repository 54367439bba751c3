"""What of one event waits for handlers, what they gave up, and handing it to one of them again."""

import time
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Table, select

from ingest.batch import Record, unpack
from ingest.errors import BatchError
from workers.handlers.work_queue import WorkQueue
from workers.records import record_of
from workers.store import tables
from workers.store.rows import micros
from workers.store.store import Store

#: Rows of up to some hundred calls that are looked through for one, of each table, the newest first …
MOST_ROWS = 400
#: … and seconds for that in all: what waits behind a long backlog is not found then, and that is said.
BUDGET = 0.06
#: Rows of which the calls are fetched at once: one may be megabytes.
AT_ONCE = 16


class Waits(NamedTuple):
    """An event that waits for a handler. Times are µs since 1970."""

    #: Empty while it is not yet decided which handlers want it.
    handler: str
    #: How often it was tried.
    attempts: int
    due_at: int | None
    #: Up to when a worker has it; 0 if none does.
    leased_until: int
    #: What it failed with last; empty if that is not known.
    error: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """For whom one event waits."""

    waits: tuple[Waits, ...]
    #: Whether everything was looked through.
    complete: bool


class Letter(NamedTuple):
    """A dead letter of one event. `failed_at` is in µs since 1970."""

    handler: str
    failed_at: int
    attempts: int
    error: str
    traceback: str


def waiting(store: Store, delivery_id: bytes, handler: str | None = None) -> Waiting:
    """For which handlers an event waits, or whether for this one; the newest of what waits is looked through."""
    until = time.monotonic() + BUDGET
    found: list[Waits] = []
    complete = True
    for table in (tables.outbox, tables.handoffs):
        complete &= _look(store, table, delivery_id, handler, until, found)
    return Waiting(tuple(sorted(found)), complete)


def _look(
    store: Store, table: Table, delivery_id: bytes, handler: str | None, until: float, found: list[Waits]
) -> bool:
    """Look through a table; returns whether that came to its end."""
    columns = table.c
    query = select(table).order_by(columns.id.desc()).limit(AT_ONCE)
    if handler is not None and table is tables.handoffs:
        query = query.where(columns.handler == handler)
    before: int | None = None
    for _ in range(MOST_ROWS // AT_ONCE):
        with store.reading() as connection:
            rows = connection.execute(query if before is None else query.where(columns.id < before)).all()
        for row in rows:
            if _has(row.packed, delivery_id):
                found.append(_waits(row) if table is tables.handoffs else Waits("", 0, None, 0, ""))
            if time.monotonic() > until:
                return False
        if len(rows) < AT_ONCE:
            return True
        before = rows[-1].id
    return False


def _has(packed: bytes, delivery_id: bytes) -> bool:
    try:
        return any(record.delivery_id == delivery_id for record in unpack(bytes(packed)))
    except BatchError:  # of a later release, or damaged: whoever works on it says so
        return False


def _waits(row: object) -> Waits:
    r = row
    return Waits(r.handler, r.attempt, r.due_at, r.leased_until, r.error or "")  # type: ignore[attr-defined]


def letters(store: Store, delivery_id: bytes) -> list[Letter]:
    """What handlers gave up of an event."""
    columns = tables.dead_letters.c
    query = select(columns.handler, columns.failed_at, columns.attempts, columns.error, columns.traceback).where(
        columns.delivery_id == delivery_id
    )
    with store.reading() as connection:
        rows = connection.execute(query.order_by(columns.failed_at, columns.handler)).all()
    return [Letter(handler, micros(at), attempts, error, trace) for handler, at, attempts, error, trace in rows]


def hand_on(store: Store, handler: str, delivery_id: bytes) -> int:
    """Hand one event to a handler again; returns 1, or 0 if there is nothing of it any more.

    A dead letter of it goes to that handler, and is one no longer: never both it and the event.

    Raises:
        Unavailable: the database cannot be used now; nothing was handed on.
    """
    queue = WorkQueue(store)
    if (kept := _letter(store, handler, delivery_id)) is not None and queue.retry(handler, [kept]):
        return 1
    events = store.with_ids([delivery_id])
    if not events:
        return 0
    with store.writing() as connection:
        queue.give(connection, handler, [record_of(events[0])])
    return 1


def _letter(store: Store, handler: str, delivery_id: bytes) -> Record | None:
    columns = tables.dead_letters.c
    query = select(columns.packed).where(columns.handler == handler, columns.delivery_id == delivery_id)
    with store.reading() as connection:
        packed = connection.execute(query).scalar()
    return None if packed is None else unpack(bytes(packed))[0]
