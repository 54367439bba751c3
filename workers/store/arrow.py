"""Events as Arrow's columns, millions at a time: rows never become objects of Python.

Each kind of database reads in its own way (`workers.store.sqlite_arrow` and so on), all types of events at once,
and hands over what its driver makes of the columns; `typed` gives all of them one type each. This imports pyarrow,
an extra.
"""

from array import array
from collections.abc import Iterator, Sequence
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from workers.store import tables

#: Bytes of events that are in memory at a time, in Arrow's form.
BATCH_BYTES = 24 * 1024 * 1024
#: Most events that are: with more, a batch no longer fits into the processor's cache, and takes longer. And bytes
#: that an event takes besides what may be large.
BATCH_ROWS, ROW_BYTES = 16_384, 200
#: The types of the columns that are no text.
NUMBERS = ("profile", "subprofile", "database", "collection", "mailing", "code")
MOMENTS = ("occurred_at", "received_at")
BYTES = ("delivery_id", "raw")
#: The names of all columns, in the order of the table.
NAMES = tuple(column.name for column in tables.events.columns)
#: Those whose values may be large; all that others hold is short.
LARGE = ("payload", "raw", "tags", "description", "url", "referer", "user_agent")

_MOMENT = pa.timestamp("us", tz="UTC")


def _type(name: str) -> Any:
    if name == "delivery_id":
        return pa.binary(12)
    if name in NUMBERS:
        return pa.int64()
    if name in MOMENTS:
        return _MOMENT
    if name == "tags":
        return pa.list_(pa.field("element", pa.string()))
    return {"raw": pa.binary(), "payload": pa.json_(pa.string())}.get(name, pa.string())


#: What `typed` returns.
SCHEMA = pa.schema([pa.field(name, _type(name), tables.events.c[name].nullable) for name in NAMES])


def rows_at_once(largest: int) -> int:
    """How many events are read at a time if what may be large has no more bytes in any."""
    return max(1, min(BATCH_ROWS, BATCH_BYTES // (largest + ROW_BYTES)))


def typed(columns: Sequence[Any]) -> "pa.RecordBatch":
    """Events in `SCHEMA`, of their columns as a driver has them: times as text or as µs, bytes also as hex."""
    arrays = [_typed(name, column) for name, column in zip(NAMES, columns, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def by_type(batch: "pa.RecordBatch") -> Iterator[tuple[str, "pa.RecordBatch"]]:
    """The events of each type in a batch, in the order that they have there."""
    coded = pc.dictionary_encode(batch.column("type"))
    order = pc.array_sort_indices(coded.indices)  # which leaves equal ones in their order
    at = 0
    for code, kind in enumerate(coded.dictionary.to_pylist()):
        rows = pc.sum(pc.equal(coded.indices, code)).as_py()
        yield kind, batch.take(order.slice(at, rows))  # a copy: what is kept of a few must not keep all of them
        at += rows


def _typed(name: str, column: Any) -> Any:
    if name in MOMENTS:
        return _moments(column)
    if name == "tags":
        return _lists(column)
    if name == "payload":
        return pa.ExtensionArray.from_storage(pa.json_(pa.string()), column)
    if name in BYTES:
        return _bytes(column).cast(_type(name))
    return column.cast(_type(name))


def _moments(column: Any) -> Any:
    return column if column.type == _MOMENT else column.cast(pa.timestamp("us")).cast(_MOMENT)


def _bytes(column: Any) -> Any:
    """Bytes; what is text is in hex, of all rows together: a value begins at half the place."""
    if not pa.types.is_string(column.type) or not column:
        return column
    valid, places, data = column.buffers()
    halves = [place // 2 for place in memoryview(places).cast("i")[: column.offset + len(column) + 1]]
    plain = bytes.fromhex(data.to_pybytes()[: 2 * halves[-1]].decode()) if data else b""
    buffers = [valid, pa.py_buffer(array("i", halves)), pa.py_buffer(plain)]
    return pa.Array.from_buffers(pa.binary(), len(column), buffers, offset=column.offset)


def _lists(column: Any) -> Any:
    """JSON lists as lists; there are few different ones, as each mailing has its tags."""
    coded = pc.dictionary_encode(column)
    lists = [_words(text) for text in coded.dictionary.to_pylist()]
    return pa.array(lists, _type("tags")).take(coded.indices)


def _words(text: str) -> list[str | None]:
    found = orjson.loads(text)
    listed = found if isinstance(found, list) else [found]
    return [one if one is None or isinstance(one, str) else orjson.dumps(one).decode() for one in listed]
