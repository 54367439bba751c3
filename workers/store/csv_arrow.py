"""Events that a database server writes as CSV, parsed into Arrow's columns many rows at a time.

A block has whole rows only, so an event may be as large as it likes. Texts are quoted, and what is empty without
quotes is NULL; bytes are in hex, times in µs since 1970.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv

from workers.store.arrow import BATCH_BYTES, MOMENTS, NAMES, NUMBERS, typed

#: Bytes of CSV that are parsed at a time, unless an event has more.
BLOCK = BATCH_BYTES // 3
_TYPES = {name: pa.int64() if name in (*NUMBERS, *MOMENTS) else pa.string() for name in NAMES}
_PARSING = pa_csv.ParseOptions(newlines_in_values=True)
_CONVERTING = pa_csv.ConvertOptions(
    column_types=_TYPES, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False
)


def batches(rows: Iterable[bytes | bytearray | memoryview]) -> Iterator[Any]:
    """Record batches in `SCHEMA`, of rows each of which ends its line."""
    block = list[bytes | bytearray | memoryview]()
    size = 0
    for row in rows:
        block.append(row)
        size += len(row)
        if size >= BLOCK:
            yield _parsed(b"".join(block))
            block, size = [], 0
    if block:
        yield _parsed(b"".join(block))


def _parsed(block: bytes) -> Any:
    reading = pa_csv.ReadOptions(use_threads=False, column_names=NAMES, block_size=len(block))
    table = pa_csv.read_csv(pa.py_buffer(block), reading, _PARSING, _CONVERTING)
    return typed([column.combine_chunks() for column in table.columns])
