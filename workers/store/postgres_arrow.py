"""Reads events of PostgreSQL as Arrow's columns: by COPY, whose CSV is parsed many rows at a time."""

from collections.abc import Iterator
from typing import Any, cast

import psycopg
import pyarrow as pa
from sqlalchemy import Engine

from ingest.copernica.event_types import EventType
from workers.store.arrow import BYTES, NAMES
from workers.store.backend import Backend, Slice
from workers.store.csv_arrow import batches

#: A day of some ten thousand events is put in order in memory; to start processes for it takes longer than that.
READING = "SET LOCAL work_mem = '32MB'; SET LOCAL max_parallel_workers_per_gather = 0"
#: As the server writes times, in UTC and as ISO 8601 (`workers.store.postgres.SESSION`).
MOMENT = pa.timestamp("us", tz="UTC")
_COLUMNS = ", ".join(f"encode({name}, 'hex')" if name in BYTES else f'"{name}"' for name in NAMES)


def read(backend: Backend, engine: Engine, wanted: Slice) -> Iterator[Any]:
    """Record batches of the events in the order in which they occurred, all of one moment."""
    types = ", ".join(f"'{EventType(kind)}'" for kind in wanted.types)
    which = (
        f"occurred_at >= '{wanted.begin.isoformat()}' AND occurred_at < '{wanted.end.isoformat()}' "
        f"AND type IN ({types})"
    )
    ordered = f"SELECT {_COLUMNS} FROM events WHERE {which} ORDER BY occurred_at, delivery_id"
    with engine.connect() as connection:
        backend.begin(connection)
        driver = cast("psycopg.Connection[Any]", connection.connection.driver_connection)
        driver.execute(READING)
        with driver.cursor() as cursor, cursor.copy(f"COPY ({ordered}) TO STDOUT (FORMAT csv)") as copy:
            yield from batches(copy, MOMENT)
