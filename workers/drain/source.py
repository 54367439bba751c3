"""One partition as a drain works through it."""

from collections.abc import Callable, Sequence

from ingest.stream.consumer import Consumer, Entry
from ingest.stream.partitions import Partition
from ingest.stream.suspects import Suspects
from workers.drain.takeover import Steps, TakeOver
from workers.store.store import Store

#: Bytes of packed batches to claim at once: more would only sit in memory, less would fetch too often.
CLAIM_BYTES = 1024 * 1024
#: Batches to claim at once at most; a claim has to be acknowledged in one transaction.
CLAIM_MAX = 256
#: Batches to claim at first, while their size is unknown: one may hold a body of many megabytes.
CLAIM_FIRST = 4


class Source:
    """A partition, and how much of it is claimed at once."""

    def __init__(self, partition: Partition, name: str) -> None:
        """`name` is that of the drain."""
        self.name = partition.name
        self.client = partition.client
        self.consumer = Consumer(partition.client, name)
        self.suspects = Suspects(partition.client)
        #: Batches to claim next.
        self.count = CLAIM_FIRST
        self._takeover: TakeOver | None = None

    def takeover(self, store: Store, steps: Steps, over: Callable[[], bool]) -> TakeOver:
        """What works on batches of drains that died."""
        self._takeover = self._takeover or TakeOver(self.suspects, store, steps, over)
        return self._takeover

    def unclaimed(self) -> int:
        """Batches that nobody has claimed."""
        return self.consumer.batches() - self.consumer.pending()

    def learn(self, entries: Sequence[Entry]) -> None:
        """Claim so many next time that they make up `CLAIM_BYTES`, as large as these were."""
        size = sum(len(entry.packed) for entry in entries) // len(entries)
        self.count = max(1, min(CLAIM_BYTES // max(size, 1), self.count * 4, CLAIM_MAX))
