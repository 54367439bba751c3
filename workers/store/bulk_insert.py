"""Many rows into PostgreSQL at once, of which some may be there already.

COPY is the fastest way in, but has no ON CONFLICT. So the keys are looked up first, and what is new is copied
straight into its table: no temporary table is needed, which not every role may create. If another process stores
one of the rows in between, the COPY is undone, and done again without that row.
"""

from collections.abc import Sequence
from functools import cache
from itertools import chain
from typing import Any, NamedTuple

import psycopg
from sqlalchemy import Table

from workers.store.backend import Row

#: Rows from which on COPY, with its few more round trips, is faster than one INSERT; no INSERT has more.
COPY_FROM = 20
#: Times that a COPY is tried, each without the rows that others have stored meanwhile, before INSERT.
COPY_ATTEMPTS = 3
#: Refusals of a COPY after which INSERT may succeed: a row is there already, or the table has rules for
#: rows (row-level security), which COPY does not know.
REFUSALS = (psycopg.errors.UniqueViolation, psycopg.errors.FeatureNotSupported)


class Statements(NamedTuple):
    """What is asked of one table. Made of nothing but names in `workers.store.tables`."""

    find: str
    copy: str
    insert: str
    #: The values of one row in `insert`, and what follows them.
    values: str
    unless_there: str


@cache
def _statements(table: Table) -> Statements:
    key, *_ = table.primary_key.columns.keys()
    columns = ", ".join(f'"{column.name}"' for column in table.columns)
    return Statements(
        # The keys as hexadecimal text, since psycopg takes three times as long to write an array of bytes; and
        # their range, so that no partition is looked into in vain.
        f"SELECT {key} FROM {table.name} JOIN (SELECT decode(unnest(string_to_array(%s, ' ')), 'hex') AS {key}) "
        f"AS given USING ({key}) WHERE {table.name}.{key} BETWEEN %s AND %s",
        f"COPY {table.name} ({columns}) FROM STDIN",
        f"INSERT INTO {table.name} ({columns}) VALUES ",
        f"({', '.join(['%s'] * len(table.columns))})",
        f" ON CONFLICT DO NOTHING RETURNING {key}",
    )


def insert_new(driver: "psycopg.Connection[Any]", table: Table, rows: Sequence[Row]) -> list[Any]:
    """Insert rows whose key is not there yet, within a transaction that has begun.

    Returns the first column of those that were new; it begins their key.
    """
    # In order, so that two drains with the same events wait for each other rather than deadlock.
    rows = sorted(rows, key=_key)
    if len(rows) >= COPY_FROM and len(table.primary_key) == 1:
        for _ in range(COPY_ATTEMPTS):
            new = _not_there(driver, table, rows)
            try:
                with driver.transaction(), driver.cursor() as cursor, cursor.copy(_statements(table).copy) as copy:
                    for row in new:
                        copy.write_row(row)
            except REFUSALS:
                continue
            return [_key(row) for row in new]
    return [
        key for at in range(0, len(rows), COPY_FROM) for key in _insert(driver, table, rows[at : at + COPY_FROM])
    ]


def _insert(driver: "psycopg.Connection[Any]", table: Table, rows: Sequence[Row]) -> list[Any]:
    """By one statement; psycopg's `executemany` could not be interrupted, since it then waits for the others."""
    _, _, insert, values, unless_there = _statements(table)
    statement = insert + ", ".join([values] * len(rows)) + unless_there
    return [key for (key,) in driver.execute(statement, list(chain.from_iterable(rows)))]


def _not_there(driver: "psycopg.Connection[Any]", table: Table, rows: Sequence[Row]) -> list[Row]:
    """The first row of each key that the table does not have."""
    first = {_key(row): row for row in reversed(rows)}
    given = " ".join(map(bytes.hex, first))
    found = driver.execute(_statements(table).find, [given, _key(rows[0]), _key(rows[-1])])
    for (key,) in found:
        del first[key]
    return sorted(first.values(), key=_key)


def _key(row: Row) -> Any:
    return row[0]
