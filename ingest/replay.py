"""From the spool back into Redis, and the watch over both: one task of each endpoint process.

While the breaker is open, Redis is tried with a small write, less and less often. Once it serves, live calls go
to Redis again, and what the spool holds follows beside them, oldest first: a portion, then a pause of at least the
time that the portion took, so that live calls have Redis for themselves half of the time. A portion is forgotten
when Redis has confirmed it. What the spool keeps because the backlog is too large waits until there is less of it.
"""

import asyncio
import logging
import time

from ingest import failpoints
from ingest.buffer import APPEND_PATIENCE, APPEND_TIMEOUT, Appender, Memory
from ingest.errors import BufferFull
from ingest.spool import Portion, Spool

log = logging.getLogger(__name__)

#: Bytes, and batches, that are replayed in one write.
PORTION_BYTES = 256 * 1024
PORTION_BATCHES = 128
#: Seconds between two portions at the least: with the above, at most 12 MB or 6,400 batches per second.
PAUSE = 0.02
#: Seconds between two looks when there is nothing to replay.
LOOK_EVERY = 0.1
#: Seconds between two looks at the folder and at the memory of Redis.
TIDY_EVERY = 1.0
#: How often a single batch is refused by a Redis that takes other writes before it has to wait for them.
ATTEMPTS = 3
#: What of Redis' memory limit the backlog may use by default; and what may be in use for whatever purpose, because
#: a full Redis refuses RQ and whoever else uses it.
BACKLOG_SHARE = 0.6
USED_SHARE = 0.85
#: The backlog must have shrunk to this part of its limit before calls go to Redis again.
RELIEF = 0.9


class Replayer:
    """What an endpoint process does about its spool, and about a Redis that fills up."""

    def __init__(self, appender: Appender, buffer_max: int | None = None) -> None:
        """`buffer_max` is in bytes of Redis memory that the backlog may use; None: derived from its limit."""
        self._appender = appender
        self._spool = appender.spool
        self._buffer_max = buffer_max
        self._tidied_at = 0.0
        self._refused = 0

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            pause = LOOK_EVERY
            try:
                pause = await self._round()
            except Exception:  # the next round must come, whatever is wrong with this one
                log.exception("the spool could not be looked after")
            await asyncio.sleep(pause)

    async def _round(self) -> float:
        """One step; returns the seconds to wait after it."""
        breaker = self._appender.breaker
        if breaker.is_due:
            await self._try_redis()
        if time.monotonic() - self._tidied_at >= TIDY_EVERY:
            await self._look_around()
            self._tidied_at = time.monotonic()
        if self._spool is not None and self._appender.uses_redis:
            began = time.monotonic()
            if await self._replay(self._spool):
                return max(PAUSE, time.monotonic() - began)
        return LOOK_EVERY

    async def _try_redis(self) -> None:
        appender = self._appender
        appender.breaker.attempt()
        try:
            await appender.stream.probe(APPEND_TIMEOUT)
        except BufferFull as error:
            appender.breaker.trip(error)
            return
        seconds = appender.breaker.close()
        log.info("Redis serves again after %.1f s; %d events wait in the spool", seconds, self._events())

    async def _look_around(self) -> None:
        if self._spool is not None:
            await self._spool.tidy()
        if not self._appender.breaker.is_closed:
            return
        try:
            memory = await self._appender.stream.memory(APPEND_PATIENCE)
        except BufferFull as error:
            log.debug("how full Redis is cannot be found out: %s", error)
            return
        was_over = self._appender.is_over
        self._appender.is_over = is_over(memory, self._buffer_max, was_over)
        if self._appender.is_over and not was_over:
            log.warning(
                "the backlog uses %d bytes of Redis, which has %d of %s in use: calls go to the spool",
                memory.stream, memory.used, memory.limit or "any number",
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
            await self._appender.append(portion.batches, APPEND_TIMEOUT)
        except BufferFull as error:
            await self._not_replayed(spool, portion, error)
            return True
        self._refused = 0
        if failpoints.armed:
            failpoints.reach("replay-appended")
        await spool.confirm(portion)
        if failpoints.armed:
            failpoints.reach("replay-confirmed")
        return True

    async def _not_replayed(self, spool: Spool, portion: Portion, error: BufferFull) -> None:
        self._appender.trip(error)
        self._refused += 1
        if self._refused <= ATTEMPTS:
            spool.give_back()
            return
        # In between, Redis took other writes: they are what closed the breaker.
        log.error("Redis does not take a batch of %d events, which has to wait: %s", portion.events, error)
        await spool.set_aside(portion)
        self._refused = 0

    def _events(self) -> int:
        return self._spool.events if self._spool else 0


def is_over(memory: Memory, buffer_max: int | None, was_over: bool) -> bool:
    """Whether calls should go to the spool although Redis would take them."""
    share = RELIEF if was_over else 1.0
    limit = buffer_max if buffer_max is not None else memory.limit * BACKLOG_SHARE
    if limit and memory.stream > share * limit:
        return True
    return bool(memory.limit and memory.refuses and memory.used > share * USED_SHARE * memory.limit)
