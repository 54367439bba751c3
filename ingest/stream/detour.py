"""Calls that go around Redis, on their way to the spool."""

from collections import deque
from collections.abc import Callable, Coroutine

from ingest.batch import Record
from ingest.errors import WriteUnconfirmed
from ingest.stream.aside import Aside
from ingest.stream.lanes import Lanes
from ingest.stream.writes import Done, Write, failed, gather

#: Batches that share one fsync of the spool, at most.
SPOOL_BATCHES = 16
#: Bytes after which no further batch joins them: they are held several times while they are written.
SPOOL_SIZE = 8 * 1024 * 1024


class Detour:
    """One write to the spool at a time: of what Redis did not confirm first, then of what waits meanwhile."""

    def __init__(
        self,
        aside: Aside,
        lanes: Lanes,
        waiting: deque[tuple[Record, Done]],
        tell: Callable[[Write, WriteUnconfirmed | None], object],
    ) -> None:
        """`waiting` is what the producer has not sent yet; `tell` is called with what became of each write."""
        self._aside = aside
        self._lanes = lanes
        self._waiting = waiting
        self._tell = tell
        #: What Redis did not confirm and the spool is to keep.
        self._unconfirmed: deque[Write] = deque()
        #: Whether a write is under way, after which others that are due follow by themselves.
        self._is_used = False

    def add(self, write: Write) -> None:
        """A write that Redis did not confirm."""
        self._unconfirmed.append(write)

    def begin(self, then: Callable[[], object]) -> Coroutine[object, object, None] | None:
        """What keeps all that is to go this way and then goes on as told; None if that is under way already."""
        if self._is_used:
            return None
        self._is_used = True
        return self._take(then)

    async def _take(self, then: Callable[[], object]) -> None:
        while writes := await self._gather():
            refusal: WriteUnconfirmed | None = None
            try:
                writes[-1].reach()
                await self._aside.keep([one for write in writes for one in write.batches])
            except WriteUnconfirmed as error:
                refusal = error
            except Exception as error:  # whatever it was: the callers must be told
                refusal = failed(error)
            for write in writes:
                self._tell(write, refusal)
        self._is_used = False
        then()

    async def _gather(self) -> list[Write]:
        """As many as share one fsync; none if nothing is to go this way."""
        writes: list[Write] = []
        size = 0
        while len(writes) < SPOOL_BATCHES and size < SPOOL_SIZE:
            if self._unconfirmed:
                writes.append(self._unconfirmed.popleft())
            elif self._waiting and not self._lanes.any_takes:
                writes.append(gather(self._waiting))
                await writes[-1].pack_somehow()
            else:
                break
            size += sum(len(one.packed) for one in writes[-1].batches)
        return writes
