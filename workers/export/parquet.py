"""Writes Parquet: typed columns, in the order in which the events occurred, read from the store as columns.

Dictionaries and zstd make some 30 bytes of an event. Encodings are those that every reader knows.
"""

from collections.abc import Callable, Mapping, Sequence
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
            group: list[Any] = []
            for _, batch in found:
                group.append(batch)
                rows[kind] += batch.num_rows
                watch(kind, batch.num_rows)
                if _is_full(group):
                    _write(writer, group)
            if group:
                _write(writer, group)
    pa.default_memory_pool().release_unused()
    return rows


def _writer(wanted: Slice, kind: str, path: Path) -> Any:
    writer = pq.ParquetWriter(
        path,
        SCHEMA,
        compression="zstd",
        compression_level=LEVEL,
        use_dictionary=CODED,
        sorting_columns=pq.SortingColumn.from_ordering(SCHEMA, [("occurred_at", "ascending")]),
    )
    writer.add_key_value_metadata({"day": f"{wanted.day}", "type": kind, "columns": f"{COLUMNS}"})
    return writer


def _is_full(group: Sequence[Any]) -> bool:
    rows, size = sum(one.num_rows for one in group), sum(one.nbytes for one in group)
    return bool(rows >= GROUP_ROWS or size >= GROUP_BYTES)


def _write(writer: Any, group: list[Any]) -> None:
    writer.write_table(pa.Table.from_batches(group, SCHEMA), row_group_size=2 * GROUP_ROWS)
    group.clear()
