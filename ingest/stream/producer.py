"""The endpoint's side of the stream: batches are written to Redis or, while it fails, to the spool."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import redis
import redis.asyncio

from ingest import batch, failpoints
from ingest.batch import Batch, Record
from ingest.errors import SpoolFailed, WriteUnconfirmed
from ingest.redis_errors import is_wrong_server
from ingest.spool import Spool
from ingest.stream.breaker import Breaker
from ingest.stream.keys import WAKE_TTL, Keys

log = logging.getLogger(__name__)

#: Seconds that Redis may take to confirm a write before it goes to the spool. Above what an fsync takes on a bad
#: day; well below what a sender waits.
APPEND_TIMEOUT = 0.5
#: The same where there is no spool that could take it instead.
APPEND_PATIENCE = 5.0
#: Batches that share one fsync of the spool, at most.
SPOOL_BATCHES = 16
#: Bytes after which no further batch joins them: they are held several times while they are written.
SPOOL_SIZE = 8 * 1024 * 1024

# Appends batches, counts their events, and says whether a worker is to be woken. A script, because its one answer
# costs redis-py a third less than the five of a transaction; and EVAL, because a server that has forgotten scripts
# after a restart needs no second attempt then.
_APPEND = """
for i = 3, #ARGV do redis.call('XADD', KEYS[1], '*', 'b', ARGV[i]) end
redis.call('HINCRBY', KEYS[2], 'accepted', ARGV[1])
return redis.call('SET', KEYS[3], 1, 'NX', 'EX', ARGV[2]) and 1 or 0
"""


class Condition(NamedTuple):
    """How Redis is: bytes of memory that the stream takes, and its answer to INFO."""

    stream: int
    info: Mapping[str, Any]


class Stream:
    """The endpoint's way to Redis: each write is tried once, and is certain or not within a time that is set."""

    def __init__(self, client: "redis.asyncio.Redis", partition: int = 0) -> None:
        self._client = client
        self._keys = Keys(partition)

    async def append(self, batches: Sequence[Batch], seconds: float) -> bool:
        """Put batches into the stream, all or none; returns whether a worker is to be woken.

        Raises:
            WriteUnconfirmed: Redis refused, is unreachable, or did not answer within `seconds`. It may have
                them all the same.
        """
        async with _within(seconds):
            try:
                return await self._append(batches)
            except redis.ResponseError as error:
                if not is_wrong_server(error):
                    raise
            # It refused, so it has nothing of this; its connection is closed, and the next leads to the right one.
            return await self._append(batches)

    async def _append(self, batches: Sequence[Batch]) -> bool:
        keys = self._keys
        packed = [batch.packed for batch in batches]
        events = sum(batch.events for batch in batches)
        return bool(
            await self._client.eval(_APPEND, 3, keys.stream, keys.counts, keys.wake, events, WAKE_TTL, *packed)
        )

    async def probe(self, seconds: float) -> None:
        """See whether Redis takes writes: a full one, or a replica, answers a PING all the same.

        Raises:
            WriteUnconfirmed: it does not, or not within `seconds`.
        """
        async with _within(seconds):
            await self._client.set(self._keys.probe, 1, ex=WAKE_TTL)

    async def ping(self, seconds: float) -> None:
        """See whether Redis answers.

        Raises:
            WriteUnconfirmed: it does not, or not within `seconds`.
        """
        async with _within(seconds):
            await self._client.ping()

    async def condition(self, seconds: float) -> Condition:
        """How much memory the stream takes, and how Redis is.

        Raises:
            WriteUnconfirmed: it did not answer within `seconds`.
        """
        async with _within(seconds):
            return Condition(await self._client.memory_usage(self._keys.stream) or 0, await self._client.info())


@asynccontextmanager
async def _within(seconds: float) -> AsyncIterator[None]:
    """Whatever goes wrong with Redis in this block, and whatever takes too long, is a `WriteUnconfirmed`.

    A command that is broken off leaves an answer behind that belongs to no one: redis-py closes its connection.
    """
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise WriteUnconfirmed(f"Redis did not answer within {seconds:g} s.") from None
    except Exception as error:
        # RuntimeError is how uvloop says that the other side has closed the connection a moment ago.
        if not isinstance(error, redis.RedisError | OSError | RuntimeError):
            log.exception("the request to Redis failed")
        raise WriteUnconfirmed(f"Redis did not confirm the write ({type(error).__name__}: {error}).") from None


#: What a record's owner is called with: nothing when it is safe, else the reason why not.
Done = Callable[[WriteUnconfirmed | None], None]


