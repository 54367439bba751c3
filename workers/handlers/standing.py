"""How a handler stands: what waits for it and since when, what is called now, what is tried again and why.

What waits is told whole; all else from the `LOOK` rows of the table `handoffs` that are due first, so that a page
is there at once however much waits.
"""

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from ingest.copernica.events import MICROS
from workers.handlers.clock import machine_time
from workers.handlers.speed import Speed, speed
from workers.handlers.waiting import OVERDUE, Retries
from workers.store.store import Store
from workers.store.tables import handoffs

#: Rows that are looked at, of those that are due first, and of those that are due later.
LOOK = 250
#: Groups of retries that are told apart.
MOST_RETRIES = 12
#: Rows that are made due in one transaction: workers wait that long.
PORTION = 500

_COLUMNS = handoffs.c
_SHOWN = _COLUMNS["count"].label("calls"), _COLUMNS.attempt, _COLUMNS.due_at, _COLUMNS.leased_until, _COLUMNS.error


@dataclass(frozen=True, slots=True)
class Standing:
    """How one handler stands; times in µs since 1970."""

    name: str
    #: Since when the first call that no worker has could have been made; None if none waits for a worker.
    oldest_due: int | None
    #: Calls that workers have now, and how many claims they are.
    running: int
    claims: int
    #: What failed and is tried again, soonest first; and whether there is more.
    retries: tuple[Retries, ...]
    more_retries: bool
    speed: Speed


def standing(store: Store, handler: str, ask: Callable[[], int] = machine_time) -> Standing:
    """How a handler stands; `ask` says the time for a database that has no clock of its own."""
    now = store.time() or ask()
    own = select(*_SHOWN).where(_COLUMNS.handler == handler).order_by(_COLUMNS.due_at).limit(LOOK)
    with store.reading() as connection:
        due = connection.execute(own.where(_COLUMNS.due_at <= now)).all()
        later = connection.execute(own.where(_COLUMNS.due_at > now)).all()
    free = [row for row in due if row.leased_until <= now]
    leased = [row for row in (*due, *later) if row.leased_until > now]
    again = [row for row in (*later, *free) if row.leased_until <= now and (row.attempt > 0 or row.due_at > now)]
    retries = _grouped(handler, again, now - int(OVERDUE * MICROS))
    return Standing(
        handler,
        min((row.due_at for row in free), default=None),
        sum(row.calls for row in leased),
        len(leased),
        tuple(retries[:MOST_RETRIES]),
        len(later) == LOOK or len(due) == LOOK or len(retries) > MOST_RETRIES,
        speed(store, handler, now),
    )


def _grouped(handler: str, rows: Sequence[Any], overdue: int) -> list[Retries]:
    """By the number of attempts and the error, soonest first; those are overdue that were due before that time."""
    groups: dict[tuple[int, str], Retries] = {}
    for row in rows:
        key = row.attempt, row.error or ""
        known = groups.get(key, Retries(handler, row.attempt, 0, row.due_at, row.error or ""))
        next_at = min(known.next_at, row.due_at)
        groups[key] = known._replace(calls=known.calls + row.calls, next_at=next_at, overdue=next_at < overdue)
    return sorted(groups.values(), key=lambda group: group.next_at)


def put_off(store: Store, handler: str, ask: Callable[[], int] = machine_time) -> "array[int]":
    """The rows of a handler that wait for a later attempt, in order: `retry_now` is for these.

    What fails while that goes on is not tried again twice.
    """
    now = store.time() or ask()
    return store.numbers(_COLUMNS.id, _COLUMNS.handler == handler, _COLUMNS.due_at > now)


def retry_now(
    store: Store,
    rows: Sequence[int],
    ask: Callable[[], int] = machine_time,
    step: Callable[[int], object] = lambda _rows: None,
    stopped: Callable[[], bool] = lambda: False,
) -> int:
    """Have rows of `put_off` tried at once; returns how many calls that are.

    They have as many attempts left as before. What a worker has at this moment stays as it is. `step` is told how
    many rows each portion had; it ends early once it is `stopped`.
    """
    calls, now = 0, store.time() or ask()
    later = (_COLUMNS.due_at > now) & (_COLUMNS.leased_until <= now)
    for at in range(0, len(rows), PORTION):
        if stopped():
            break
        some = rows[at : at + PORTION]
        these = _COLUMNS.id.in_(some) & later
        with store.writing() as connection:
            query = select(_COLUMNS.id, _COLUMNS["count"].label("calls")).where(these).order_by(_COLUMNS.id)
            found = connection.execute(query.with_for_update()).all()
            # Each portion has a time of its own, as claims look at what is due in the order of these.
            made = handoffs.update().where(_COLUMNS.id.in_([row.id for row in found]))
            connection.execute(made.values(due_at=now - MICROS + at // PORTION))
            calls += sum(int(row.calls) for row in found)
        step(len(some))
    return calls
