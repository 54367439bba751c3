"""Replays the spool into Redis, and watches over both: one task of each endpoint process.

While a server's breaker is open, it is probed with a small write, less and less often. Once one serves again, live
calls go there, and the content of the spool follows alongside, oldest first: a portion, then a pause at least
as long as the portion took, so that live calls have Redis to themselves half of the time. A portion leaves the
spool when Redis has confirmed it. While the backlog is too large, replay waits until it has shrunk.

While nothing waits and every server serves, it sleeps from one check of their condition to the next: it is told
when a server fails or something was put into the spool.
"""

import asyncio
import logging
import time

from ingest import failpoints, health, shown
from ingest.endpoint.limits import CONDITION_INTERVAL, DISK_INTERVAL, IDLE_INTERVAL, REPLAY_AGAIN
from ingest.errors import WriteUnconfirmed
from ingest.health import Risk, RiskCode
from ingest.spool import Portion, Spool
from ingest.stream.appends import Condition
from ingest.stream.aside import PASSING_SPOOL
from ingest.stream.lanes import Lane
from ingest.stream.producer import APPEND_PATIENCE, APPEND_TIMEOUT, Producer
from ingest.verification import Verifier

log = logging.getLogger(__name__)

#: Bytes that are replayed in one write: a few milliseconds of work for Redis.
PORTION_BYTES = 256 * 1024
#: Batches that are replayed in one write, however small they are.
PORTION_BATCHES = 128
#: Least seconds between two portions: with the above, at most 12 MB or 6,400 batches per second.
PAUSE = 0.02
#: Times that Redis may reject a single batch, while it accepts other writes, before the batch is set aside.
ATTEMPTS = 3
DNS_IS_SILENT = "DNS gives no answer about anything. New keys cannot be looked up; check INGEST_DNS_SERVERS."
#: Share of Redis' memory limit that the backlog may use by default.
BACKLOG_SHARE = 0.6
#: Share that may be in use for any purpose: a full Redis rejects RQ and all others who use it.
USED_SHARE = 0.85
#: Share of these limits below which calls go to Redis again: not 1, or calls would switch back and forth.
RELIEF = 0.9


