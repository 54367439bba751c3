"""Many rows into PostgreSQL at once, of which some may be there already: the hot path of a drain.

COPY is the fastest way in, but has no ON CONFLICT. Nearly always all rows are new, so they are copied straight
into their table, behind a savepoint. If one is there already, the COPY is undone, the keys are looked up, and what
is new is copied. No temporary table is needed, which not every role may create.
"""

from collections.abc import Sequence
from functools import cache
from itertools import chain
from operator import itemgetter
from typing import Any, NamedTuple

import psycopg
from sqlalchemy import Table

from workers.store.backend import Row

#: Rows from which on COPY, with its few more round trips, is faster than one INSERT; no INSERT has more.
COPY_FROM = 20
#: Times that a COPY is tried, each without the rows that others have stored meanwhile, before INSERT.
COPY_ATTEMPTS = 3
#: How many times keys are looked up before the COPY once a row was there already: such rows come together, as when
#: batches are taken over, and each COPY that is undone leaves its rows to the server's VACUUM.
LOOK_UPS = 100

_key = itemgetter(0)


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


class Inserter:
    """Inserts the rows of one process; remembers whether some were there already."""

    def __init__(self) -> None:
        #: How many more times keys are looked up before the COPY.
        self._look_ups = 0

    def insert_new(self, driver: "psycopg.Connection[Any]", table: Table, rows: Sequence[Row]) -> list[Any]:
        """Insert rows whose key is not there yet, within a transaction that has begun.

        Returns the first column of those that were new; it begins their key.
        """
        # In order, so that two drains with the same events wait for each other rather than deadlock.
        rows = sorted(rows, key=_key)
        if len(rows) >= COPY_FROM and len(table.primary_key) == 1:
            for _ in range(COPY_ATTEMPTS):
                new = _distinct(rows)
                if self._look_ups:
                    self._look_ups -= 1
                    new = _not_there(driver, table, new)
                try:
                    _copy(driver, table, new)
                except psycopg.errors.UniqueViolation:
                    self._look_ups = LOOK_UPS
                except psycopg.errors.FeatureNotSupported:
                    break  # the table has rules for rows (row-level security), which COPY does not know
                else:
                    return list(map(_key, new))
        return [
            key
            for at in range(0, len(rows), COPY_FROM)
            for key in _insert(driver, table, rows[at : at + COPY_FROM])
        ]


def _copy(driver: "psycopg.Connection[Any]", table: Table, rows: Sequence[Row]) -> None:
    """All or nothing, without ending the transaction."""
    with driver.transaction(), driver.cursor() as cursor, cursor.copy(_statements(table).copy) as copy:
        write_row = copy.write_row
        for row in rows:
            write_row(row)


def _insert(driver: "psycopg.Connection[Any]", table: Table, rows: Sequence[Row]) -> list[Any]:
    """By one statement; psycopg's `executemany` could not be interrupted, since it then waits for the others."""
    _, _, insert, values, unless_there = _statements(table)
    statement = insert + ", ".join([values] * len(rows)) + unless_there
    return [key for (key,) in driver.execute(statement, list(chain.from_iterable(rows)))]


def _distinct(rows: list[Row]) -> list[Row]:
    """The first row of each key, of rows in the order of their keys."""
    if len(set(map(_key, rows))) == len(rows):
        return rows
    first = {_key(row): row for row in reversed(rows)}
    return sorted(first.values(), key=_key)


def _not_there(driver: "psycopg.Connection[Any]", table: Table, rows: list[Row]) -> list[Row]:
    """The rows whose key the table does not have, in order."""
    given = " ".join(map(bytes.hex, map(_key, rows)))
    found = driver.execute(_statements(table).find, [given, _key(rows[0]), _key(rows[-1])])
    there = {key for (key,) in found}
    return [row for row in rows if _key(row) not in there]
