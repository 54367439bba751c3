"""The pile between the endpoint and the workers: the only file that knows a Redis key.

Keys of partition p; the braces keep them in one slot of a Redis Cluster:

    ingest:{p}:stream      stream of packed batches, each in the field `b`; read by the consumer group `drain`
    ingest:{p}:dead        stream of batches that could not be unpacked: fields `b` and `reason`
    ingest:{p}:wake        string, there while a wake-up is on its way to the workers
    ingest:{p}:unverified  string, how many calls in the store wait for their signer's key; absent when none do
    ingest:{p}:verify      string, there while the last attempt to verify those is young
    ingest:{p}:counts      hash: events ever `accepted`, `drained`, and `doubles` (in the store already)
    ingest:{p}:reports     hash: what each live process says of itself, as JSON with the time `at`
    ingest:{p}:daily       string, there while the last daily job is less than a day old
    ingest:{p}:reconcile:D string, there once a job was put on the queue on the day D, and it need not be again
    ingest:{p}:handoffs    string, there while handlers have something to do, now or later
    ingest:{p}:hand-on     string, there while the last job that hands on is young
    ingest:{p}:handler:H   string, there while a wake-up for the handler H is on its way
    ingest:{p}:bucket:H    hash: the token bucket of a handler's rate, see `workers.pace`
    ingest:{p}:breaker:H   hash: the circuit breaker of a handler's target, see `workers.pace`
    ingest:{p}:probe       string, written to find out whether Redis takes writes again
    ingest:{p}:stored      channel on which drains tell the delivery ids of what they have stored

The stream is the truth. RQ jobs only say "there is something to drain", so one lost, doubled or killed costs
nothing. `Appender` is the endpoint's side (asynchronous), `Backlog` the workers' (blocking).
"""

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, NamedTuple, cast
from uuid import uuid4

import orjson
import redis
import redis.asyncio
from redis.typing import EncodableT
from rq import Queue
from rq.serializers import JSONSerializer

from ingest import batch, failpoints
from ingest.batch import DELIVERY_ID_SIZE, Batch, Record
from ingest.breaker import Breaker
from ingest.errors import BufferFull, SpoolFailed
from ingest.spool import Spool

log = logging.getLogger(__name__)

GROUP = "drain"
#: The RQ queue of drain jobs; workers of that name work it.
EVENTS_QUEUE = "events"
#: The job, by name: the receiving side never imports the processing side.
DRAIN_JOB = "workers.drain.drain_job"
#: The job that asks again for the keys of calls that could not be verified when they came in.
VERIFY_JOB = "workers.unverified.verify_job"
#: Seconds between two such jobs.
VERIFY_EVERY = 30
#: The job that deletes what is too old and makes room for what is to come.
DAILY_JOB = "workers.daily.daily_job"
#: The job that compares yesterday's log files with the store.
RECONCILE_JOB = "workers.reconcile_job.reconcile_job"
#: Seconds that it may take: millions of lines have to be downloaded.
RECONCILE_TIMEOUT = 6 * 3600
#: The RQ queue of handlers' jobs, and the jobs: hand on what was stored, work for one handler.
HANDLERS_QUEUE = "handlers"
HAND_ON_JOB = "workers.handling.hand_on_job"
HANDLE_JOB = "workers.handling.handle_job"
#: Seconds between two jobs that look for work that was left lying, and after which a wake-up counts as lost.
HAND_ON_EVERY = 15
#: Seconds between two such jobs, and after one that failed.
DAILY_EVERY = 86_400
DAILY_RETRY = 600
#: Seconds that a job may take: its slice of 10 and one slow database commit.
JOB_TIMEOUT = 60
#: Milliseconds without a sign of life after which a batch is taken from the drain that claimed it. A batch that
#: two drains work on at once is stored once all the same, so this only weighs haste against double work.
RECLAIM_IDLE_MS = 15_000
#: Seconds after which a wake-up counts as lost (its sender died before it reached RQ).
WAKE_TTL = 10
#: Seconds without a new report after which a process counts as gone.
REPORT_TTL = 15
#: Milliseconds after which a consumer that holds nothing is forgotten.
CONSUMER_TTL_MS = 60_000

