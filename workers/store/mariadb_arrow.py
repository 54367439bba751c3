"""Reads events of MariaDB as Arrow's columns: row by row, as its protocol has no other way.

So it takes several times as long as with the other databases; no more is in memory at a time, though.
"""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
from pymysql.cursors import SSCursor
from sqlalchemy import Engine

from ingest.copernica.event_types import EventType
from workers.store.arrow import BYTES, LARGE, MOMENTS, NAMES, NUMBERS, rows_at_once, typed
from workers.store.backend import Backend, Slice
from workers.store.mariadb_connection import Driver, driver_of
from workers.store.rows import micros, stored_time

_COLUMNS = ", ".join(f"CAST({name} AS CHAR)" if name in MOMENTS else f"`{name}`" for name in NAMES)
_LARGEST = " + ".join(f"coalesce(length({name}), 0)" for name in LARGE)


def read(_backend: Backend, engine: Engine, wanted: Slice) -> Iterator[tuple[str, Any]]:
    """Record batches of the events, type by type, in the order in which they occurred, all of one moment."""
    begin, end = (stored_time(micros(moment)) for moment in (wanted.begin, wanted.end))
    day = f"occurred_at >= '{begin}' AND occurred_at < '{end}'"
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        driver = driver_of(connection)
        with driver.cursor() as cursor:
            cursor.execute(f"SELECT type, max({_LARGEST}) FROM events WHERE {day} GROUP BY type")
            largest = {str(row[0]): int(row[1]) for row in cursor.fetchall()}
        for kind in wanted.types:
            if kind in largest:
                which = f"{day} AND type = '{EventType(kind)}'"
                for batch in _read(driver, which, rows_at_once(largest[kind])):
                    yield kind, batch


def _read(driver: Driver, which: str, rows: int) -> Iterator[Any]:
    with driver.cursor(SSCursor) as cursor:
        cursor.execute(f"SELECT {_COLUMNS} FROM events WHERE {which} ORDER BY occurred_at, delivery_id")
        while found := cursor.fetchmany(rows):
            columns = zip(*found, strict=True)
            yield typed([pa.array(column, _type(name)) for name, column in zip(NAMES, columns, strict=True)])


def _type(name: str) -> Any:
    if name in BYTES:
        return pa.binary()
    return pa.int64() if name in NUMBERS else pa.string()
