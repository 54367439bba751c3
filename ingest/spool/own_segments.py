"""The segments that one process looks after, and what they hold: read in the event loop, changed in a thread."""

import math
import time

from ingest.spool.reader import WaitingSegment
from ingest.spool.segment import SegmentWriter


class OwnSegments:
    """The one that is written, and those that wait; what is asked here needs no disk."""

    def __init__(self) -> None:
        self._writer: SegmentWriter | None = None
        self._waiting: list[WaitingSegment] = []

    @property
    def events(self) -> int:
        """Events that wait in segments that this process writes or has taken over."""
        return sum(one.events for one in self._segments())

    @property
    def size(self) -> int:
        """Bytes of these segments."""
        return sum(one.size for one in self._segments())

    @property
    def oldest_age(self) -> float | None:
        """Seconds since the oldest of these segments was begun; None when there is none."""
        oldest = min((one.name for one in self._segments() if one.events), default=None)
        return None if oldest is None else max(0.0, time.time() - oldest.created_ns / 1e9)

    @property
    def due_at(self) -> float:
        """From when on something may be replayed, in monotonic seconds; inf if nothing waits."""
        writer, waiting = self._writer, [*self._waiting]  # in this order, as below
        if writer is not None and writer.events:
            return 0.0
        return min((one.not_before for one in waiting), default=math.inf)

    def _segments(self) -> list[WaitingSegment | SegmentWriter]:
        writer, waiting = self._writer, [*self._waiting]  # in this order: the thread may be sealing it just now
        sealed = {one.path for one in waiting}
        return [*waiting, *([writer] if writer and writer.path not in sealed else [])]
