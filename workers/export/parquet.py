"""Writes Parquet: typed columns, in the order in which the events occurred, read from the store as columns.

Dictionaries and zstd make some 30 bytes of an event. Encodings are those that every reader knows.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from operator import attrgetter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from workers.export.manifest import COLUMNS
from workers.store.ahead import ahead
from workers.store.arrow import NAMES, SCHEMA, by_type
from workers.store.backend import Slice
from workers.store.store import Store

#: Events of a row group at most, and bytes of all that are gathered of one day, in Arrow's form: they are in
#: memory at once, and so are those of the day that is read while this one is written.
GROUP_ROWS, GATHERED_BYTES = 32_768, 32 * 1024 * 1024
#: The same where events have more than `LARGE_EVENT` bytes each, whose pages take several times as much.
LARGE_BYTES, LARGE_EVENT = 8 * 1024 * 1024, 64 * 1024
#: zstd's own default: levels above it take much longer for hardly less.
LEVEL = 3
#: Columns in which nearly every value is another one: a dictionary would be made in vain.
_UNIQUE = frozenset({"delivery_id", "message_id", "occurred_at", "received_at", "payload", "raw"})
CODED = [name for name in NAMES if name not in {*_UNIQUE, "tags"}] + ["tags.list.element"]


class Files:
    """The files of some types of one day: they are read when this is made, and most of it is written by `finish`.

    To read takes about as long as to write, so that one is done beside the other, within a large day and from one
    day to the next.
    """

    def __init__(
        self, store: Store, wanted: Slice, paths: Mapping[str, Path], watch: Callable[[str, int], object]
    ) -> None:
        pa.set_cpu_count(1)  # the processors belong to those who take and store calls
        self.rows = dict.fromkeys(paths, 0)
        self._groups: dict[str, _Group] = {}
        with ExitStack() as writers:
            for batch in ahead(store.as_arrow(wanted)):
                for kind, some in by_type(batch):
                    if kind not in self._groups:
                        self._groups[kind] = _Group(writers.enter_context(_writer(wanted, kind, paths[kind])))
                    self._groups[kind].add(some)
                    self.rows[kind] += some.num_rows
                    watch(kind, some.num_rows)
                while sum(group.size for group in self._groups.values()) > GATHERED_BYTES:
                    max(self._groups.values(), key=attrgetter("size")).write()
            self._writers = writers.pop_all()

    def finish(self) -> None:
        """Write what is left, of most days nearly all."""
        with self._writers:
            for group in self._groups.values():
                group.write()
        pa.default_memory_pool().release_unused()

    def close(self) -> None:
        """Leave the files as they are."""
        self._groups.clear()
        self._writers.close()


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
        self._rows = self.size = 0

    def add(self, batch: Any) -> None:
        """Add some; they are written with those before, if that is enough.

        As many rows at a time, whatever comes in one batch, so that the same events make the same bytes.
        """
        while self._rows + batch.num_rows >= GROUP_ROWS:
            room = GROUP_ROWS - self._rows
            self._take(batch.slice(0, room))
            self.write()
            batch = batch.slice(room)
        if batch.num_rows:
            self._take(batch)
        if self.size > LARGE_BYTES and self.size > LARGE_EVENT * self._rows:
            self.write()

    def _take(self, batch: Any) -> None:
        self._batches.append(batch)
        self._rows += batch.num_rows
        self.size += batch.nbytes

    def write(self) -> None:
        """Write what there is."""
        if self._batches:
            self._writer.write_table(pa.Table.from_batches(self._batches, SCHEMA), row_group_size=GROUP_ROWS)
            self._batches.clear()
            self._rows = self.size = 0
