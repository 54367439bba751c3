"""What waits for handlers: how much, until when, and why it waits."""

import sys
from collections.abc import Callable, Collection
from typing import NamedTuple

from sqlalchemy import Connection, case, func, literal, or_, select, union_all

from ingest.copernica.events import MICROS
from workers.handlers.clock import SharedClock, machine_time
from workers.store.store import Store
from workers.store.tables import dead_letters, handoffs, outbox

#: Seconds by which two workers' readings of the shared clock may differ: as long as an answer may take.
SKEW = 1.0
#: Rows that are looked at first, in the order in which they are due; ten times as many where that says nothing.
LOOK = 100
#: Seconds after which calls that could be made are overdue: a worker for them looks every few seconds.
OVERDUE = 60.0


class Retries(NamedTuple):
    """Calls of a handler that have failed so often and are tried again: when next, and the last error of those."""

    handler: str
    #: How often they were tried.
    attempts: int
    calls: int
    #: When the first of them are tried again, in µs since 1970.
    next_at: int
    #: In one line; empty if it is not known.
    error: str
    #: Whether nobody has taken them since: no worker runs, the handler is paused, or there is none any more.
    overdue: bool = False


def _handlers(connection: Connection) -> list[str]:
    """The handlers for which anything waits, in order: from one to the next in the index, past all between."""
    columns, found = handoffs.c, list[str]()
    first = select(columns.handler).order_by(columns.handler).limit(1)
    query = first
    while (name := connection.execute(query).scalar()) is not None:
        found.append(name)
        query = first.where(columns.handler > name)
    return found


def _free_at(connection: Connection, handler: str, now: int) -> int:
    """When the first call of a handler can be claimed (µs since 1970): `now` or before, if that is so already.

    Rows are looked at in the order in which they are due, until none that follows can be free before: those that
    workers have are few, and all others are free when they are due.
    """
    columns, look = handoffs.c, LOOK
    query = select(columns.due_at, columns.leased_until).where(columns.handler == handler).order_by(columns.due_at)
    while True:
        rows = connection.execute(query.limit(look)).all()
        best = min((max(row.due_at, row.leased_until) for row in rows), default=sys.maxsize)
        if best <= now or len(rows) < look or rows[-1].due_at >= best:
            return best
        look *= 10


class WaitingWork:
    """The tables `outbox`, `handoffs` and `dead_letters`, as they are read."""

    def __init__(
        self, store: Store, ask: Callable[[], int] = machine_time, clock: SharedClock | None = None
    ) -> None:
        """`ask` says the time in µs since 1970, for a database that has no clock of its own; or `clock` does."""
        self._store = store
        # Asked for before any transaction: within one it would take a second connection, and those who share a
        # small pool would wait for each other.
        self._clock = clock or SharedClock(store.time() or ask())

    def _now(self, later: float = 0.0) -> int:
        """The time in `later` seconds, in µs since 1970, by the clock that all workers share."""
        return self._clock.now() + int(later * MICROS)

    def _at_once(self) -> int:
        """When calls are due that are to be made at once."""
        return self._now(-SKEW)

    def due(self) -> list[str]:
        """Names of the handlers for which calls can be claimed now."""
        now = self._now()
        with self._store.reading() as connection:
            known = _handlers(connection)
            return [name for name in known if _free_at(connection, name, now) <= now]

    def next_due(self, handlers: Collection[str]) -> float | None:
        """Seconds until calls can be claimed for one of these handlers; None if it has none."""
        now = self._now()
        with self._store.reading() as connection:
            moments = [_free_at(connection, name, now) for name in _handlers(connection) if name in handlers]
        return max(0.0, (min(moments) - now) / MICROS) if moments else None

    def waiting(self) -> dict[str, int]:
        """How many calls wait, by handler; those in the outbox are under an empty name."""
        in_outbox = func.sum(outbox.c["count"])
        query = union_all(
            select(handoffs.c.handler, func.sum(handoffs.c["count"])).group_by(handoffs.c.handler),
            select(literal(""), in_outbox).having(in_outbox > 0),
        )
        with self._store.reading() as connection:
            return {name: int(number) for name, number in connection.execute(query)}

    def failed(self) -> dict[str, int]:
        """How many dead letters there are, by handler."""
        query = select(dead_letters.c.handler, func.count()).group_by(dead_letters.c.handler)
        with self._store.reading() as connection:
            return {name: int(number) for name, number in connection.execute(query)}

    def retries(self) -> list[Retries]:
        """What failed and is tried again later, by handler and number of attempts, parts of batches included."""
        columns, now = handoffs.c, self._now()
        leased = columns.leased_until > columns.due_at
        free = func.min(case((leased, columns.leased_until), else_=columns.due_at))
        query = (
            select(columns.handler, columns.attempt, func.sum(columns["count"]), func.min(columns.due_at), free)
            .where(or_(columns.attempt > 0, columns.due_at > now))
            .group_by(columns.handler, columns.attempt)
            .order_by(columns.handler, columns.attempt)
        )
        latest = select(columns.error).where(columns.error.is_not(None)).order_by(columns.id.desc()).limit(1)
        found = []
        with self._store.reading() as connection:
            for handler, attempts, calls, next_at, free_at in connection.execute(query).all():
                these = latest.where(columns.handler == handler, columns.attempt == attempts)
                error = connection.execute(these).scalar() or ""
                overdue = free_at < now - OVERDUE * MICROS
                found.append(Retries(handler, attempts, int(calls), int(next_at), error, overdue))
        return found
