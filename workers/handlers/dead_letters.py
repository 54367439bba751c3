"""Dead letters and quarantined calls: `ingest failed list | show | retry | drop`.

Quarantined calls are listed as failures of `store`, as if it were a handler. Retrying one stores it, if this
release can read it, or if the database takes it by now.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from sqlalchemy import ColumnElement, Table, func, select, tuple_

from ingest.batch import Record, unpack
from ingest.copernica.events import EPOCH, Event
from workers.handlers.clock import machine_time
from workers.handlers.work_queue import WorkQueue
from workers.records import NOT_COPERNICAS, read
from workers.store import tables
from workers.store.rows import micros
from workers.store.store import Store

#: The name of a handler under which quarantined calls are listed.
STORE = "store"
#: Dead letters that are retried or dropped in one transaction.
PORTION = 500
#: Quarantined calls in memory at a time: each may be as large as `INGEST_MAX_BODY` lets it.
BODIES = 50


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which dead letters; None means any.

    `error` is a part of the error's text. They failed at or after `since`, and before `until`.
    """

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
        """The event that the handler was given; None if the call cannot be read."""
        event = read(self.record)
        return event if isinstance(event, Event) else None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        event = self.event
        return {
            "handler": self.handler,
            "delivery_id": self.delivery_id.hex(),
            "type": self.type,
            "occurred_at": self.occurred_at,
            "failed_at": self.failed_at,
            "attempts": self.attempts,
            "recipient": event.recipient if event else None,
            "error": self.error,
        }


def find(store: Store, wanted: Wanted) -> Iterator[DeadLetter]:
    """Dead letters, the oldest failure first, and then quarantined calls; a page in memory at a time."""
    if wanted.handler != STORE:
        yield from letters(store, wanted)
    if _may_be_quarantined(wanted):
        table = tables.quarantine
        for row in store.rows(table, conditions(table, wanted), portion=BODIES):
            received = micros(row.received_at)
            record = Record(row.delivery_id, received, row.path.encode(), row.content_type.encode(), row.body)
            yield DeadLetter(STORE, row.delivery_id, "unknown", received, received, 1, row.reason, "", record)


def letters(store: Store, wanted: Wanted) -> Iterator[DeadLetter]:
    """Dead letters alone, the oldest failure first."""
    table = tables.dead_letters
    order = table.c.failed_at, table.c.handler, table.c.delivery_id
    for row in store.rows(table, conditions(table, wanted), order):
        yield letter(row)


def letter(row: Any) -> DeadLetter:
    """What a row of `dead_letters` says."""
    return DeadLetter(
        handler=row.handler,
        delivery_id=bytes(row.delivery_id),
        type=row.type,
        occurred_at=micros(row.occurred_at),
        failed_at=micros(row.failed_at),
        attempts=row.attempts,
        error=row.error,
        traceback=row.traceback,
        record=unpack(bytes(row.packed))[0],
    )


def _may_be_quarantined(wanted: Wanted) -> bool:
    return wanted.handler in (None, STORE) and wanted.type in (None, "unknown")


def number_of(store: Store, wanted: Wanted) -> int:
    """How many `find` finds."""
    found = [tables.dead_letters] if wanted.handler != STORE else []
    found += [tables.quarantine] if _may_be_quarantined(wanted) else []
    with store.reading() as connection:
        return sum(
            connection.execute(
                select(func.count()).select_from(table).where(*conditions(table, wanted))
            ).scalar_one()
            for table in found
        )


def until_now(store: Store, wanted: Wanted) -> Wanted:
    """The same, of what has failed by now: what fails again meanwhile is not done twice, and there is an end."""
    now = EPOCH + timedelta(microseconds=store.time() or machine_time())
    return replace(wanted, until=now if wanted.until is None else min(wanted.until, now))