class Producer:
    """Group commit: while one write is on its way, arriving records gather for the next.

    No timer: an idle endpoint writes at once, a busy one writes big batches by itself. Every caller is told the
    outcome of its own batch. With a spool, a batch that Redis does not confirm in time goes there, and those after
    it do not wait for Redis until it is known to serve again: the breaker says which way. What Redis may have got
    after all it gets once more, and the delivery id keeps it single.
    """

    def __init__(
        self,
        client: "redis.asyncio.Redis",
        wake: Callable[[], object],
        partition: int = 0,
        spool: Spool | None = None,
    ) -> None:
        self.stream = Stream(client, partition)
        self.spool = spool
        self.breaker = Breaker()
        #: Set when the backlog uses as much of Redis as it may: then calls go to the spool although Redis serves.
        self.is_over = False
        self._wake = wake
        self._waiting: deque[tuple[Record, Done]] = deque()
        self._writer: asyncio.Task[None] | None = None
        self._wakers: set[asyncio.Task[None]] = set()
        self.batches = 0
        self.events = 0

    def submit(self, record: Record, done: Done) -> None:
        """Keep one record; `done` is called with None once it is confirmed to be safe, or with why it is not."""
        self._waiting.append((record, done))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write_all())

    async def close(self) -> None:
        """Wait until nothing is on its way any more."""
        while self._writer is not None:
            await self._writer
        if self._wakers:
            await asyncio.wait(self._wakers)

    @property
    def uses_redis(self) -> bool:
        """Whether the next batch goes to Redis."""
        return self.breaker.is_closed and not self.is_over

    async def _write_all(self) -> None:
        try:
            while self._waiting:
                batches, callbacks = await self._gather()
                refusal = None
                try:
                    if batches:
                        await self._keep(batches)
                except WriteUnconfirmed as error:
                    refusal = error
                except Exception as error:  # whatever it was: the callers must be told
                    log.exception("a batch could not be written")
                    refusal = WriteUnconfirmed(f"A batch could not be written ({type(error).__name__}).")
                for done in callbacks:
                    _tell(done, refusal)
        finally:
            self._writer = None

    async def _gather(self) -> tuple[list[Batch], list[Done]]:
        """What waits, packed: one batch for Redis, or as many as share one fsync of the spool."""
        batches: list[Batch] = []
        callbacks: list[Done] = []
        size = 0
        while self._waiting and len(batches) < (1 if self.uses_redis else SPOOL_BATCHES) and size < SPOOL_SIZE:
            records, owners = self._gather_one()
            try:
                packed = await _pack(records)
                batches.append(Batch(packed, len(records)))
                size += len(packed)
                callbacks += owners
            except Exception:  # one of them is at fault, whatever it is: the others must not suffer for it
                for record, done in zip(records, owners, strict=True):
                    if alone := _pack_alone(record, done):
                        batches.append(alone)
                        callbacks.append(done)
        return batches, callbacks

    def _gather_one(self) -> tuple[list[Record], list[Done]]:
        records: list[Record] = []
        callbacks: list[Done] = []
        size = 0
        while self._waiting and len(records) < batch.MAX_RECORDS:
            size += self._waiting[0][0].size
            if records and size > batch.MAX_SIZE:
                break
            record, done = self._waiting.popleft()
            records.append(record)
            callbacks.append(done)
        return records, callbacks

    async def _keep(self, batches: Sequence[Batch]) -> None:
        """Write batches to Redis or to the spool.

        Raises:
            WriteUnconfirmed: neither is certain.
        """
        if failpoints.armed:
            failpoints.reach("batch-gathered")
        spool = self.spool
        if self.uses_redis:
            bounded = spool is not None and spool.takes
            try:
                await self.append(batches, APPEND_TIMEOUT if bounded else APPEND_PATIENCE)
                return
            except WriteUnconfirmed as error:
                if spool is None:
                    raise
                self.trip(error)
        if spool is None:
            raise WriteUnconfirmed("The backlog uses as much of Redis as it may (INGEST_BUFFER_MAX).")
        try:
            await spool.keep(batches)
        except SpoolFailed as error:
            raise WriteUnconfirmed(f"{self.breaker.why} {error}".strip()) from None

    async def append(self, batches: Sequence[Batch], seconds: float) -> None:
        """Put batches into the stream and wake a worker for them.

        Raises:
            WriteUnconfirmed: it is not certain that they are there.
        """
        if failpoints.armed:
            failpoints.reach("redis-write")
        woken = await self.stream.append(batches, seconds)
        if failpoints.armed:
            failpoints.reach("redis-written")
        self.batches += len(batches)
        self.events += sum(one.events for one in batches)
        if woken:
            waker = asyncio.create_task(asyncio.to_thread(self._enqueue))
            self._wakers.add(waker)
            waker.add_done_callback(self._wakers.discard)

    def trip(self, error: WriteUnconfirmed) -> None:
        """Redis failed: have calls go around it until it serves again."""
        if self.breaker.is_closed:
            log.warning("calls go to the spool: %s", error)
        self.breaker.trip(error)

    def _enqueue(self) -> None:
        try:
            self._wake()
        except Exception as error:
            # The batch is safe; the sweep wakes the workers once the wake key has expired.
            unknown = None if isinstance(error, redis.RedisError) else error
            log.warning("could not wake the workers: %s", error, exc_info=unknown)


async def _pack(records: Sequence[Record]) -> bytes:
    """Records packed; a large one in a thread, since others must not wait for it."""
    if records[0].size > batch.MAX_SIZE:
        return await asyncio.to_thread(batch.pack, records)
    return batch.pack(records)


def _pack_alone(record: Record, done: Done) -> Batch | None:
    """One record as a batch of its own; None if it cannot be packed, which its owner is told."""
    try:
        return Batch(batch.pack([record]), 1)
    except Exception as error:  # its owner must be told
        log.exception("a call could not be packed")
        _tell(done, WriteUnconfirmed(f"A call could not be packed ({type(error).__name__})."))
        return None


def _tell(done: Done, refusal: WriteUnconfirmed | None) -> None:
    try:
        done(refusal)
    except Exception:  # one owner's fault must not keep the others waiting
        log.exception("an answer could not be given")
