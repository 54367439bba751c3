"""Writes the events of one type of one day into a file, in one of three formats."""

import gzip
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

from ingest.copernica.events import Event
from workers.operations.exporting import write_csv, write_header, write_jsonl
from workers.store.backend import Slice
from workers.store.filters import Filter
from workers.store.store import Store

#: The formats, and how the names of their files end.
PARQUET = "parquet"
ENDINGS = {PARQUET: ".parquet", "jsonl": ".jsonl.gz", "csv": ".csv.gz"}
#: How hard text is compressed: half the time of the usual 6, for a tenth more bytes.
LEVEL = 4
#: Events between two times that it is told how many there are.
TOLD = 1000

#: Is told of which type how many events were written since.
Watch = Callable[[str, int], object]


class Begun(Protocol):
    """Files that are being written: all events of them are read, and `rows` says how many, by type."""

    @property
    def rows(self) -> Mapping[str, int]:
        """How many events there are of each type that was wanted."""

    def finish(self) -> None:
        """Write what is not written yet; nothing more is done the second time."""

    def close(self) -> None:
        """Leave it at what is written."""


class Whole(NamedTuple):
    """Files that are written while their events are read."""

    rows: Mapping[str, int]

    def finish(self) -> None:
        """It is done."""

    def close(self) -> None:
        """Nothing is open."""


def read(store: Store, form: str, wanted: Slice, paths: Mapping[str, Path], watch: Watch) -> Begun:
    """Read the events of each type, which are written into its file then.

    The same events make the same bytes. Where there are none, nothing is written.

    Raises:
        Unavailable: the database cannot be used now.
        OSError: a file cannot be written.
    """
    if form == PARQUET:
        from workers.export import parquet  # noqa: PLC0415  # needs an extra

        return parquet.Files(store, wanted, paths, watch)
    return Whole({kind: _write(store, form, wanted, kind, paths[kind], watch) for kind in wanted.types})


def _write(store: Store, form: str, wanted: Slice, kind: str, path: Path, watch: Watch) -> int:
    counting = _Counting(store.find(Filter((kind,), since=wanted.begin, until=wanted.end)), partial(watch, kind))
    with (
        path.open("wb") as plain,
        gzip.GzipFile("", "wb", LEVEL, plain, mtime=0) as packed,
        io.TextIOWrapper(packed, "utf-8", newline="") as out,
    ):
        if form == "csv":
            write_header(out)
            write_csv(counting, out)
        else:
            write_jsonl(counting, out)
    return counting.rows


class _Counting(Iterable[Event]):
    """Events, counted while they pass."""

    def __init__(self, events: Iterator[Event], watch: Callable[[int], object]) -> None:
        self._events, self._watch, self.rows = events, watch, 0

    def __iter__(self) -> Iterator[Event]:
        for event in self._events:
            self.rows += 1
            if not self.rows % TOLD:
                self._watch(TOLD)
            yield event
