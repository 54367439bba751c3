"""Writes Parquet: typed columns, in the order in which the events occurred, read from the store as columns.

Dictionaries and zstd make some 30 bytes of an event. Encodings are those that every reader knows.
"""

from collections.abc import Callable, Mapping
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from workers.export.manifest import COLUMNS
from workers.store.arrow import NAMES, SCHEMA
from workers.store.backend import Slice
from workers.store.store import Store

#: Events of a row group at most, and their bytes in Arrow's form: all of them are in memory at once.
GROUP_ROWS, GROUP_BYTES = 131_072, 64 * 1024 * 1024
#: The same where events have more than `LARGE_EVENT` bytes each, whose pages take several times as much.
LARGE_BYTES, LARGE_EVENT = 8 * 1024 * 1024, 64 * 1024
#: zstd's own default: levels above it take much longer for hardly less.
LEVEL = 3
#: Columns in which nearly every value is another one: a dictionary would be made in vain.
_UNIQUE = frozenset({"delivery_id", "message_id", "occurred_at", "received_at", "payload", "raw"})
CODED = [name for name in NAMES if name not in {*_UNIQUE, "tags"}] + ["tags.list.element"]


def write(
    store: Store, wanted: Slice, paths: Mapping[str, Path], watch: Callable[[str, int], object]
) -> dict[str, int]:
    """Write the events of each type into its file; returns how many there are in each."""
    pa.set_cpu_count(1)  # the processors belong to those who take and store calls
    rows = dict.fromkeys(paths, 0)
    batches = groupby(store.as_arrow(wanted), key=itemgetter(0))
    for kind, found in batches:
        with _writer(wanted, kind, paths[kind]) as writer:
            group = _Group(writer)
            for _, batch in found:
                group.add(batch)
                rows[kind] += batch.num_rows
                watch(kind, batch.num_rows)
            group.write()
    pa.default_memory_pool().release_unused()
    return rows


def _writer(wanted: Slice, kind: str, path: Path) -> Any:
    writer = pq.ParquetWriter(
        path,
        SCHEMA,
        compression="zstd",
        compression_level=LEVEL,
        use_dictionary=CODED,
    )
    writer.add_key_value_metadata({"day": f"{wanted.day}", "type": kind, "columns": f"{COLUMNS}"})
    return writer


class _Group:
    """The events of a row group, gathered until there are enough."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer
        self._batches: list[Any] = []
        self._rows = self._size = 0

    def add(self, batch: Any) -> None:
        """Add some; they are written with those before if that is enough."""
        self._batches.append(batch)
        self._rows += batch.num_rows
        self._size += batch.nbytes
        large = self._size > LARGE_BYTES and self._size > LARGE_EVENT * self._rows
        if large or self._rows >= GROUP_ROWS or self._size >= GROUP_BYTES:
            self.write()

    def write(self) -> None:
        """Write what there is."""
        if self._batches:
            table = pa.Table.from_batches(self._batches, SCHEMA)
            self._writer.write_table(table, row_group_size=2 * GROUP_ROWS)
            self._batches.clear()
            self._rows = self._size = 0
