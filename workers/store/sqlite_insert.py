"""Many rows into SQLite at once, of which some may be there already: the hot path of a drain.

Statements are text, and values are tuples, since SQLAlchemy's handling of each value would take longer than the
insert. One statement takes many rows: beginning and ending one costs a fifth of an insert. And NULLs are not
bound: Python's sqlite3 looks for an adapter for each, which takes it longer than all the values that are there.
So rows are divided by which columns they fill.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from operator import itemgetter

from sqlalchemy import Connection, Table

from workers.store.backend import Row

#: Rows of one statement: more gain little, and each prepared statement that is kept takes 2 KiB a row.
STATEMENT_ROWS = 128
#: Statements whose text is kept: as many as Python's sqlite3 keeps prepared.
STATEMENTS = 128

_NONE = type(None)


def insert_new(connection: Connection, table: Table, rows: Sequence[Row]) -> int:
    """Insert rows whose key is not there yet, within a transaction; returns how many were not."""
    alike: dict[tuple[type, ...], list[Row]] = {}
    for row in rows:
        types = tuple(map(type, row))
        if (group := alike.get(types)) is None:
            group = alike[types] = []
        group.append(row)
    return sum(_insert(connection, table, types, group) for types, group in alike.items())


def _insert(connection: Connection, table: Table, types: tuple[type, ...], rows: list[Row]) -> int:
    """Insert rows that fill the same columns."""
    filled = tuple(at for at, kind in enumerate(types) if kind is not _NONE)
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
