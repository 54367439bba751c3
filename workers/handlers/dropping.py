"""Dropping a handler that no longer exists: what waits for it, its dead letters, replays and last runs."""

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Select, Table, func, literal, select

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
    # Behind the colon there is a hash of 16 characters. Not by LIKE and `length`: SQLite's LIKE is blind to case,
    # and `length` counts bytes in MariaDB.
    name, begin = tables.replays.c.name, f"{handler}:"
    last, behind = (func.substr(name, len(begin) + at, 1) for at in (16, 17))
    return (func.substr(name, 1, len(begin)) == begin) & (last != "") & (behind == "")


def drop(store: Store, handler: str, step: Callable[[int], object]) -> Belongings:
    """Delete all that is kept of a handler; `step` is called with how many calls each portion had.

    A worker that has claimed some of it finds its claim gone, and leaves it at that.
    """
    waiting = _drop_numbered(store, tables.handoffs, handler, step)
    letters = _drop_letters(store, handler, step)
    _drop_numbered(store, handler_runs, handler, lambda _rows: None)
    with store.writing() as connection:
        replays = connection.execute(tables.replays.delete().where(_replays_of(handler))).rowcount
    return Belongings(waiting, letters, replays)


def _drop_numbered(store: Store, table: Table, handler: str, step: Callable[[int], object]) -> int:
    """Delete the rows of a table whose key is a number; returns how many calls they were."""
    (key,) = table.primary_key.columns
    calls = table.c["count"] if "count" in table.c else literal(1)
    numbers, dropped = store.numbers(key, table.c.handler == handler), 0
    for at in range(0, len(numbers), PORTION):
        these = key.in_(numbers[at : at + PORTION])
        with store.writing() as connection:
            gone = sum(connection.execute(select(calls).where(these).order_by(key).with_for_update()).scalars())
            connection.execute(table.delete().where(these))
        dropped += gone
        step(gone)
    return dropped


def _drop_letters(store: Store, handler: str, step: Callable[[int], object]) -> int:
    """Delete its dead letters; returns how many. Each portion begins behind the last, not at what is gone."""
    letters, key = tables.dead_letters, tables.dead_letters.c.delivery_id
    own, dropped, after = letters.c.handler == handler, 0, b""
    while True:
        with store.writing() as connection:
            ids = (
                connection.execute(select(key).where(own, key > after).order_by(key).limit(PORTION))
                .scalars()
                .all()
            )
            if not ids:
                return dropped
            these = own & key.in_(ids)
            store.lock(connection, letters, these)
            gone = connection.execute(letters.delete().where(these)).rowcount
        dropped, after = dropped + gone, bytes(ids[-1])
        step(gone)
