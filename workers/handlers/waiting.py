"""What waits for handlers: how much, until when, and why it waits."""

from collections.abc import Callable, Collection
from typing import NamedTuple

from sqlalchemy import case, func, literal, or_, select, union_all

from ingest.copernica.events import MICROS
from workers.handlers.clock import SharedClock, machine_time
from workers.store.store import Store
from workers.store.tables import dead_letters, handoffs, outbox

#: Seconds by which two workers' readings of the shared clock may differ: as long as an answer may take.
SKEW = 1.0


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


class WaitingWork:
    """The tables `outbox`, `handoffs` and `dead_letters`, as they are read."""

    def __init__(self, store: Store, ask: Callable[[], int] = machine_time) -> None:
        """`ask` says the time in µs since 1970, for a database that has no clock of its own."""
        self._store = store
        # Asked for before any transaction: within one it would take a second connection, and those who share a
        # small pool would wait for each other.
        self._clock = SharedClock(store.time() or ask())

    def _now(self, later: float = 0.0) -> int:
        """The time in `later` seconds, in µs since 1970, by the clock that all workers share."""
        return self._clock.now() + int(later * MICROS)

    def _at_once(self) -> int:
        """When calls are due that are to be made at once."""
        return self._now(-SKEW)

    def due(self) -> list[str]:
        """Names of the handlers for which calls can be claimed now."""
        now, columns = self._now(), handoffs.c
        query = select(columns.handler).distinct().where(columns.due_at <= now, columns.leased_until <= now)
        with self._store.reading() as connection:
            return list(connection.execute(query.order_by(columns.handler)).scalars())

    def next_due(self, handlers: Collection[str]) -> float | None:
        """Seconds until calls can be claimed for one of these handlers; None if it has none."""
        columns = handoffs.c
        free_at = case((columns.due_at > columns.leased_until, columns.due_at), else_=columns.leased_until)
        query = select(columns.handler, func.min(free_at)).group_by(columns.handler)
        with self._store.reading() as connection:
            moments = [moment for name, moment in connection.execute(query) if name in handlers]
        return max(0.0, (min(moments) - self._now()) / MICROS) if moments else None

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
        columns = handoffs.c
        query = (
            select(columns.handler, columns.attempt, func.sum(columns["count"]), func.min(columns.due_at))
            .where(or_(columns.attempt > 0, columns.due_at > self._now()))
            .group_by(columns.handler, columns.attempt)
            .order_by(columns.handler, columns.attempt)
        )
        latest = select(columns.error).where(columns.error.is_not(None)).order_by(columns.id.desc()).limit(1)
        found = []
        with self._store.reading() as connection:
            for handler, attempts, calls, next_at in connection.execute(query).all():
                these = latest.where(columns.handler == handler, columns.attempt == attempts)
                error = connection.execute(these).scalar() or ""
                found.append(Retries(handler, attempts, int(calls), int(next_at), error))
        return found