#: Seconds that Redis may take to confirm a write before it goes to the spool. Above what an fsync takes on a bad
#: day; well below what a sender waits.
APPEND_TIMEOUT = 0.5
#: The same where there is no spool that could take it instead.
APPEND_PATIENCE = 5.0
#: Batches that share one fsync of the spool at the most.
SPOOL_BATCHES = 16

#: How the ids of drain jobs begin: other jobs on their queue do not drain.
_DRAIN = "drain"

# Appends batches, counts their events, and says whether a worker is to be woken. A script, because its one answer
# costs redis-py a third less than the five of a transaction; and EVAL, because a server that has forgotten scripts
# after a restart needs no second attempt then.
_APPEND = """
for i = 3, #ARGV do redis.call('XADD', KEYS[1], '*', 'b', ARGV[i]) end
redis.call('HINCRBY', KEYS[2], 'accepted', ARGV[1])
return redis.call('SET', KEYS[3], 1, 'NX', 'EX', ARGV[2]) and 1 or 0
"""

# Forgets consumers that hold nothing and were silent for ARGV[2] ms. One script, because a consumer that claims
# between our look and our deletion would lose its claims for good.
_FORGET_CONSUMERS = """
local forgotten = 0
for _, pairs in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local consumer = {}
  for i = 1, #pairs, 2 do consumer[pairs[i]] = pairs[i + 1] end
  if consumer.pending == 0 and (consumer.idle >= tonumber(ARGV[2]) or consumer.name == ARGV[3]) then
    forgotten = forgotten + 1
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], consumer.name)
  end
end
return forgotten
"""

# The counts may drift apart when a process dies between an acknowledgement and its count: an empty stream says
# that everything accepted was drained.
_SETTLE_COUNTS = """
if redis.call('XLEN', KEYS[1]) == 0 then
  local accepted = redis.call('HGET', KEYS[2], 'accepted')
  if accepted then redis.call('HSET', KEYS[2], 'drained', accepted) end
end
"""


class Keys:
    """The names of one partition's keys."""

    def __init__(self, partition: int = 0) -> None:
        prefix = f"ingest:{{{partition}}}:"
        self.stream = prefix + "stream"
        self.dead = prefix + "dead"
        self.wake = prefix + "wake"
        self.unverified = prefix + "unverified"
        self.verify = prefix + "verify"
        self.counts = prefix + "counts"
        self.reports = prefix + "reports"
        self.daily = prefix + "daily"
        self.probe = prefix + "probe"
        self.reconcile = prefix + "reconcile"
        self.stored = prefix + "stored"
        self.handoffs = prefix + "handoffs"
        self.hand_on = prefix + "hand-on"
        self._prefix = prefix

    def handler(self, name: str) -> str:
        """The wake-up of a handler."""
        return f"{self._prefix}handler:{name}"

    def bucket(self, name: str) -> str:
        """The token bucket of a handler."""
        return f"{self._prefix}bucket:{name}"

    def breaker(self, name: str) -> str:
        """The circuit breaker of a handler."""
        return f"{self._prefix}breaker:{name}"


