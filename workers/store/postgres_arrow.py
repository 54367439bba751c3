"""Reads events of PostgreSQL as Arrow's columns: by COPY, whose CSV is parsed many rows at a time."""

import io
from collections.abc import Iterator
from typing import Any, cast

import psycopg
import pyarrow as pa
import pyarrow.csv as pa_csv
from sqlalchemy import Connection, Engine

from ingest.copernica.event_types import EventType
from workers.store.arrow import BATCH_BYTES, BYTES, LARGE, MOMENTS, NAMES, NUMBERS, typed
from workers.store.backend import Backend, Slice

#: Bytes of CSV that are parsed at a time, unless an event has more.
BLOCK = BATCH_BYTES // 3
#: How much larger CSV may be than the texts in it, whose quotes are doubled and bytes are in hex; and besides.
GROWTH, ROOM = 3, 4096


def _column(name: str) -> str:
    if name in BYTES:
        return f"encode({name}, 'hex')"
    return f"CAST(extract(epoch FROM {name}) * 1000000 AS bigint)" if name in MOMENTS else f'"{name}"'


_COLUMNS = ", ".join(map(_column, NAMES))
_LARGEST = " + ".join(f"coalesce(octet_length({name}::text), 0)" for name in LARGE)
_TYPES = {name: pa.int64() if name in (*NUMBERS, *MOMENTS) else pa.string() for name in NAMES}


def read(_backend: Backend, engine: Engine, wanted: Slice) -> Iterator[tuple[str, Any]]:
    """Record batches of the events, type by type, in the order in which they occurred, all of one moment."""
    day = f"occurred_at >= '{wanted.begin.isoformat()}' AND occurred_at < '{wanted.end.isoformat()}'"
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        found = connection.exec_driver_sql(f"SELECT type, max({_LARGEST}) FROM events WHERE {day} GROUP BY type")
        largest = {kind: size for kind, size in found}  # noqa: C416  # rows are no pairs to a type checker
        for kind in wanted.types:
            if kind in largest:
                for batch in _read(connection, f"{day} AND type = '{EventType(kind)}'", largest[kind]):
                    yield kind, batch


def _read(connection: Connection, which: str, largest: int) -> Iterator[Any]:
    driver = cast("psycopg.Connection[Any]", connection.connection.driver_connection)
    ordered = f"SELECT {_COLUMNS} FROM events WHERE {which} ORDER BY occurred_at, delivery_id"
    with driver.cursor() as cursor, cursor.copy(f"COPY ({ordered}) TO STDOUT (FORMAT csv)") as copy:
        lines = pa.PythonFile(io.BufferedReader(_Rows(copy), 1 << 16), mode="r")
        reader = pa_csv.open_csv(
            lines,
            pa_csv.ReadOptions(
                use_threads=False, column_names=NAMES, block_size=max(BLOCK, GROWTH * largest + ROOM)
            ),
            pa_csv.ParseOptions(newlines_in_values=True),
            pa_csv.ConvertOptions(
                column_types=_TYPES, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False
            ),
        )
        for batch in reader:
            yield typed(batch.columns)


class _Rows(io.RawIOBase):
    """What COPY sends, as a file."""

    def __init__(self, copy: "psycopg.Copy") -> None:
        self._copy = copy
        self._left = memoryview(b"")

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """The rows that fit, as many as there are; none at the end."""
        room, filled = memoryview(buffer), 0
        while filled < len(room):
            if not self._left and not (row := self._copy.read()):
                break
            if not self._left:
                self._left = memoryview(row)
            some = self._left[: len(room) - filled]
            room[filled : filled + len(some)] = some
            filled += len(some)
            self._left = self._left[len(some) :]
        return filled
