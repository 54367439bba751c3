"""Records on their way to Redis or the spool, and those who are told what became of them."""

import asyncio
import logging
from collections.abc import Callable, Sequence

from ingest import batch, failpoints
from ingest.batch import Batch, Record
from ingest.errors import WriteUnconfirmed

log = logging.getLogger(__name__)

#: What a record's owner is called with: nothing when it is safe, else the reason why not.
Done = Callable[[WriteUnconfirmed | None], None]


class Write:
    """Records that share a write, and those to whom they belong."""

    __slots__ = ("batches", "count", "owners", "records", "size")

    def __init__(self, records: list[Record], owners: list[Done], size: int) -> None:
        self.records = records
        self.owners = owners
        #: How many records, and their bytes before they are packed.
        self.count, self.size = len(records), size
        #: Packed; nearly always one.
        self.batches: list[Batch] = []

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


def tell(owners: Sequence[Done], refusal: WriteUnconfirmed | None) -> None:
    """Tell each owner what became of its record."""
    for done in owners:
        try:
            done(refusal)
        except Exception:  # one owner's fault must not keep the others waiting
            log.exception("an answer could not be given")