class Entry(NamedTuple):
    """One stream entry as claimed: its id in the stream and the packed batch."""

    id: bytes
    packed: bytes


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
            BufferFull: Redis refused, is away, or did not answer within `seconds`. It may have them all the same.
        """
        keys = self._keys
        packed = [batch.packed for batch in batches]
        events = sum(batch.events for batch in batches)
        async with _within(seconds):
            return bool(
                await self._client.eval(_APPEND, 3, keys.stream, keys.counts, keys.wake, events, WAKE_TTL, *packed)
            )

    async def probe(self, seconds: float) -> None:
        """See whether Redis takes writes: a full one, or a replica, answers a PING all the same.

        Raises:
            BufferFull: it does not, or not within `seconds`.
        """
        async with _within(seconds):
            await self._client.set(self._keys.probe, 1, ex=WAKE_TTL)

    async def ping(self, seconds: float) -> None:
        """See whether Redis answers.

        Raises:
            BufferFull: it does not, or not within `seconds`.
        """
        async with _within(seconds):
            await self._client.ping()

    async def condition(self, seconds: float) -> Condition:
        """How it is.

        Raises:
            BufferFull: it does not say, or not within `seconds`.
        """
        async with _within(seconds):
            return Condition(await self._client.memory_usage(self._keys.stream) or 0, await self._client.info())


@asynccontextmanager
async def _within(seconds: float) -> AsyncIterator[None]:
    """Whatever goes wrong with Redis in this block, and whatever takes too long, is a `BufferFull`.

    A command that is broken off leaves an answer behind that belongs to nobody: redis-py closes its connection.
    """
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise BufferFull(f"Redis did not answer within {seconds:g} s.") from None
    except (redis.RedisError, OSError) as error:
        raise BufferFull(f"Redis did not confirm the write ({type(error).__name__}: {error}).") from None


#: What a record's owner is called with: nothing when it is safe, else the reason why not.
Done = Callable[[BufferFull | None], None]


class Appender:
    """Group commit: while one write is on its way, arriving records gather for the next.

    No timer: an idle endpoint writes at once, a busy one writes big batches by itself. Every record hears of the
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
                batches, callbacks = self._gather()
                refusal = None
                try:
                    if batches:
                        await self._keep(batches)
                except BufferFull as error:
                    refusal = error
                except Exception as error:  # whatever it was: the callers must hear of it
                    log.exception("a batch could not be written")
                    refusal = BufferFull(f"A batch could not be written ({type(error).__name__}).")
                for done in callbacks:
                    _tell(done, refusal)
        finally:
            self._writer = None

    def _gather(self) -> tuple[list[Batch], list[Done]]:
        """What waits, packed: one batch for Redis, or as many as share one fsync of the spool."""
        batches: list[Batch] = []
        callbacks: list[Done] = []
        while self._waiting and len(batches) < (1 if self.uses_redis else SPOOL_BATCHES):
            records, owners = self._gather_one()
            try:
                batches.append(Batch(batch.pack(records), len(records)))
                callbacks += owners
            except Exception as error:
                log.exception("a batch could not be packed")
                for done in owners:
                    _tell(done, BufferFull(f"A batch could not be packed ({type(error).__name__})."))
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
        """Have batches in Redis or in the spool.

        Raises:
            BufferFull: neither is certain.
        """
        if failpoints.armed:
            failpoints.reach("batch-gathered")
        spool = self.spool
        if self.uses_redis:
            bounded = spool is not None and spool.takes
            try:
                await self.append(batches, APPEND_TIMEOUT if bounded else APPEND_PATIENCE)
                return
            except BufferFull as error:
                if spool is None:
                    raise
                self.trip(error)
        if spool is None:
            raise BufferFull("The backlog uses as much of Redis as it may (INGEST_BUFFER_MAX).")
        try:
            await spool.keep(batches)
        except SpoolFailed as error:
            raise BufferFull(f"{self.breaker.why} {error}".strip()) from None

    async def append(self, batches: Sequence[Batch], seconds: float) -> None:
        """Put batches into the stream and see that somebody works on them.

        Raises:
            BufferFull: it is not certain that they are there.
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

    def trip(self, error: BufferFull) -> None:
        """Redis failed: have calls go around it until it serves again."""
        if self.breaker.is_closed:
            log.warning("calls go to the spool: %s", error)
        self.breaker.trip(error)

    def _enqueue(self) -> None:
        try:
            self._wake()
        except redis.RedisError as error:
            # The batch is safe; the sweep wakes the workers once the wake key has expired.
            log.warning("could not wake the workers: %s", error)


def _tell(done: Done, refusal: BufferFull | None) -> None:
    try:
        done(refusal)
    except Exception:  # one owner's fault must not keep the others waiting
        log.exception("an answer could not be given")


class Backlog:
    """The workers' side of the stream: claim, acknowledge, take over from the dead, wake.

    `name` is this process's name as a consumer of the group and in reports; no other process may have it.
    """

    def __init__(self, client: redis.Redis, name: str = "nobody", partition: int = 0) -> None:
        self._client = client
        self._consumer = name
        self._keys = Keys(partition)
        self._queue = Queue(EVENTS_QUEUE, connection=client, serializer=JSONSerializer)
        self._handlers = Queue(HANDLERS_QUEUE, connection=client, serializer=JSONSerializer)
        self._reclaimed_to = b"0-0"

    def prepare(self) -> None:
        """Make the stream and its group while there is room for them: a Redis that is full refuses to."""
        try:
            # From the very first entry: with `$` everything that came in before would be skipped.
            self._client.xgroup_create(self._keys.stream, GROUP, id="0", mkstream=True)
        except redis.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                log.warning("Redis does not let us prepare: %s", error)

    # --- working through it ---

    def claim(self, count: int, wait_ms: int = 0) -> list[Entry]:
        """Claim up to `count` batches that nobody has; waits at most `wait_ms` for the first one."""
        answer = self._in_group(
            lambda: self._client.xreadgroup(
                GROUP, self._consumer, {self._keys.stream: ">"}, count=count, block=wait_ms or None
            )
        )
        return _entries(_messages(answer))

    def reclaim(self, count: int) -> list[Entry]:
        """Claim up to `count` batches whose drain has given no sign of life for `RECLAIM_IDLE_MS`.

        Called again and again it goes once through everything that is pending, then returns nothing.
        """
        while self._reclaimed_to:
            answer = self._in_group(
                lambda: self._client.xautoclaim(
                    self._keys.stream, GROUP, self._consumer, RECLAIM_IDLE_MS, self._reclaimed_to, count=count
                )
            )
            cursor, messages = cast(Any, answer)[:2]
            self._reclaimed_to = b"" if cursor == b"0-0" else cursor
            # Redis before 7 also hands over entries that were deleted while pending: without fields.
            if deleted := [id for id, fields in messages if fields is None]:
                self._client.xack(self._keys.stream, GROUP, *deleted)
            if entries := _entries([message for message in messages if message[1] is not None]):
                return entries
        return []

    def ack(self, ids: Sequence[bytes], events: int, doubles: int = 0) -> None:
        """Take finished batches out of the stream; `events` and `doubles` go to the counts."""
        with self._client.pipeline(transaction=True) as transaction:
            transaction.xack(self._keys.stream, GROUP, *ids)
            transaction.xdel(self._keys.stream, *ids)
            transaction.execute()
        try:
            # Apart from the transaction: Redis at maxmemory refuses to count but must not refuse to forget.
            with self._client.pipeline(transaction=False) as pipeline:
                pipeline.hincrby(self._keys.counts, "drained", events)
                if doubles:
                    pipeline.hincrby(self._keys.counts, "doubles", doubles)
                pipeline.execute()
        except redis.ResponseError as error:
            log.warning("could not count %d drained events: %s", events, error)

    def bury(self, entry: Entry, reason: str) -> None:
        """Move a batch that cannot be unpacked, raw, to the dead stream."""
        with self._client.pipeline(transaction=True) as transaction:
            fields: dict[EncodableT, EncodableT] = {"b": entry.packed, "reason": reason}
            transaction.xadd(self._keys.dead, fields)
            transaction.xack(self._keys.stream, GROUP, entry.id)
            transaction.xdel(self._keys.stream, entry.id)
            transaction.execute()

    def leave(self) -> None:
        """Forget this consumer, and others that hold nothing and were silent for long; settle the counts."""
        try:
            self._in_group(
                lambda: self._client.eval(
                    _FORGET_CONSUMERS, 1, self._keys.stream, GROUP, CONSUMER_TTL_MS, self._consumer
                )
            )
            self._client.eval(_SETTLE_COUNTS, 2, self._keys.stream, self._keys.counts)
            self.retract()
        except redis.ResponseError as error:
            log.debug("could not tidy up: %s", error)

    def _in_group(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except redis.ResponseError as error:
            if "NOGROUP" not in str(error) and "no such key" not in str(error).lower():
                raise
        self.prepare()
        return call()

    # --- waking workers ---

    def enqueue_drain(self) -> None:
        """Put one drain job on RQ's queue."""
        self._enqueue(DRAIN_JOB, _DRAIN)

    def _enqueue(self, job: str, description: str, timeout: int = JOB_TIMEOUT) -> None:
        job_id = f"{description}-{uuid4().hex}"
        self._queue.enqueue(
            job, job_id=job_id, job_timeout=timeout, result_ttl=0, failure_ttl=86_400, description=description
        )

    def clear_wake(self) -> None:
        """Let the next batch wake a worker again; to be called before the first claim."""
        self._client.delete(self._keys.wake)

    def wake_another(self) -> bool:
        """Put a drain job on the queue unless one is waiting there already."""
        if any(job_id.startswith(_DRAIN) for job_id in self._queue.job_ids):
            return False
        self.enqueue_drain()
        return True

    def note_unverified(self, count: int) -> None:
        """Let the sweeps know whether calls wait to be verified."""
        if count:
            self._client.set(self._keys.unverified, count)
        else:
            self._client.delete(self._keys.unverified)

    def verify_again(self) -> bool:
        """Put a verify job on the queue if calls wait for one and the last was a while ago."""
        if not self._client.get(self._keys.unverified):
            return False
        if not self._client.set(self._keys.verify, 1, nx=True, ex=VERIFY_EVERY):
            return False
        self._enqueue(VERIFY_JOB, "verify")
        return True

    # --- waking handlers ---

    def note_handoffs(self, some: bool) -> None:
        """Let the sweeps know whether handlers have something to do, now or later."""
        if some:
            self._client.set(self._keys.handoffs, 1)
        else:
            self._client.delete(self._keys.handoffs)

    def hand_on(self) -> None:
        """Put a job on the queue that hands on what was stored, unless one waits there already."""
        if self._client.set(self._keys.hand_on, 1, nx=True, ex=HAND_ON_EVERY):
            self._enqueue_handlers(HAND_ON_JOB)

    def clear_hand_on(self) -> None:
        """Let `hand_on` enqueue again; to be called before the job's first look."""
        self._client.delete(self._keys.hand_on)

    def hand_on_again(self) -> bool:
        """Look for work that was left lying, if there may be some."""
        if not self._client.exists(self._keys.handoffs):
            return False
        self.hand_on()
        return True

    def hand_on_in(self, seconds: float) -> None:
        """The same some time from now, by RQ's scheduler; not more often than once a second."""
        due = int(time.time() + seconds + 1)
        if self._client.set(f"{self._keys.hand_on}:{due}", 1, nx=True, ex=int(seconds) + 60):
            self._handlers.enqueue_in(
                timedelta(seconds=seconds), HAND_ON_JOB, job_timeout=JOB_TIMEOUT, result_ttl=0, failure_ttl=86_400
            )

    def wake_handler(self, name: str, timeout: float = 0.0) -> None:
        """Put a job for a handler on the queue, unless one is on its way; a call may take `timeout` seconds."""
        if self._client.set(self._keys.handler(name), 1, nx=True, ex=HAND_ON_EVERY):
            self._enqueue_handlers(HANDLE_JOB, name, timeout=timeout)

    def clear_handler(self, name: str) -> None:
        """Let `wake_handler` enqueue again; to be called before the job's first claim."""
        self._client.delete(self._keys.handler(name))

    def others_wait(self) -> bool:
        """Whether jobs of other handlers wait for a worker."""
        return bool(len(self._handlers))

    def _enqueue_handlers(self, job: str, *arguments: str, timeout: float = 0.0) -> None:
        self._handlers.enqueue(
            job, *arguments, job_timeout=JOB_TIMEOUT + math.ceil(timeout), result_ttl=0, failure_ttl=86_400,
            description=" ".join([job.rpartition(".")[2], *arguments]),
        )  # fmt: skip

    def daily(self) -> bool:
        """Put the daily job on the queue, once a day."""
        if not self._client.set(self._keys.daily, 1, nx=True, ex=DAILY_EVERY):
            return False
        self._enqueue(DAILY_JOB, "daily")
        return True

    def daily_failed(self) -> None:
        """Let the daily job be tried again soon."""
        self._client.expire(self._keys.daily, DAILY_RETRY)

    def reconcile(self, today: str) -> bool:
        """Put the job that reconciles on the queue, unless that was done today."""
        if not self._client.set(f"{self._keys.reconcile}:{today}", 1, nx=True, ex=2 * DAILY_EVERY):
            return False
        self._enqueue(RECONCILE_JOB, "reconcile", RECONCILE_TIMEOUT)
        return True

    def reconcile_again(self, today: str, seconds: int) -> None:
        """Let the job that reconciles be put on the queue once more, that many seconds from now."""
        self._client.expire(f"{self._keys.reconcile}:{today}", seconds)

    def sweep(self) -> bool:
        """Wake a worker when there are batches and nobody is at work on them or about to be."""
        if not self._client.xlen(self._keys.stream) or self.drains_at_work():
            return False
        return bool(self._client.set(self._keys.wake, 1, nx=True, ex=WAKE_TTL)) and self.wake_another()

    # --- telling what was stored ---

    def announce(self, delivery_ids: Sequence[bytes]) -> None:
        """Tell whoever follows that these events are in the store."""
        if self._client.pubsub_numsub(self._keys.stored)[0][1]:
            self._client.publish(self._keys.stored, b"".join(delivery_ids))

    def announced(self, wait: float) -> Iterator[list[bytes]]:
        """Delivery ids of events as they are stored; an empty list at first, and after `wait` seconds without any.

        Events that are stored twice are told twice.
        """
        with self._client.pubsub(ignore_subscribe_messages=True) as channel:  # type: ignore[no-untyped-call]
            channel.subscribe(self._keys.stored)
            channel.get_message(timeout=wait)  # that we are subscribed
            yield []
            while True:
                message = channel.get_message(timeout=wait)
                ids = message["data"] if message else b""
                yield [ids[at : at + DELIVERY_ID_SIZE] for at in range(0, len(ids), DELIVERY_ID_SIZE)]

    # --- looking at it ---

    def batches(self) -> int:
        """Batches in the stream, whether claimed or not."""
        return self._client.xlen(self._keys.stream)

    def pending(self) -> int:
        """Batches that a drain has claimed and not yet acknowledged."""
        answer = self._in_group(lambda: self._client.xpending(self._keys.stream, GROUP))
        return cast(int, answer["pending"])

    def drains_at_work(self) -> int:
        """Drains that gave a sign of life within the last seconds."""
        consumers = self._in_group(lambda: self._client.xinfo_consumers(self._keys.stream, GROUP))
        return sum(1 for consumer in consumers if consumer["idle"] < WAKE_TTL * 1000)

    def dead_batches(self) -> int:
        """Batches in the dead stream."""
        return self._client.xlen(self._keys.dead)

    def oldest_age(self) -> float | None:
        """Seconds since the oldest batch came in; None when there is none."""
        first = cast(Any, self._client.xrange(self._keys.stream, count=1))
        if not first:
            return None
        seconds, micros = cast(Any, self._client.time())
        came_in = int(first[0][0].partition(b"-")[0]) / 1000
        return float(max(0.0, seconds + micros / 1e6 - came_in))

    def counts(self) -> dict[str, int]:
        """Events `accepted` and `drained` since the counts began, and the `doubles` among them."""
        answer = cast(dict[bytes, bytes], self._client.hgetall(self._keys.counts))
        return {name.decode(): int(value) for name, value in answer.items()}

    def report(self, **said: object) -> None:
        """Leave word of this process, for `status`."""
        self._client.hset(self._keys.reports, self._consumer, orjson.dumps({"at": time.time(), **said}))

    def retract(self) -> None:
        """Remove what `report` left."""
        self._client.hdel(self._keys.reports, self._consumer)

    def reports(self) -> dict[str, dict[str, Any]]:
        """What the live processes say of themselves; forgets those that have been silent."""
        answer = cast(dict[bytes, bytes], self._client.hgetall(self._keys.reports))
        said = {name.decode(): cast(dict[str, Any], orjson.loads(text)) for name, text in answer.items()}
        gone = [name for name, report in said.items() if time.time() - report["at"] > REPORT_TTL]
        if gone:
            self._client.hdel(self._keys.reports, *gone)
        return {name: report for name, report in said.items() if name not in gone}


def _messages(answer: Any) -> list[tuple[bytes, dict[bytes, bytes]]]:
    # RESP2 answers with a list of (stream, messages), RESP3 with a mapping of stream to [messages].
    if not answer:
        return []
    if isinstance(answer, dict):
        return [message for messages in answer.values() for chunk in messages for message in chunk]
    return [message for _, messages in answer for message in messages]


def _entries(messages: list[tuple[bytes, dict[bytes, bytes]]]) -> list[Entry]:
    return [Entry(id, fields.get(b"b", b"")) for id, fields in messages]
