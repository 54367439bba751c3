"""The way back: what waits in a segment, in portions."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ingest.batch import Batch
from ingest.spool import segment
from ingest.spool.segment import Found, Name


@dataclass(slots=True)
class Waiting:
    """A segment that is complete, and what of it is not in Redis yet."""

    path: Path
    name: Name
    size: int
    events: int
    not_before: float = 0.0


@dataclass(slots=True)
class Portion:
    """Batches that follow each other in a segment, to be sent to Redis together."""

    waiting: Waiting
    batches: list[Batch] = field(default_factory=list)
    end: int = 0

    @property
    def events(self) -> int:
        """How many events the batches hold."""
        return sum(batch.events for batch in self.batches)


class Reader:
    """Reads a segment from where it was confirmed."""

    def __init__(self, waiting: Waiting) -> None:
        self.waiting = waiting
        self.data = waiting.path.read_bytes()
        sync = waiting.name.sync
        self._found: Iterator[Found] = segment.scan(self.data, sync, segment.confirmed(self.data, sync))
        self._ahead: Found | None = next(self._found, None)

    @property
    def through(self) -> bool:
        """Whether everything was read."""
        return self._ahead is None

    def portion(self, max_bytes: int, max_batches: int) -> Portion:
        """The next batches; at least one, unless there are none."""
        portion = Portion(self.waiting)
        size = 0
        while (found := self._ahead) is not None:
            if found.batch is not None:  # else it is damaged, and kept aside in the end
                full = len(portion.batches) == max_batches or size + len(found.batch.packed) > max_bytes
                if portion.batches and full:
                    break
                portion.batches.append(found.batch)
                size += len(found.batch.packed)
            portion.end = found.end
            self._ahead = next(self._found, None)
        return portion


def events_in(data: bytes, name: Name) -> int:
    """How many events a segment holds that are not in Redis yet."""
    found = segment.scan(data, name.sync, segment.confirmed(data, name.sync))
    return sum(one.batch.events for one in found if one.batch)
