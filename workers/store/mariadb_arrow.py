"""Reads events of MariaDB as Arrow's columns: it writes each row as CSV, which is parsed many rows at a time.

Its protocol has no columns, and taking rows apart here took twice as long. Large events come after all others,
value by value: to double the quotes in a text takes the server the square of its length.
"""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
from pymysql.cursors import SSCursor
from sqlalchemy import Engine

from ingest.copernica.event_types import EventType
from workers.store.arrow import BYTES, MOMENTS, NAMES, NUMBERS, typed
from workers.store.backend import Backend, Slice
from workers.store.csv_arrow import BLOCK, batches
from workers.store.mariadb_connection import Driver, driver_of
from workers.store.rows import micros, stored_time

#: Rows that are fetched at a time; a block of CSV has some more of them.
FETCHED = 1000
#: Bytes of an event from which on it is large: up to these, doubling its quotes takes milliseconds at most.
LARGE_EVENT = 16 * 1024


def _column(name: str) -> str:
    if name in MOMENTS:
        return f"timestampdiff(MICROSECOND, '1970-01-01', {name})"
    return f"hex({name})" if name in BYTES else f"`{name}`"


def _field(name: str) -> str:
    if name in (*MOMENTS, *BYTES, *NUMBERS):
        return f"ifnull({_column(name)}, '')"
    return f"""ifnull(concat('"', replace(`{name}`, '"', '""'), '"'), '')"""


_COLUMNS = ", ".join(map(_column, NAMES))
_ROW = f"concat(concat_ws(',', {', '.join(map(_field, NAMES))}), '\n')"
_SIZE = " + ".join(f"coalesce(length(`{name}`), 0)" for name in NAMES if name not in (*MOMENTS, *NUMBERS))


def read(_backend: Backend, engine: Engine, wanted: Slice) -> Iterator[Any]:
    """Record batches of the events in the order of their times, all of one moment; large ones come last."""
    begin, end = (stored_time(micros(moment)) for moment in (wanted.begin, wanted.end))
    types = ", ".join(f"'{EventType(kind)}'" for kind in wanted.types)
    found = f"FROM events WHERE occurred_at >= '{begin}' AND occurred_at < '{end}' AND type IN ({types})"
    order = "ORDER BY occurred_at, delivery_id"
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        driver = driver_of(connection)
        row = f"IF({_SIZE} > {LARGE_EVENT}, NULL, CAST({_ROW} AS BINARY))"
        rows = _Rows(driver, f"SELECT {row} {found} {order}")
        yield from batches(rows, pa.int64())
        if rows.is_lacking:
            yield from _large(driver, f"SELECT {_COLUMNS} {found} AND {_SIZE} > {LARGE_EVENT} {order}")


class _Rows:
    """The rows of a statement that gives one value in each; those that are NULL are left out."""

    def __init__(self, driver: Driver, statement: str) -> None:
        self._driver, self._statement = driver, statement
        self.is_lacking = False

    def __iter__(self) -> Iterator[bytes]:
        with self._driver.cursor(SSCursor) as cursor:
            cursor.execute(self._statement)
            while found := cursor.fetchmany(FETCHED):
                there = [row for (row,) in found if row is not None]
                self.is_lacking |= len(there) < len(found)
                if there:
                    yield b"".join(there)


def _large(driver: Driver, statement: str) -> Iterator[Any]:
    with driver.cursor(SSCursor) as cursor:
        cursor.execute(statement)
        rows, size = list[Any](), 0
        while (row := cursor.fetchone()) or rows:
            if row:
                rows.append(row)
                size += sum(len(value) for value in row if isinstance(value, str))
            if not row or size >= BLOCK:
                columns = zip(NAMES, zip(*rows, strict=True), strict=True)
                yield typed([pa.array(column, _type(name)) for name, column in columns])
                rows, size = [], 0


def _type(name: str) -> Any:
    return pa.int64() if name in (*NUMBERS, *MOMENTS) else pa.string()
