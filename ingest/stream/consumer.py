"""The workers' side of the stream: claim batches, acknowledge them, take over those of dead drains."""

import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import redis
from redis.typing import EncodableT

from ingest.stream.clock import redis_time
from ingest.stream.keys import WAKE_TTL, Keys

log = logging.getLogger(__name__)

#: The consumer group of all drains.
GROUP = "drain"
#: Milliseconds without a sign of life after which a batch is taken from the drain that claimed it. A batch that
#: two drains work on at once is still stored once, so this only weighs speed against double work.
RECLAIM_IDLE_MS = 15_000
#: Milliseconds of silence after which a consumer that holds nothing is removed from the group.
CONSUMER_TTL_MS = 60_000
#: Batches of one consumer that are looked at: many times what one claims.
MANY = 10_000

# Removes the consumer ARGV[3], and those that were silent for ARGV[2] ms, from the group ARGV[1], unless they hold
# batches. One script: a consumer that claims between our look and our deletion would lose its claims for good.
_REMOVE_CONSUMERS = """
local removed = 0
for _, pairs in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local consumer = {}
  for i = 1, #pairs, 2 do consumer[pairs[i]] = pairs[i + 1] end
  if consumer.pending == 0 and (consumer.idle >= tonumber(ARGV[2]) or consumer.name == ARGV[3]) then
    removed = removed + 1
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], consumer.name)
  end
end
return removed
"""

# The counts may drift apart when a process dies between an acknowledgement and its count. An empty stream
# (KEYS[1]) proves that everything accepted was drained, so the counts (KEYS[2]) are made to agree.
_SETTLE_COUNTS = """
if redis.call('XLEN', KEYS[1]) == 0 then
  local accepted = redis.call('HGET', KEYS[2], 'accepted')
  if accepted then redis.call('HSET', KEYS[2], 'drained', accepted) end
end
"""


class Entry(NamedTuple):
    """One stream entry as claimed: its id in the stream, the packed batch, and which process wrote it."""

    id: bytes
    packed: bytes
    #: Empty if that is not known: releases through 0.2 did not say it.
    endpoint: bytes = b""


class Pulse(NamedTuple):
    """How the stream stands at a moment."""

    #: Unix time in seconds, by the server's clock.
    at: float
    #: Events ever written to it, and ever drained.
    accepted: int
    drained: int
    #: Events in it.
    backlog: int
    #: Seconds since the oldest batch in it was written; 0 if it is empty.
    age: float


