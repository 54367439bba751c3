"""Events that a database server writes as CSV, parsed into Arrow's columns many rows at a time.

A block has whole rows only, so an event may be as large as it likes. Texts are quoted, and what is empty without
quotes is NULL; bytes are in hex.
"""

from collections.abc import Generator, Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv

from workers.store.ahead import ahead
from workers.store.arrow import BATCH_BYTES, MOMENTS, NAMES, NUMBERS, typed

#: Bytes of CSV that are parsed at a time, unless an event has more.
BLOCK = BATCH_BYTES // 6
_PARSING = pa_csv.ParseOptions(newlines_in_values=True)


def batches(rows: Iterable[bytes | bytearray | memoryview], moment: Any) -> Iterator[Any]:
    """Record batches in `SCHEMA`, of rows each of which ends its line; times are of the type `moment` of Arrow.

    As numbers those are in µs since 1970. A thread takes the next rows while some are parsed.
    """
    types = dict.fromkeys(NAMES, pa.string()) | dict.fromkeys(NUMBERS, pa.int64()) | dict.fromkeys(MOMENTS, moment)
    converting = pa_csv.ConvertOptions(
        column_types=types, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False
    )
    for block in ahead(_blocks(rows)):
        yield _parsed(block, converting)


def _blocks(rows: Iterable[bytes | bytearray | memoryview]) -> Generator[bytearray, None, None]:
    block = bytearray()  # many small objects would be looked through again and again by Python's collector
    for row in rows:
        block += row
        if len(block) >= BLOCK:
            yield block
            block = bytearray()
    if block:
        yield block


def _parsed(block: bytearray, converting: Any) -> Any:
    reading = pa_csv.ReadOptions(use_threads=False, column_names=NAMES, block_size=len(block))
    table = pa_csv.read_csv(pa.py_buffer(block), reading, _PARSING, converting)
    return typed([column.combine_chunks() for column in table.columns])
