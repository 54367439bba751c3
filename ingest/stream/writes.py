"""Records on their way to Redis or the spool, and those who are told what became of them."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ingest import batch, failpoints
from ingest.batch import Batch, Record
from ingest.errors import WriteUnconfirmed
from ingest.metrics.histogram import Histogram

if TYPE_CHECKING:
    from ingest.stream.lanes import Lane

log = logging.getLogger(__name__)

#: What a record's owner is called with: nothing when it is safe, else the reason why not.
Done = Callable[[WriteUnconfirmed | None], None]


class Fate:
    """What became of a batch, which may be on its way to more than one server."""

    __slots__ = ("is_told", "lanes", "under_way")

    def __init__(self) -> None:
        #: Whether its callers know.
        self.is_told = False
        #: Where it went, and to how many it is on its way.
        self.lanes: set[Lane] = set()
        self.under_way = 0

    def may_be_copied(self, write: "Write") -> bool:
        """Whether that is worth its while: not what is large, nor what went elsewhere already."""
        return self.under_way == 1 and write.size <= batch.MAX_SIZE and len(write.batches) == 1


class Write:
    """Records that share a write, and those to whom they belong."""

    __slots__ = ("batches", "began", "count", "fate", "lane", "owners", "records", "size", "tries")

    def __init__(self, records: list[Record], owners: list[Done], size: int, fate: Fate | None = None) -> None:
        self.fate = fate or Fate()
        self.records = records
        self.owners = owners
        #: How many records, and their bytes before they are packed.
        self.count, self.size = len(records), size
        #: Packed; nearly always one.
        self.batches: list[Batch] = []
        #: When it was sent on its way (monotonic seconds), if that is measured.
        self.began = 0.0
        #: To which server it goes, and to how many it went before.
        self.lane: Lane | None = None
        self.tries = 0

    def again(self) -> "Write":
        """The same, for another server as well."""
        copy = Write(self.records, self.owners, self.size, self.fate)
        copy.batches, copy.tries = self.batches, self.tries + 1
        return copy

    def reach(self) -> None:
        """This is packed, for tests that have it fail here."""
        if failpoints.armed:
            failpoints.reach("batch-gathered")

    def pack(self) -> None:
        """Make one batch of the records.

        Raises:
            BatchError: one of them cannot be packed.
        """
        self.batches = [Batch(batch.pack(self.records, with_dictionary=True), self.count)]

    async def pack_somehow(self) -> None:
        """The same, a large record in a thread; those that cannot be packed are refused alone."""
        try:
            if self.size > batch.MAX_SIZE:
                await asyncio.to_thread(self.pack)
            else:
                self.pack()
        except Exception:  # one of them is at fault, whatever it is: the others must not suffer for it
            owners, self.owners = self.owners, []
            for record, done in zip(self.records, owners, strict=True):
                if alone := _pack_alone(record, done):
                    self.batches.append(alone)
                    self.owners.append(done)


def gather(waiting: deque[tuple[Record, Done]]) -> Write:
    """Take as many of the records that wait as make one batch."""
    records: list[Record] = []
    owners: list[Done] = []
    size = 0
    while waiting and len(records) < batch.MAX_RECORDS:
        more = waiting[0][0].size
        if records and size + more > batch.MAX_SIZE:
            break
        size += more
        record, done = waiting.popleft()
        records.append(record)
        owners.append(done)
    return Write(records, owners, size)


def _pack_alone(record: Record, done: Done) -> Batch | None:
    """One record as a batch of its own; None if it cannot be packed, which its owner is told."""
    try:
        return Batch(batch.pack([record], with_dictionary=True), 1)
    except Exception as error:  # its owner must be told
        log.exception("a call could not be packed")
        tell([done], WriteUnconfirmed(f"A call could not be packed ({type(error).__name__})."))
        return None


def failed(error: Exception) -> WriteUnconfirmed:
    """What callers are told of an error that nobody expects: it says nothing about Redis."""
    log.error("a batch could not be written", exc_info=error)
    return WriteUnconfirmed(f"A batch could not be written ({type(error).__name__}).")


class WriteTimes:
    """How long writes and calls took, if that is measured."""

    __slots__ = ("_last", "acknowledged", "appended", "failures")

    def __init__(self, acknowledged: Histogram, appended: Histogram, last_at: float) -> None:
        #: From a call's arrival until it is safe.
        self.acknowledged = acknowledged
        #: From a batch's sending until Redis has confirmed it; and how often it did not.
        self.appended, self.failures = appended, 0
        self._last = round(last_at * 1e6)

    @property
    def last_at(self) -> float:
        """When the last call was acknowledged, in Unix seconds; 0 before the first."""
        return self._last / 1e6

    def safe(self, write: Write) -> None:
        """The calls of a write are safe, in Redis or in the spool."""
        now = time.time_ns() // 1000
        self._last = now
        records = write.records
        if len(records) == 1:
            self.acknowledged.observe(max(0, now - records[0].received_at) / 1e6)
        else:
            self.acknowledged.observe_since([record.received_at for record in records], now)

    def written(self, write: Write, confirmed: bool) -> None:
        """Redis confirmed a write, or did not."""
        if confirmed:
            self.appended.observe(time.monotonic() - write.began)
        else:
            self.failures += 1


def tell(owners: Sequence[Done], refusal: WriteUnconfirmed | None) -> None:
    """Tell each owner what became of its record."""
    for done in owners:
        try:
            done(refusal)
        except Exception:  # one owner's fault must not keep the others waiting
            log.exception("an answer could not be given")