class Consumer:
    """One consumer of the stream's group.

    `name` must be unique among all processes that claim; who only looks at the stream, and never claims, has none.
    """

    def __init__(self, client: redis.Redis, name: str | None = None, partition: int = 0) -> None:
        self._client = client
        self._keys = Keys(partition)
        self._name_if_any = name
        self._reclaimed_to = b"0-0"

    @property
    def _name(self) -> str:
        if self._name_if_any is None:
            raise RuntimeError("a consumer without a name cannot claim")
        return self._name_if_any

    def prepare(self) -> None:
        """Create the stream and its group while there is room for them: a full Redis would refuse to."""
        try:
            # From the very first entry: `$` would skip everything that came in before.
            self._client.xgroup_create(self._keys.stream, GROUP, id="0", mkstream=True)
        except redis.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                log.warning("Redis refuses to create the consumer group: %s", error)

    # --- waking ---

    def clear_wake(self) -> None:
        """Let the next batch wake a worker again; to be called before the first claim."""
        self._client.delete(self._keys.wake)

    def wants_drain(self) -> bool:
        """Whether a drain is to be woken: there are batches, and none is at work on them or on its way."""
        if not self.batches() or self.drains_at_work():
            return False
        return bool(self._client.set(self._keys.wake, 1, nx=True, ex=WAKE_TTL))

    # --- working through it ---

    def claim(self, count: int, wait_ms: int = 0) -> list[Entry]:
        """Claim up to `count` batches that no one has claimed; wait at most `wait_ms` for the first one."""
        answer = self._in_group(
            lambda: self._client.xreadgroup(
                GROUP, self._name, {self._keys.stream: ">"}, count=count, block=wait_ms or None
            )
        )
        return _entries(_messages(answer))

    def reclaim(self, count: int) -> list[Entry]:
        """Claim up to `count` batches whose drain has given no sign of life for `RECLAIM_IDLE_MS`.

        Repeated calls go once through everything that is pending, then return nothing.
        """
        while self._reclaimed_to:
            answer = self._in_group(
                lambda: self._client.xautoclaim(
                    self._keys.stream, GROUP, self._name, RECLAIM_IDLE_MS, self._reclaimed_to, count=count
                )
            )
            cursor, messages = cast(Any, answer)[:2]
            self._reclaimed_to = b"" if cursor == b"0-0" else cursor
            # Redis before 7 also returns entries that were deleted while pending: without fields.
            if deleted := [id for id, fields in messages if fields is None]:
                self._client.xack(self._keys.stream, GROUP, *deleted)
            if entries := _entries([message for message in messages if message[1] is not None]):
                return entries
        return []

    def ack(self, ids: Sequence[bytes], events: int, doubles: int = 0) -> None:
        """Remove finished batches from the stream, and add `events` and `doubles` to the counts."""
        with self._client.pipeline(transaction=True) as transaction:
            transaction.xack(self._keys.stream, GROUP, *ids)
            transaction.xdel(self._keys.stream, *ids)
            transaction.execute()
        try:
            # Not in the transaction: Redis at maxmemory refuses to count, but must not refuse to delete.
            with self._client.pipeline(transaction=False) as pipeline:
                pipeline.hincrby(self._keys.counts, "drained", events)
                if doubles:
                    pipeline.hincrby(self._keys.counts, "doubles", doubles)
                pipeline.execute()
        except redis.ResponseError as error:
            log.warning("could not count %d drained events: %s", events, error)

    def bury(self, entry: Entry, reason: str) -> None:
        """Move a batch that cannot be unpacked, as it is, to the dead stream."""
        with self._client.pipeline(transaction=True) as transaction:
            fields: dict[EncodableT, EncodableT] = {"b": entry.packed, "reason": reason}
            transaction.xadd(self._keys.dead, fields)
            transaction.xack(self._keys.stream, GROUP, entry.id)
            transaction.xdel(self._keys.stream, entry.id)
            transaction.execute()

    def expire_dead(self, before: int) -> int:
        """Delete batches that came to the dead stream before a Unix time; returns how many."""
        return self._client.xtrim(self._keys.dead, minid=f"{before * 1000}", approximate=False)

    def restart_idle(self) -> None:
        """Count from now on how long each consumer gives no sign of life, and each batch that it has claimed.

        A consumer that leaves meanwhile is back, and is removed once it has been silent.
        """
        for consumer in self._in_group(lambda: self._client.xinfo_consumers(self._keys.stream, GROUP)):
            name = consumer["name"]
            held = cast(
                Any, self._client.xpending_range(self._keys.stream, GROUP, "-", "+", MANY, consumername=name)
            )
            # Of no batch at all, too: it is the consumer's sign of life.
            ids = [each["message_id"] for each in held] or ["0-0"]
            self._client.xclaim(self._keys.stream, GROUP, name, 0, ids, justid=True)

    def leave(self) -> None:
        """Leave the group, remove consumers that hold nothing and have long been silent, and settle the counts."""
        try:
            self._in_group(
                lambda: self._client.eval(
                    _REMOVE_CONSUMERS, 1, self._keys.stream, GROUP, CONSUMER_TTL_MS, self._name
                )
            )
            self._client.eval(_SETTLE_COUNTS, 2, self._keys.stream, self._keys.counts)
        except redis.ResponseError as error:
            log.debug("could not leave the consumer group: %s", error)

    def _in_group(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except redis.ResponseError as error:
            if "NOGROUP" not in str(error) and "no such key" not in str(error).lower():
                raise
        self.prepare()
        return call()

    # --- looking at it ---

    def is_closed(self) -> bool:
        """Whether endpoints are to write no batch here."""
        return bool(self._client.exists(self._keys.closed))

    def close(self, is_closed: bool) -> None:
        """Have endpoints write no batch here from now on; or let them again."""
        if is_closed:
            self._client.set(self._keys.closed, 1)
        else:
            self._client.delete(self._keys.closed)

    def is_left_lying(self) -> bool:
        """Whether there are batches, and no drain is at work on them."""
        return bool(self.batches()) and not self.drains_at_work()

    def batches(self) -> int:
        """Batches in the stream, whether claimed or not."""
        return self._client.xlen(self._keys.stream)

    def backlog(self) -> int:
        """Events in the stream. It knows only its batches; how many events those hold is counted beside it."""
        batches, counts = self.batches(), self.counts()
        return max(batches, counts.get("accepted", 0) - counts.get("drained", 0)) if batches else 0

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
        came_in = int(first[0][0].partition(b"-")[0]) / 1000
        return max(0.0, redis_time(self._client) / 1e6 - came_in)

    def last_written_at(self) -> float | None:
        """Unix time in seconds at which the last batch was written, stored since or not; None if none was."""
        try:
            info = cast(Any, self._client.xinfo_stream(self._keys.stream))
        except redis.ResponseError:  # there is no stream yet
            return None
        return int(info["last-generated-id"].partition(b"-")[0]) / 1000 or None

    def pulse(self) -> Pulse:
        """How it goes at this moment, asked for in one go: cheap enough for every second."""
        with self._client.pipeline(transaction=False) as pipeline:
            pipeline.hmget(self._keys.counts, "accepted", "drained")
            pipeline.xlen(self._keys.stream)
            pipeline.xrange(self._keys.stream, count=1)
            pipeline.time()
            (accepted, drained), batches, first, (seconds, micros) = pipeline.execute()
        accepted, drained, now = int(accepted or 0), int(drained or 0), seconds + micros / 1e6
        came_in = int(first[0][0].partition(b"-")[0]) / 1000 if first else now
        backlog = max(batches, accepted - drained) if batches else 0
        return Pulse(now, accepted, drained, backlog, max(0.0, now - came_in))

    def counts(self) -> dict[str, int]:
        """Events `accepted` and `drained` since the counts began, and the `doubles` among them."""
        answer = cast(dict[bytes, bytes], self._client.hgetall(self._keys.counts))
        return {name.decode(): int(value) for name, value in answer.items()}


def _messages(answer: Any) -> list[tuple[bytes, dict[bytes, bytes]]]:
    # RESP2 answers with a list of (stream, messages), RESP3 with a mapping of stream to [messages].
    if not answer:
        return []
    if isinstance(answer, dict):
        return [message for messages in answer.values() for chunk in messages for message in chunk]
    return [message for _, messages in answer for message in messages]


def _entries(messages: list[tuple[bytes, dict[bytes, bytes]]]) -> list[Entry]:
    return [Entry(id, fields.get(b"b", b""), fields.get(b"e", b"")) for id, fields in messages]
