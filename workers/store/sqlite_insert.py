"""Many rows into SQLite at once, of which some may be there already: the hot path of a drain.

Statements are text, and values are tuples, since SQLAlchemy's handling of each value would take longer than the
insert. One statement takes many rows: beginning and ending one costs a fifth of an insert. And NULLs are not
bound: Python's sqlite3 looks for an adapter for each, which takes it longer than all the values that are there.
So rows are divided by which columns they fill.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import Connection, Table

from workers.store.backend import Row

#: Rows of one statement: more gain little, and each prepared statement that is kept takes 2 KiB a row.
STATEMENT_ROWS = 128
#: Statements whose text is kept: as many as Python's sqlite3 keeps prepared.
STATEMENTS = 128

_NONE = type(None)


class Alike(NamedTuple):
    """Rows that fill the same columns, or fewer."""

    #: Where in a row its columns are that one of these fills.
    filled: tuple[int, ...]
    #: Chooses the other columns of a row, and what it then gives.
    others: Callable[[Row], Any]
    nothing: Any
    rows: list[Row]


def insert_new(connection: Connection, table: Table, rows: Sequence[Row]) -> int:
    """Insert rows whose key is not there yet, within a transaction; returns how many were not."""
    return sum(_insert(connection, table, group) for group in _divided(rows))


def _divided(rows: Sequence[Row]) -> Iterable[Alike]:
    """Rows by the columns that they fill. Those that follow each other are often alike, which is seen at once."""
    groups: dict[tuple[type, ...], Alike] = {}
    group: Alike | None = None
    for row in rows:
        if group is None or group.others(row) != group.nothing:
            types = tuple(map(type, row))
            if (group := groups.get(types)) is None:
                group = groups[types] = _alike(types)
        group.rows.append(row)
    return groups.values()


def _alike(types: tuple[type, ...]) -> Alike:
    filled = tuple(at for at, kind in enumerate(types) if kind is not _NONE)
    empty = [at for at, kind in enumerate(types) if kind is _NONE]
    if not empty:
        return Alike(filled, len, None, [])  # in tables whose columns are all filled
    others = itemgetter(*empty)
    return Alike(filled, others, others((None,) * len(types)), [])


def _insert(connection: Connection, table: Table, group: Alike) -> int:
    filled, _, _, rows = group
    values: itemgetter[Row] = itemgetter(*filled)  # no table has a single column that must be filled
    new = 0
    rest = len(rows) % STATEMENT_ROWS
    for at in range(0, len(rows) - rest, STATEMENT_ROWS):
        bound = tuple(chain.from_iterable(map(values, rows[at : at + STATEMENT_ROWS])))
        new += connection.exec_driver_sql(_statement(table, filled, STATEMENT_ROWS), bound).rowcount
    if rest:
        new += connection.exec_driver_sql(_statement(table, filled, 1), list(map(values, rows[-rest:]))).rowcount
    return new


@lru_cache(maxsize=STATEMENTS)
def _statement(table: Table, filled: tuple[int, ...], rows: int) -> str:
    names = ", ".join(table.columns[at].name for at in filled)
    values = ", ".join([f"({', '.join('?' * len(filled))})"] * rows)
    return f"INSERT INTO {table.name} ({names}) VALUES {values} ON CONFLICT DO NOTHING"
