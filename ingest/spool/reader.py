"""The way back: what waits in a segment, in portions."""

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ingest.batch import Batch
from ingest.spool import segment
from ingest.spool.segment import SegmentName, Stretch

log = logging.getLogger(__name__)

#: How files are called that hold what could not be read.
BAD = ".bad"


@dataclass(slots=True)
class WaitingSegment:
    """A segment that is complete, and how much of it is not in Redis yet."""

    path: Path
    name: SegmentName
    size: int
    events: int
    #: It is not read before this time (monotonic seconds).
    not_before: float = 0.0
    #: The offset up to which it is in Redis, as this process knows; it may be impossible to note it in the file.
    replayed_to: int = 0
    #: Whether it still bears the name of a dead process: another one may take it over at any time.
    is_borrowed: bool = False


@dataclass(frozen=True, slots=True)
class Portion:
    """Batches that follow each other in a segment, to be sent to Redis together."""

    segment: WaitingSegment
    batches: tuple[Batch, ...]
    #: The offset in the segment up to which everything is in Redis once these batches are.
    end: int

    @property
    def events(self) -> int:
        """How many events the batches hold."""
        return sum(batch.events for batch in self.batches)


class SegmentReader:
    """Reads a segment from where it was confirmed."""

    def __init__(self, waiting: WaitingSegment) -> None:
        self.segment = waiting
        #: From when to when it was written, in µs since 1970; the end may be later than it was.
        self.written = waiting.name.created_ns // 1000, waiting.path.stat().st_mtime_ns // 1000
        self._data = waiting.path.read_bytes()
        sync = waiting.name.sync
        start = max(segment.confirmed(self._data, sync), waiting.replayed_to)
        self._stretches: Iterator[Stretch] = segment.scan(self._data, sync, start)
        self._next: Stretch | None = next(self._stretches, None)

    @property
    def is_finished(self) -> bool:
        """Whether everything was read."""
        return self._next is None

    def portion(self, max_bytes: int, max_batches: int) -> Portion:
        """The next batches; at least one, unless there are none."""
        batches: list[Batch] = []
        size = end = 0
        while (stretch := self._next) is not None:
            if stretch.batch is not None:  # damage is put aside when the segment is finished
                full = len(batches) == max_batches or size + len(stretch.batch.packed) > max_bytes
                if batches and full:
                    break
                batches.append(stretch.batch)
                size += len(stretch.batch.packed)
            end = stretch.end
            self._next = next(self._stretches, None)
        return Portion(self.segment, tuple(batches), end)

    def put_damage_aside(self) -> int:
        """Save what could not be read in files of its own, beside the segment; returns how many.

        Raises:
            OSError: the disk failed.
        """
        saved = 0
        path = self.segment.path
        for stretch in segment.scan(self._data, self.segment.name.sync):
            size = stretch.end - stretch.start
            if stretch.batch is not None:
                continue
            if stretch.is_torn:
                log.warning("%s ends in %d bytes that were never acknowledged", path.name, size)
                continue
            bad = path.with_name(f"{path.stem}-{stretch.start}{BAD}")
            log.error("%d bytes of the spool are damaged; they are kept in %s", size, bad)
            _save(bad, self._data[stretch.start : stretch.end])
            saved += 1
        return saved


def _save(path: Path, data: bytes) -> None:
    with open(path, "wb", opener=_private) as file:  # Path.open takes no opener
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, segment.MODE)


def events_in(data: bytes, name: SegmentName) -> int:
    """How many events a segment holds that are not in Redis yet."""
    stretches = segment.scan(data, name.sync, segment.confirmed(data, name.sync))
    return sum(stretch.batch.events for stretch in stretches if stretch.batch)
