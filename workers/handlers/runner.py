"""One run of one handler: claim what is due for it, call it, settle what became of the calls."""

import asyncio
from contextlib import suppress

import redis

from ingest.errors import Unavailable
from ingest.jobs import HANDLERS_QUEUE, JobScheduler
from ingest.stream.pauses import HANDLER, QUEUE
from workers.handlers.batches import BatchRun
from workers.handlers.calls import ClaimRun
from workers.handlers.claims import Claim
from workers.handlers.first_failures import FirstFailures
from workers.handlers.outcomes import Outcomes, RunSummary
from workers.handlers.rate_limit import RateLimit
from workers.handlers.registry import ASYNC_CONCURRENCY, Handler
from workers.handlers.throttle import Allowance, Bucket, TargetBreaker
from workers.handlers.turn import Turn
from workers.handlers.work_queue import WorkQueue
from workers.pausing import PauseWatch

#: Calls that are claimed together: a whole row, as the stream's batches make them, or what a batch needs.
CLAIM_CALLS = 512


class HandlerRun:
    """One run of one handler over what is due for it."""

    def __init__(self, handler: Handler, queue: WorkQueue, client: redis.Redis, deadline: float) -> None:
        """`deadline` is in monotonic seconds."""
        self._handler = handler
        self._queue = queue
        self._scheduler = JobScheduler(client)
        paused = PauseWatch(client, QUEUE + HANDLERS_QUEUE, HANDLER + handler.name)
        self._turn = Turn(deadline, paused=paused)
        self._breaker = TargetBreaker(client, handler.name, handler.timeout) if handler.breaker else None
        self._outcomes = Outcomes(handler, self._breaker, self._turn, FirstFailures(client, handler.name))
        self._rate: RateLimit | None = None
        if handler.rate:
            allowance = Allowance(Bucket(client, handler.name, handler.rate))
            self._rate = RateLimit(allowance, self._turn, self._scheduler.others_wait)
        self._woke_sibling = False

    def run(self) -> RunSummary:
        """Work until nothing is due, or until the turn is over."""
        # Before the first claim: what comes due after it then wakes another job.
        self._scheduler.clear_handler(self._handler.name)
        self._scheduler.take_turn(self._handler.name)
        with asyncio.Runner() as runner:
            while not self._turn.over and self._work(runner):
                if not self._turn.over:  # else others come first, whose turn it is now
                    self._wake_sibling()
            if self._handler.finish is not None:
                runner.run(self._handler.finish())
        self._outcomes.log()
        with suppress(Unavailable):  # the next run does it
            self._queue.make_room(self._handler.name)
        return self._outcomes.summary

    def _work(self, runner: asyncio.Runner) -> bool:
        """Claim calls and make them; False if there are none, or none may be made."""
        if self._breaker is None:
            return self._work_on(self._claim(CLAIM_CALLS), runner)
        wait, probe = self._breaker.permission()
        if wait > 0:
            self._outcomes.summary.waits = True
            self._scheduler.hand_on_in(wait)
            return False
        claim = self._claim(1 if probe else CLAIM_CALLS)
        if claim is None and probe:
            self._breaker.not_tried()
        return self._work_on(claim, runner, probe)

    def _claim(self, calls: int) -> Claim | None:
        """Claim about so many calls; for a batch handler, enough for a batch."""
        slots = 1
        if self._handler.is_async and self._handler.batch is None:
            slots = min(calls, self._handler.concurrency or ASYNC_CONCURRENCY)
        if calls > 1:
            calls = max(calls, self._handler.batch or 0)
        return self._queue.claim(self._handler, calls, slots)

    def _work_on(self, claim: Claim | None, runner: asyncio.Runner, probe: bool = False) -> bool:
        if claim is None:
            # Nothing is due; or others make as many calls at once as there may be, and wake us when they end.
            self._outcomes.summary.waits = True
            return False
        kind = ClaimRun if self._handler.batch is None else BatchRun
        kind(self._handler, self._queue, claim, self._turn, self._rate, self._outcomes, probe).run(runner)
        return True

    def _wake_sibling(self) -> None:
        """Have another worker join while there is more to do, unless a rate would hold it up as well."""
        if self._rate is None and not self._woke_sibling and self._handler.name in self._queue.due():
            self._scheduler.wake_handler(self._handler.name, self._handler.timeout)
            self._woke_sibling = True
