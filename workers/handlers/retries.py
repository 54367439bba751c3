"""What handlers failed on and are given again: how many calls, when, and why."""

from typing import NamedTuple

from sqlalchemy import func, select

from ingest.copernica.events import MICROS
from workers.store.store import Store
from workers.store.tables import handoffs


class Retries(NamedTuple):
    """Calls of a handler that failed before and are tried again, and the Unix time of the next attempt."""

    calls: int
    due_at: float


def of_handlers(store: Store) -> dict[str, Retries]:
    """What waits to be tried again, by handler."""
    columns = handoffs.c
    query = select(columns.handler, func.sum(columns["count"]), func.min(columns.due_at))
    query = query.where(columns.attempt > 0).group_by(columns.handler)
    with store.reading() as connection:
        return {name: Retries(int(calls), due / MICROS) for name, calls, due in connection.execute(query)}
