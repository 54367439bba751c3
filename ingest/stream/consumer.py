"""The workers' side of the pile: claim batches, acknowledge them, take over those of the dead, look at it all."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, cast

import orjson
import redis
from redis.typing import EncodableT

from ingest.batch import DELIVERY_ID_SIZE
from ingest.jobs import JobScheduler
from ingest.stream.keys import WAKE_TTL

log = logging.getLogger(__name__)

GROUP = "drain"
#: Milliseconds without a sign of life after which a batch is taken from the drain that claimed it. A batch that
#: two drains work on at once is stored once all the same, so this only weighs haste against double work.
RECLAIM_IDLE_MS = 15_000
#: Seconds without a new report after which a process counts as gone.
REPORT_TTL = 15
#: Milliseconds after which a consumer that holds nothing is forgotten.
CONSUMER_TTL_MS = 60_000

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


class Entry(NamedTuple):
    """One stream entry as claimed: its id in the stream and the packed batch."""

    id: bytes
    packed: bytes


class Consumer(JobScheduler):
    """The workers' side of the stream: claim, acknowledge, take over from the dead, wake.

    `name` is this process's name as a consumer of the group and in reports; no other process may have it.
    """

    def __init__(self, client: redis.Redis, name: str = "nobody", partition: int = 0) -> None:
        super().__init__(client, partition)
        self._consumer = name
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
