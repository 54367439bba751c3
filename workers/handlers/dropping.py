"""Dropping a handler that no longer exists: what waits for it, its dead letters, replays and last runs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Select, Table, func, select

from workers.store import tables
from workers.store.console_tables import handler_runs
from workers.store.store import Store

#: Rows that are deleted in one transaction: workers wait that long.
PORTION = 500


@dataclass(frozen=True, slots=True)
class Belongings:
    """What is kept of one handler: calls that wait for it, and dead letters, each of one call."""

    waiting: int
    dead_letters: int
    replays: int

    def __bool__(self) -> bool:
        """Whether there is anything."""
        return bool(self.waiting or self.dead_letters or self.replays)


def belongings(store: Store, handler: str) -> Belongings:
    """How much is kept of a handler."""
    handoffs, letters = tables.handoffs, tables.dead_letters
    waiting = select(func.coalesce(func.sum(handoffs.c["count"]), 0)).where(handoffs.c.handler == handler)
    queries = [
        waiting,
        _counting(letters, letters.c.handler == handler),
        _counting(tables.replays, _replays_of(handler)),
    ]
    with store.reading() as connection:
        return Belongings(*(int(connection.execute(query).scalar_one()) for query in queries))


def _counting(table: Table, condition: ColumnElement[bool]) -> Select[int]:
    return select(func.count()).select_from(table).where(condition)


def _replays_of(handler: str) -> ColumnElement[bool]:
    # Behind the colon there is a hash, without any.
    name = tables.replays.c.name
    return name.startswith(f"{handler}:", autoescape=True) & (func.length(name) == len(handler) + 17)


def drop(store: Store, handler: str, step: Callable[[int], object]) -> Belongings:
    """Delete all that is kept of a handler; `step` is called with how many calls each portion had.

    A worker that has claimed some of it finds its claim gone, and leaves it at that.
    """
    waiting = _drop_rows(store, tables.handoffs, handler, step)
    letters = _drop_rows(store, tables.dead_letters, handler, step)
    _drop_rows(store, handler_runs, handler, lambda _rows: None)
    with store.writing() as connection:
        replays = connection.execute(tables.replays.delete().where(_replays_of(handler))).rowcount
    return Belongings(waiting, letters, replays)


def _drop_rows(store: Store, table: Table, handler: str, step: Callable[[int], object]) -> int:
    key, own = list(table.primary_key.columns)[-1], table.c.handler == handler
    count: Sequence[ColumnElement[int]] = [table.c["count"]] if "count" in table.c else []
    dropped = 0
    while True:
        with store.writing() as connection:
            rows = connection.execute(select(key, *count).where(own).limit(PORTION)).all()
            if not rows:
                return dropped
            these = own & key.in_([row[0] for row in rows])
            store.lock(connection, table, these)
            connection.execute(table.delete().where(these))
        calls = sum(row[1] if count else 1 for row in rows)
        dropped += calls
        step(calls)
