"""Reads events of PostgreSQL as Arrow's columns: by COPY, whose CSV is parsed many rows at a time."""

from collections.abc import Iterator
from typing import Any, cast

import psycopg
from sqlalchemy import Engine

from ingest.copernica.event_types import EventType
from workers.store.arrow import BYTES, MOMENTS, NAMES
from workers.store.backend import Backend, Slice
from workers.store.csv_arrow import batches


def _column(name: str) -> str:
    if name in BYTES:
        return f"encode({name}, 'hex')"
    return f"CAST(extract(epoch FROM {name}) * 1000000 AS bigint)" if name in MOMENTS else f'"{name}"'


_COLUMNS = ", ".join(map(_column, NAMES))


def read(_backend: Backend, engine: Engine, wanted: Slice) -> Iterator[Any]:
    """Record batches of the events in the order in which they occurred, all of one moment."""
    types = ", ".join(f"'{EventType(kind)}'" for kind in wanted.types)
    which = (
        f"occurred_at >= '{wanted.begin.isoformat()}' AND occurred_at < '{wanted.end.isoformat()}' "
        f"AND type IN ({types})"
    )
    ordered = f"SELECT {_COLUMNS} FROM events WHERE {which} ORDER BY occurred_at, delivery_id"
    with engine.connect() as connection:
        driver = cast("psycopg.Connection[Any]", connection.connection.driver_connection)
        with driver.cursor() as cursor, cursor.copy(f"COPY ({ordered}) TO STDOUT (FORMAT csv)") as copy:
            yield from batches(copy)