class SpoolReplayer:
    """Empties the spool of one endpoint process, and turns calls to it when Redis fills up."""

    def __init__(
        self, producer: Producer, buffer_max: int | None = None, verifier: Verifier | None = None
    ) -> None:
        """`buffer_max`: bytes of Redis memory that the backlog may use; None: `BACKLOG_SHARE` of its limit.

        `verifier` knows whether keys can be looked up, which belongs to what may cost calls.
        """
        self.producer = producer
        self._spool = producer.spool
        self._buffer_max = buffer_max
        self._verifier = verifier
        #: What may cost calls, as of the last check.
        self.risks: list[Risk] = []
        self._checked_at = self._disk_checked_at = float("-inf")
        self._disk_risks: list[Risk] = []
        #: When the servers were asked last (monotonic seconds), what came of it, and how much was written by then.
        self._asked_at = float("-inf")
        self._server_risks: list[Risk] = []
        self._written = 0
        #: Times in a row that Redis did not confirm the portion at the front.
        self._rejections = 0
        #: Set when something has happened that there may be something to do about.
        self._stirred = asyncio.Event()
        producer.lanes.on_trip = self._stirred.set
        if producer.spool is not None:
            producer.spool.on_kept = self._kept

    def _kept(self) -> None:
        if self.producer.uses_redis:  # else there will be something to do once that serves again
            self._stirred.set()

    async def run(self) -> None:
        """Replay and watch until cancelled."""
        task = asyncio.current_task()
        while True:
            self._stirred.clear()
            try:
                await self._round()
            except Exception:  # the next round must come, whatever is wrong with this one
                log.exception("the spool could not be replayed or checked")
                await asyncio.sleep(REPLAY_AGAIN)
            # Python 3.11's wait_for, which redis-py sends with, can lose a cancellation that arrives with its
            # result: only the count of requests remembers it, and whoever stops us would wait for ever.
            if task is not None and task.cancelling():
                return
            await self._rest()

    async def _rest(self) -> None:
        """Wait until there is something to do, or something happens that may make it so."""
        pause = self._due_at() - time.monotonic()
        if pause <= 0:
            return
        timer = asyncio.get_running_loop().call_later(pause, self._stirred.set)
        try:
            await self._stirred.wait()
        finally:
            timer.cancel()

    def _due_at(self) -> float:
        """When there is something to do, as far as is known (monotonic seconds)."""
        due = [self._checked_at + CONDITION_INTERVAL, *(lane.breaker.due_at for lane in self.producer.lanes)]
        if self._spool is not None and self.producer.uses_redis:
            due.append(self._spool.due_at)
        return min(due)

    async def _round(self) -> None:
        """One step: what is due now, and a pause if something was replayed."""
        due = [lane for lane in self.producer.lanes if lane.breaker.is_due]
        if due:
            await asyncio.gather(*map(self._try_redis, due))
        if time.monotonic() - self._checked_at >= CONDITION_INTERVAL:
            self._checked_at = time.monotonic()
            try:
                await self._check_condition()
            except Exception:  # what may cost calls must not keep those that wait
                log.exception("the condition of Redis and the spool could not be checked")
        began = time.monotonic()
        if self._spool is not None and self.producer.uses_redis and self._spool.due_at <= began:
            await self._replay(self._spool)
            await asyncio.sleep(max(PAUSE, time.monotonic() - began))

    async def _try_redis(self, lane: Lane) -> None:
        """Probe a server, and close its breaker if it serves."""
        lane.breaker.attempt()
        try:
            await lane.stream.probe(APPEND_TIMEOUT)
        except WriteUnconfirmed as error:
            lane.breaker.trip(error)
            return
        seconds = lane.breaker.close()
        waiting = shown.counted(self._events(), "event waits", "events wait")
        log.info("%s serves again after %.1f s; %s in the spool", self._called(lane), seconds, waiting)

    def _called(self, lane: Lane) -> str:
        return f"the stream server {lane.stream.name}" if self.producer.lanes.are_several else "Redis"

    async def _check_condition(self) -> None:
        """Find out what may cost calls, and whether they should go to the spool."""
        risks: list[Risk] = []
        if self._verifier is not None and self._verifier.dns_is_silent:
            risks.append(Risk(RiskCode.DNS_SILENT, DNS_IS_SILENT))
        if self._spool is not None:
            risks += await self._look_after(self._spool)
        if self._may_have_changed():
            self._asked_at, self._written = time.monotonic(), self.producer.batches
            found = await asyncio.gather(*map(self._look_at, self.producer.lanes))
            self._server_risks = [risk for risks_of_one in found for risk in risks_of_one]
        self.risks = [*risks, *self._server_risks]

    def _may_have_changed(self) -> bool:
        """Whether to ask the servers again: not each time while all take calls and none is written there."""
        if time.monotonic() - self._asked_at >= IDLE_INTERVAL:
            return True
        lanes = self.producer.lanes
        return self.producer.batches != self._written or lanes.any_writes or not all(lane.takes for lane in lanes)

    async def _look_after(self, spool: Spool) -> list[Risk]:
        """Take over what dead processes left, if there may be any; returns what of the spool may cost calls."""
        now = time.monotonic()
        is_due = now - self._disk_checked_at >= DISK_INTERVAL
        if is_due or spool.is_untidy:
            await spool.tidy()
        if is_due:
            self._disk_checked_at = now
            enough_for = None if self.producer.aside.lasts else PASSING_SPOOL
            self._disk_risks = await asyncio.to_thread(
                lambda: list(health.of_spool(spool.folder, spool.max_bytes, enough_for))
            )
        if spool.trouble is None:
            return self._disk_risks
        text = f"{spool.trouble} While Redis is unreachable, calls are answered 503."
        return [*self._disk_risks, Risk(RiskCode.SPOOL_TAKES_NOTHING, text)]

    async def _look_at(self, lane: Lane) -> list[Risk]:
        """What of a server may cost calls; of one that does not serve, only that it is another database's."""
        if lane.state == "foreign":
            return [health.of_foreign(lane.stream.name)]
        if not lane.breaker.is_closed:
            return []
        patience = APPEND_TIMEOUT if self.producer.lanes.are_several else APPEND_PATIENCE
        try:
            condition = await lane.stream.condition(patience)
        except WriteUnconfirmed as error:
            log.debug("could not find out how full %s is: %s", self._called(lane), error)
            return []
        self._judge(lane, condition)
        risks = [*health.of_redis(condition.info), *health.of_work(condition.suspended, condition.ahead)]
        if not self.producer.lanes.are_several:
            return risks
        return [risk._replace(text=f"{lane.stream.name}: {risk.text}") for risk in risks]

    def _judge(self, lane: Lane, condition: Condition) -> None:
        info, was_over = condition.info, lane.is_over
        lane.is_over = is_over(condition, self._buffer_max, was_over)
        if lane.is_over and not was_over:
            log.warning(
                "calls go %s: the backlog uses %d bytes of %s, which uses %d of the %s it may use",
                "to the spool" if not self.producer.uses_redis else "elsewhere",
                condition.stream,
                self._called(lane),
                info.get("used_memory", 0),
                info.get("maxmemory") or "unlimited",
            )

    async def _replay(self, spool: Spool) -> None:
        """Send the next portion, if there is one after all."""
        # A portion that was rejected may hold a batch that Redis never accepts: go batch by batch to find it.
        portion = await spool.next(PORTION_BYTES, 1 if self._rejections else PORTION_BATCHES)
        if portion is None:
            return
        if failpoints.armed:
            failpoints.reach("replay-append")
        try:
            await self.producer.append(portion.batches, APPEND_TIMEOUT)
        except WriteUnconfirmed as error:
            await self._not_replayed(spool, portion, error)
            return
        self._rejections = 0
        if failpoints.armed:
            failpoints.reach("replay-appended")
        await spool.confirm(portion)
        if failpoints.armed:
            failpoints.reach("replay-confirmed")

    async def _not_replayed(self, spool: Spool, portion: Portion, error: WriteUnconfirmed) -> None:
        self._rejections += 1
        if self._rejections <= ATTEMPTS:
            return
        # Redis accepted other writes in between: they closed the breaker.
        batch = shown.counted(portion.events, "event")
        log.error("Redis rejects a batch of %s, which is set aside for now: %s", batch, error)
        try:
            await spool.set_aside(portion)
        except OSError as failure:
            log.warning("it stays where it is, and holds up what is behind it: %s", failure)
        self._rejections = 0

    def _events(self) -> int:
        return self._spool.events if self._spool else 0


def is_over(condition: Condition, buffer_max: int | None, was_over: bool) -> bool:
    """Whether calls should go to the spool although Redis would accept them.

    `was_over` is the previous answer: then the limits are lower by `RELIEF`.
    """
    info, share = condition.info, RELIEF if was_over else 1.0
    memory_limit = info.get("maxmemory", 0)
    limit = memory_limit * BACKLOG_SHARE if buffer_max is None else buffer_max
    if limit and condition.stream > share * limit:
        return True
    # With any other policy Redis evicts keys when it is full, and is meant to be full.
    rejects_when_full = memory_limit and info["maxmemory_policy"] == "noeviction"
    return bool(rejects_when_full and info["used_memory"] > share * USED_SHARE * memory_limit)
