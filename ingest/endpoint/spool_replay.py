"""From the spool back into Redis, and the watch over both: one task of each endpoint process.

While the breaker is open, Redis is tried with a small write, less and less often. Once it serves, live calls go
to Redis again, and what the spool holds follows beside them, oldest first: a portion, then a pause of at least the
time that the portion took, so that live calls have Redis for themselves half of the time. A portion is forgotten
when Redis has confirmed it. What the spool keeps because the backlog is too large waits until there is less of it.
"""

import asyncio
import logging
import time

from ingest import failpoints, health
from ingest.endpoint.limits import CONDITION_INTERVAL, REPLAY_INTERVAL
from ingest.errors import WriteUnconfirmed
from ingest.spool import Portion, Spool
from ingest.stream.producer import APPEND_PATIENCE, APPEND_TIMEOUT, Condition, Producer

log = logging.getLogger(__name__)

#: Bytes, and batches, that are replayed in one write.
PORTION_BYTES = 256 * 1024
PORTION_BATCHES = 128
#: Seconds between two portions at least: with the above, at most 12 MB or 6,400 batches per second.
PAUSE = 0.02
#: How often a single batch is refused by a Redis that takes other writes before it has to wait for them.
ATTEMPTS = 3
#: What of Redis' memory limit the backlog may use by default; and what may be in use for whatever purpose, because
#: a full Redis refuses RQ and whoever else uses it.
BACKLOG_SHARE = 0.6
USED_SHARE = 0.85
#: The backlog must have shrunk to this part of its limit before calls go to Redis again.
RELIEF = 0.9


class SpoolReplayer:
    """What an endpoint process does about its spool, and about a Redis that fills up."""

    def __init__(self, producer: Producer, buffer_max: int | None = None) -> None:
        """`buffer_max` is in bytes of Redis memory that the backlog may use; None: derived from its limit."""
        self.producer = producer
        self._spool = producer.spool
        self._buffer_max = buffer_max
        #: What can cost calls, in sentences, as it was a moment ago.
        self.risks: list[str] = []
        self._tidied_at = 0.0
        self._refused = 0

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            pause = REPLAY_INTERVAL
            try:
                pause = await self._round()
            except Exception:  # the next round must come, whatever is wrong with this one
                log.exception("the spool could not be looked after")
            await asyncio.sleep(pause)

    async def _round(self) -> float:
        """One step; returns the seconds to wait after it."""
        breaker = self.producer.breaker
        if breaker.is_due:
            await self._try_redis()
        if time.monotonic() - self._tidied_at >= CONDITION_INTERVAL:
            await self._look_around()
            self._tidied_at = time.monotonic()
        if self._spool is not None and self.producer.uses_redis:
            began = time.monotonic()
            if await self._replay(self._spool):
                return max(PAUSE, time.monotonic() - began)
        return REPLAY_INTERVAL

    async def _try_redis(self) -> None:
        producer = self.producer
        producer.breaker.attempt()
        try:
            await producer.stream.probe(APPEND_TIMEOUT)
        except WriteUnconfirmed as error:
            producer.breaker.trip(error)
            return
        seconds = producer.breaker.close()
        log.info("Redis serves again after %.1f s; %d events wait in the spool", seconds, self._events())

    async def _look_around(self) -> None:
        risks: list[str] = []
        if (spool := self._spool) is not None:
            await spool.tidy()
            risks += await asyncio.to_thread(lambda: list(health.of_spool(spool.folder, spool.max_bytes)))
        if self.producer.breaker.is_closed:
            try:
                condition = await self.producer.stream.condition(APPEND_PATIENCE)
            except WriteUnconfirmed as error:
                log.debug("could not find out how full Redis is: %s", error)
            else:
                risks += health.of_redis(condition.info)
                self._judge(condition)
        self.risks = risks

    def _judge(self, condition: Condition) -> None:
        was_over = self.producer.is_over
        self.producer.is_over = is_over(condition, self._buffer_max, was_over)
        if self.producer.is_over and not was_over:
            log.warning(
                "calls go to the spool: the backlog uses %d bytes of Redis, which uses %d of the %s it may use",
                condition.stream, condition.info["used_memory"], condition.info["maxmemory"] or "unlimited",
            )  # fmt: skip

    async def _replay(self, spool: Spool) -> bool:
        """Send the next portion; False if there is none."""
        # One that was refused may hold a batch that Redis never takes: it is looked for one by one.
        portion = await spool.next(PORTION_BYTES, 1 if self._refused else PORTION_BATCHES)
        if portion is None:
            return False
        if failpoints.armed:
            failpoints.reach("replay-append")
        try:
            await self.producer.append(portion.batches, APPEND_TIMEOUT)
        except WriteUnconfirmed as error:
            await self._not_replayed(spool, portion, error)
            return True
        self._refused = 0
        if failpoints.armed:
            failpoints.reach("replay-appended")
        await spool.confirm(portion)
        if failpoints.armed:
            failpoints.reach("replay-confirmed")
        return True

    async def _not_replayed(self, spool: Spool, portion: Portion, error: WriteUnconfirmed) -> None:
        self.producer.trip(error)
        self._refused += 1
        if self._refused <= ATTEMPTS:
            return
        # In between, Redis took other writes: they are what closed the breaker.
        log.error("Redis does not take a batch of %d events, which has to wait: %s", portion.events, error)
        await spool.set_aside(portion)
        self._refused = 0

    def _events(self) -> int:
        return self._spool.events if self._spool else 0


def is_over(condition: Condition, buffer_max: int | None, was_over: bool) -> bool:
    """Whether calls should go to the spool although Redis would take them."""
    info, share = condition.info, RELIEF if was_over else 1.0
    may_use = info["maxmemory"]
    limit = may_use * BACKLOG_SHARE if buffer_max is None else buffer_max
    if limit and condition.stream > share * limit:
        return True
    # With another policy Redis throws away what others keep in it, and being full is how it should be.
    refuses = may_use and info["maxmemory_policy"] == "noeviction"
    return bool(refuses and info["used_memory"] > share * USED_SHARE * may_use)
