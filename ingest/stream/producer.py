"""The endpoint's side of the stream: batches are written to Redis or, while it fails, to the spool."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from functools import partial

import redis
import redis.asyncio

from ingest import batch, failpoints
from ingest.batch import Batch, Record
from ingest.errors import SpoolFailed, WriteUnconfirmed
from ingest.spool import Spool
from ingest.stream.appends import Stream
from ingest.stream.breaker import Breaker
from ingest.stream.writes import Done, Write, WriteTimes, failed, tell

log = logging.getLogger(__name__)

#: Seconds that Redis may take to confirm a write before it goes to the spool. Above what an fsync takes on a bad
#: day; well below what a sender waits.
APPEND_TIMEOUT = 0.5
#: The same where there is no spool that could take it instead.
APPEND_PATIENCE = 5.0
#: Seconds for which a spool is enough for a 200 whose disk goes with the process. A fail-over or a restart of
#: Redis takes less; and the shorter it is, the seldomer the process is replaced just while calls lie there.
PASSING_SPOOL = 60.0
#: Writes to Redis that may be on their way at once. Each carries at least as much as those before it together,
#: so the fourth begins when eight times as much has arrived as the first carries.
MOST_WRITES = 4
#: Batches that share one fsync of the spool, at most.
SPOOL_BATCHES = 16
#: Bytes after which no further batch joins them: they are held several times while they are written.
SPOOL_SIZE = 8 * 1024 * 1024


class Producer:
    """Group commit: while writes are on their way, arriving records gather for the next.

    No timer: an idle endpoint writes at once, a busy one writes big batches by itself. Further writes begin while
    Redis works on the first ones, each once as much has gathered as is on its way: so few of them suffice, and
    calls need not wait for one fsync to end before the next has something to do. Every caller is told the outcome
    of its own batch. With a spool, a batch that Redis does not confirm in time goes there, and those after it do
    not wait for Redis until it is known to serve again: the breaker says which way. What Redis may have got after
    all it gets once more, and the delivery id keeps it single.
    """

    def __init__(
        self,
        client: "redis.asyncio.Redis",
        wake: Callable[[], object],
        partition: int = 0,
        spool: Spool | None = None,
        spool_lasts: bool = True,
    ) -> None:
        """`spool_lasts`: whether the spool's disk is still there when this process is replaced by another."""
        self.stream = Stream(client, partition)
        self.spool = spool
        self.spool_lasts = spool_lasts
        self.breaker = Breaker()
        # When the backlog began to use as much of Redis as it may, in monotonic seconds.
        self._over_since: float | None = None
        #: Where it is noted how long things take, if anybody wants to know.
        self.times: WriteTimes | None = None
        self._wake = wake
        self._waiting: deque[tuple[Record, Done]] = deque()
        #: Whether what waits will be looked at in this turn of the event loop.
        self._looks = False
        #: Writes to Redis that are on their way, their records, and the bytes of these.
        self._writes = self._records = self._bytes = 0
        #: What Redis did not confirm and the spool is to keep.
        self._unconfirmed: deque[Write] = deque()
        self._spooling = False
        self._tasks: set[asyncio.Task[None]] = set()
        #: Done at the end of the next write, for whoever waits for that.
        self._next_end: asyncio.Future[None] | None = None
        self.batches = 0
        self.events = 0

    def submit(self, record: Record, done: Done) -> None:
        """Keep one record; `done` is called with None once it is confirmed to be safe, or with why it is not."""
        self._waiting.append((record, done))
        if not self._looks:
            self._look()

    async def settle(self) -> None:
        """Wait until nothing is on its way any more."""
        while self._tasks or self._waiting or self._writes:
            if self._looks:
                await asyncio.sleep(0)  # which way it goes is seen in this turn of the event loop
            elif self._tasks:
                await asyncio.wait(self._tasks)
            else:
                if self._next_end is None or self._next_end.done():
                    self._next_end = asyncio.get_running_loop().create_future()
                await self._next_end

    async def close(self) -> None:
        """Wait until nothing is on its way any more, and end the connection."""
        await self.settle()
        await self.stream.close()

    @property
    def uses_redis(self) -> bool:
        """Whether the next batch goes to Redis."""
        return self.breaker.is_closed and not self.is_over

    @property
    def is_over(self) -> bool:
        """Whether the backlog uses as much of Redis as it may: then calls go to the spool though Redis serves."""
        return self._over_since is not None

    @is_over.setter
    def is_over(self, is_over: bool) -> None:
        self._over_since = (self._over_since or time.monotonic()) if is_over else None

    @property
    def is_overdue(self) -> bool:
        """Whether Redis has not taken calls for so long that a spool which goes with the process is not enough."""
        if self.spool_lasts or self.spool is None:
            return False
        over_for = 0.0 if self._over_since is None else time.monotonic() - self._over_since
        return max(self.breaker.open_for, over_for, self.spool.oldest_age or 0.0) > PASSING_SPOOL

    @property
    def spool_takes(self) -> bool:
        """Whether a call that Redis does not take is likely to be kept all the same."""
        return self.spool is not None and self.spool.takes and not self.is_overdue

    def _start(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _look(self) -> None:
        """Write what waits; not at once, for what else arrives in this turn of the event loop shares the write."""
        self._looks = True
        asyncio.get_running_loop().call_soon(self._write)

    def _write(self) -> None:
        """Begin as many writes as may be on their way."""
        self._looks = False
        while self._waiting and self.uses_redis and self._may_write():
            write = self._gather()
            if self.times is not None:
                write.began = time.monotonic()
            self._writes += 1
            self._records += write.count
            self._bytes += write.size
            if not (self.stream.is_open and write.size <= batch.MAX_SIZE and self._send(write)):
                self._start(self._append(write))
        if self._waiting and not self.uses_redis:
            self._go_around()

    def _go_around(self) -> None:
        if not self._spooling:
            self._spooling = True
            self._start(self._write_to_spool())

    def _may_write(self) -> bool:
        """Whether one more write to Redis may begin."""
        return not self._writes or (
            self._writes < MOST_WRITES
            and len(self._waiting) >= self._records
            and self._bytes + self._waiting[0][0].size <= batch.MAX_SIZE
            and self.stream.is_open
        )

    def _gather(self) -> Write:
        """Records that make one batch."""
        records: list[Record] = []
        owners: list[Done] = []
        size, waiting = 0, self._waiting
        while waiting and len(records) < batch.MAX_RECORDS:
            more = waiting[0][0].size
            if records and size + more > batch.MAX_SIZE:
                break
            size += more
            record, done = waiting.popleft()
            records.append(record)
            owners.append(done)
        return Write(records, owners, size)

    # --- to Redis: the short way, by callbacks over the open connection …

    def _send(self, write: Write) -> bool:
        """Send a write on its way; False if it must go the long one."""
        try:
            write.pack()
        except Exception:
            return False  # there it is found out whose fault that is
        try:
            write.reach()
            self.stream.send(write.batches[0], self._patience(), partial(self._answered, write))
        except Exception as error:  # whatever it was: the callers must be told
            self._over(write, failed(error), is_ours=True)
        return True

    def _answered(self, write: Write, said: bool | WriteUnconfirmed | None) -> None:
        if said is None:
            self._start(self._append(write))
        elif isinstance(said, WriteUnconfirmed):
            self._over(write, said)
        else:
            try:
                self._appended(write.batches, said)
            except Exception as error:  # whatever it was: the callers must be told
                self._over(write, failed(error), is_ours=True)
            else:
                self._over(write, None)

    # --- … and the long way, for the first one, large ones, and after a refusal ---

    async def _append(self, write: Write) -> None:
        try:
            if not write.batches:
                await write.pack_somehow()
                write.reach()
            if write.batches:
                await self.append(write.batches, self._patience())
        except WriteUnconfirmed as error:
            self._over(write, error)
        except Exception as error:  # whatever it was: the callers must be told
            self._over(write, failed(error), is_ours=True)
        else:
            self._over(write, None)

    def _patience(self) -> float:
        """Seconds that Redis has to confirm a write."""
        return APPEND_TIMEOUT if self.spool_takes else APPEND_PATIENCE

    def _over(self, write: Write, refusal: WriteUnconfirmed | None, is_ours: bool = False) -> None:
        """A write has come to its end; whether it is our own fault that it was refused."""
        self._writes -= 1
        self._records -= write.count
        self._bytes -= write.size
        if self.times is not None:
            self.times.written(write, refusal is None)
        if refusal is not None and self.spool is not None and not is_ours:
            self.trip(refusal)
            self._unconfirmed.append(write)
            self._go_around()
        else:
            self._tell(write, refusal)
        if self._waiting and not self._looks:
            self._look()
        if self._next_end is not None and not self._next_end.done():
            self._next_end.set_result(None)

    def _tell(self, write: Write, refusal: WriteUnconfirmed | None) -> None:
        """Tell those whose calls are in a write what became of it."""
        if self.times is not None and refusal is None:
            self.times.safe(write)
        tell(write.owners, refusal)

    # --- to the spool ---

    async def _write_to_spool(self) -> None:
        """Keep what Redis did not confirm, and what waits while calls go around it; one write at a time."""
        while self._unconfirmed or (self._waiting and not self.uses_redis):
            writes = await self._gather_for_spool()
            refusal: WriteUnconfirmed | None = None
            try:
                writes[-1].reach()
                await self._spool([one for write in writes for one in write.batches])
            except WriteUnconfirmed as error:
                refusal = error
            except Exception as error:  # whatever it was: the callers must be told
                refusal = failed(error)
            for write in writes:
                self._tell(write, refusal)
        self._spooling = False
        self._write()

    async def _gather_for_spool(self) -> list[Write]:
        """As many as share one fsync, those first that Redis did not confirm."""
        writes: list[Write] = []
        size = 0
        while len(writes) < SPOOL_BATCHES and size < SPOOL_SIZE:
            if self._unconfirmed:
                writes.append(self._unconfirmed.popleft())
            elif self._waiting and not self.uses_redis:
                writes.append(self._gather())
                await writes[-1].pack_somehow()
            else:
                break
            size += sum(len(one.packed) for one in writes[-1].batches)
        return writes

    async def _spool(self, batches: Sequence[Batch]) -> None:
        """Put batches into the spool.

        Raises:
            WriteUnconfirmed: they are not certain to be there.
        """
        if self.spool is None:
            raise WriteUnconfirmed("The backlog uses as much of Redis as it may (INGEST_BUFFER_MAX).")
        if self.is_overdue:
            raise WriteUnconfirmed(
                f"{self.breaker.why} The spool's disk goes with this process (INGEST_SPOOL_DURABLE=no), and Redis "
                f"has not taken calls for {PASSING_SPOOL:.0f} s.".strip()
            )
        try:
            if batches:
                await self.spool.keep(batches)
        except SpoolFailed as error:
            raise WriteUnconfirmed(f"{self.breaker.why} {error}".strip()) from None

    async def append(self, batches: Sequence[Batch], seconds: float) -> None:
        """Put batches into the stream and wake a worker for them.

        Raises:
            WriteUnconfirmed: it is not certain that they are there.
        """
        self._appended(batches, await self.stream.append(batches, seconds))

    def _appended(self, batches: Sequence[Batch], woken: bool) -> None:
        """Batches are in the stream."""
        if failpoints.armed:
            failpoints.reach("redis-written")
        self.batches += len(batches)
        self.events += sum(one.events for one in batches)
        if woken:
            self._start(asyncio.to_thread(self._enqueue))

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