def last_error(store: Store, handler: str) -> str | None:
    """What the newest dead letter of a handler failed with; None if it has none."""
    columns = tables.dead_letters.c
    query = select(columns.error).where(columns.handler == handler).order_by(columns.failed_at.desc()).limit(1)
    with store.reading() as connection:
        return connection.execute(query).scalar()


def ids(store: Store) -> Iterator[str]:
    """The delivery ids of dead letters and quarantined calls, as people are shown them."""
    for table in (tables.dead_letters, tables.quarantine):
        for key in store.keys(table, PORTION):
            yield from (row.delivery_id.hex() for row in key)


def conditions(table: Table, wanted: Wanted) -> list[ColumnElement[bool]]:
    """The conditions for those of a table, `dead_letters` or `quarantine`, that are wanted."""
    columns = table.c
    in_quarantine = table is tables.quarantine
    if in_quarantine:
        failed_at, error = columns.received_at, columns.reason
    else:
        failed_at, error = columns.failed_at, columns.error
    conditions: list[ColumnElement[bool]] = []
    if wanted.handler is not None and not in_quarantine:
        conditions.append(columns.handler == wanted.handler)
    if wanted.type is not None and not in_quarantine:
        conditions.append(columns.type == wanted.type)
    if wanted.error is not None:
        conditions.append(error.icontains(wanted.error, autoescape=True))
    if wanted.since is not None:
        conditions.append(failed_at >= wanted.since)
    if wanted.until is not None:
        conditions.append(failed_at < wanted.until)
    if wanted.delivery_id is not None:
        conditions.append(columns.delivery_id == wanted.delivery_id)
    return conditions


def retry(store: Store, dead_letters: Sequence[DeadLetter], has_handlers: bool) -> int:
    """Hand dead letters to their handlers again, and delete them; returns how many that were.

    Quarantined calls are stored instead, and given to the handlers if there are any (`has_handlers`). They stay in
    quarantine if they still cannot be stored, or if they proved to be forged.
    """
    queue = WorkQueue(store)
    retried = 0
    for handler in {dead_letter.handler for dead_letter in dead_letters} - {STORE}:
        records = [dead_letter.record for dead_letter in dead_letters if dead_letter.handler == handler]
        retried += queue.retry(handler, records)
    for dead_letter in dead_letters:
        forged = dead_letter.error.startswith(NOT_COPERNICAS)
        if dead_letter.handler == STORE and dead_letter.event is not None and not forged:
            retried += store.readmit(dead_letter.record, dead_letter.event, has_handlers)
    return retried


def drop(store: Store, dead_letters: Sequence[DeadLetter]) -> int:
    """Delete dead letters and quarantined calls; returns how many."""
    failures = [(letter.handler, letter.delivery_id) for letter in dead_letters if letter.handler != STORE]
    quarantined = [letter.delivery_id for letter in dead_letters if letter.handler == STORE]
    columns = tables.dead_letters.c
    with store.writing() as connection:
        dropped = 0
        if failures:
            same_failures = tuple_(columns.handler, columns.delivery_id).in_(failures)
            store.lock(connection, tables.dead_letters, same_failures)
            dropped += connection.execute(tables.dead_letters.delete().where(same_failures)).rowcount
        if quarantined:
            same_calls = tables.quarantine.c.delivery_id.in_(quarantined)
            dropped += connection.execute(tables.quarantine.delete().where(same_calls)).rowcount
        return dropped


def act_on(
    dead_letters: Iterable[DeadLetter],
    act: Callable[[Sequence[DeadLetter]], int],
    step: Callable[[int], object],
    stopped: Callable[[], bool] = lambda: False,
) -> int:
    """Call `act` with `PORTION` dead letters at a time, until all are done or somebody stops it.

    They are taken as they are needed, so that there may be any number. `step` is told how many each portion had.
    Returns the sum of what `act` returned.
    """
    source, done = iter(dead_letters), 0
    while not stopped() and (portion := list(islice(source, PORTION))):
        done += act(portion)
        step(len(portion))
    return done
