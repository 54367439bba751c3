"""The calls of one claim: to a handler one by one, or several at once; `workers.handlers.batches` has batches."""

import asyncio
import signal
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import redis

from ingest.batch import Record
from ingest.copernica.events import Event
from ingest.errors import IngestError
from workers.handlers.claims import Claim
from workers.handlers.lease_renewal import LeaseRenewal
from workers.handlers.outcomes import Outcomes
from workers.handlers.rate_limit import RateLimit
from workers.handlers.registry import Handler
from workers.handlers.shapes import require_done
from workers.handlers.time_limits import Watchdog, alarms, time_limit
from workers.handlers.turn import Turn
from workers.handlers.work_queue import WorkQueue
from workers.metrics import figures
from workers.records import Quarantined
from workers.store.row_plans import RowPlans

#: Seconds between two settlements of what is done: as much as a killed worker may do again.
SETTLE_EVERY = 1.0

#: What breaks a run off without being the fault of any call: its claim is for others at once.
OUTAGES = (redis.RedisError, IngestError, KeyboardInterrupt)

#: Of all claims of this process: they bring the same few forms again and again.
_plans = RowPlans()


def is_failure(error: BaseException) -> bool:
    """Whether what came out of a handler counts as its failure: all but what ends a test, or a command, by Ctrl-C.

    Not only an `Exception` does: libraries have errors outside of those, such as panics in Rust, time limits of
    gevent, tasks that were cancelled. They would end the job, and its next job would begin with the same call.
    """
    return not isinstance(error, KeyboardInterrupt) or _nobody_interrupts()


def was_cancelled() -> bool:
    """After a CancelledError: whether it is this task that was cancelled, by others than the handler."""
    task = asyncio.current_task()
    if task is None or not task.cancelling():
        return False  # the handler has waited for something that was
    if not _nobody_interrupts():
        return True
    while task.cancelling():  # the handler did it
        task.uncancel()
    return False


def _nobody_interrupts() -> bool:
    """Whether Ctrl-C is none of this process's business, as in each job of a worker."""
    return signal.getsignal(signal.SIGINT) is signal.SIG_IGN


class Call(NamedTuple):
    """A call as it came in, and the event it brought."""

    record: Record
    event: Event


class ClaimRun:
    """Makes the calls of one claim until none is left or the turn is over, and settles the claim."""

    def __init__(
        self,
        handler: Handler,
        queue: WorkQueue,
        claim: Claim,
        turn: Turn,
        rate: RateLimit | None,
        outcomes: Outcomes,
        probe: bool,
        clock: Callable[[], float] = time.monotonic,
        watchdog: Watchdog | None = None,
    ) -> None:
        """With `probe`, one call is made, to see whether the target is back."""
        self._handler = handler
        self._queue = queue
        self._claim = claim
        self._turn = turn
        self._rate = rate
        self._outcomes = outcomes
        self._probe = probe
        #: Whether the other calls under way are being broken off.
        self._breaks_off = False
        self._clock = clock
        self._settled_at = clock()
        #: Calls of which is not known yet whether they are wanted, and those to be made.
        self._unread = deque(claim.records)
        self._left: deque[Call] = deque()
        #: Calls that are being made at the moment, by identity: they count as not done.
        self._under_way: dict[int, Call] = {}
        self._watchdog = watchdog or Watchdog(handler.name, handler.timeout)
        #: Calls that are to be made apart from those that are left; the last first.
        self._apart: list[list[Call]] = []

    def run(self, runner: asyncio.Runner) -> None:
        """Make the calls; coroutines run in this runner."""
        release = True
        try:
            with self._watchdog, LeaseRenewal(self._queue, self._claim), alarms():
                self._make_calls(runner)
        except BaseException as error:
            # What else breaks a run off (its event loop was stopped, say) would do so again at once, and for ever:
            # it counts as the death of a worker, so that the call at fault is found.
            release = isinstance(error, OUTAGES)
            raise
        finally:  # what is done is done, even if Redis failed in the meantime
            self._settle(release)

    def _make_calls(self, runner: asyncio.Runner) -> None:
        if self._handler.is_async:
            runner.run(self._concurrently())
        else:
            self._one_by_one()

    @property
    def _unmade(self) -> int:
        """How many calls there may be to make, at most."""
        return len(self._left) + len(self._unread)

    def _have(self, calls: int = 1) -> bool:
        """Look for up to so many calls that are wanted, unless the turn is over; returns whether there are any."""
        judged = self._handler.where is not None  # which may take long
        while len(self._left) < calls and self._unread and not (judged and self._turn.over):
            call = self._wanted(self._unread[0])
            self._unread.popleft()
            if call is not None:
                self._left.append(call)
        return bool(self._left)

    def _wanted(self, record: Record) -> Call | None:
        """A call whose event the handler wants; one that it does not want, or cannot judge, is done with."""
        event = _plans.read_event(record)
        if isinstance(event, Quarantined):  # it could be decoded when it was stored
            self._outcomes.unreadable(self._claim, event)
            return None
        if (where := self._handler.where) is None:
            return Call(record, event)
        began = time.perf_counter()
        try:
            with self._watchdog.watching(event), time_limit(self._handler.timeout):
                wanted = bool(where(event))
        except BaseException as error:
            if not is_failure(error):
                raise
            self._outcomes.failed(self._claim, record, event, error, began)
            return None
        if wanted:
            return Call(record, event)
        self._outcomes.unwanted(self._claim, record, began)
        return None

    def _one_by_one(self) -> None:
        while self._have() and not self._turn.over and self._admitted(self._unmade):
            call, began = self._left.popleft(), time.perf_counter()
            try:
                with self._watchdog.watching(call), time_limit(self._handler.timeout):
                    answer = self._handler.call(call.record if self._handler.raw else call.event)
                    require_done(answer)
            except BaseException as error:
                if not is_failure(error):
                    self._left.appendleft(call)
                    raise
                self._failed(call, error, began)
            else:
                self._outcomes.succeeded(self._claim, (call.record.delivery_id,), began, answer)
            self._called_since(began)
            if self._probe:
                return

    async def _concurrently(self) -> None:
        """As many calls at once as the claim has slots."""
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(1 if self._probe else max(1, self._claim.slots)):
                    group.create_task(self._until_broken_off())
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None  # as without tasks: the database was away, say
        finally:
            self._left.extend(self._under_way.values())
            self._under_way.clear()

    async def _until_broken_off(self) -> None:
        try:
            await self._one_after_another()
        except BaseException:
            self._breaks_off = True
            raise

    async def _one_after_another(self) -> None:
        """One call after another, while others do the same with what is left."""
        while self._have() and not self._turn.over and await self._admitted_soon():
            if not self._have():  # others took the last one
                return
            call = self._left.popleft()
            self._under_way[id(call)], began = call, time.perf_counter()
            try:
                with self._watchdog.watching(call):
                    async with asyncio.timeout(self._handler.timeout):
                        answer = await self._handler.call(call.record if self._handler.raw else call.event)
            except GeneratorExit:  # nobody waits for it any more
                raise
            except BaseException as error:
                if not is_failure(error) or (isinstance(error, asyncio.CancelledError) and self._is_ended()):
                    raise
                self._failed(call, error, began)
            else:
                self._outcomes.succeeded(self._claim, (call.record.delivery_id,), began, answer)
            del self._under_way[id(call)]
            self._called_since(began)
            if self._probe:
                return

    def _is_ended(self) -> bool:
        return self._breaks_off or was_cancelled()

    async def _admitted_soon(self) -> bool:
        return self._rate is None or await self._rate.admit_soon(lambda: self._unmade)

    def _admitted(self, calls: int) -> bool:
        """Whether the rate lets the next of so many calls pass, before the turn is over."""
        return self._rate is None or self._rate.admit(calls)

    def _failed(self, call: Call, error: BaseException, began: float) -> None:
        self._outcomes.failed(self._claim, call.record, call.event, error, began)

    def _called_since(self, began: float) -> None:
        """The handler was called at `began` (by `perf_counter`), and is done with it."""
        figures.called(self._handler.name, time.perf_counter() - began)
        # So that little is done again if this worker is killed.
        if self._clock() - self._settled_at >= SETTLE_EVERY:
            self._settle(release=False)
            figures.now_and_then()
            self._settled_at = self._clock()

    def _settle(self, release: bool) -> None:
        undone = [call.record for call in (*self._under_way.values(), *self._left)]
        undone += self._unread
        apart = [[call.record for call in part] for part in reversed(self._apart)]
        if self._claim.apart and undone:  # interrupted before the first call: it stays what it was
            undone, apart = [], [undone, *apart]
        self._queue.settle(self._handler, self._claim, undone, release, apart)
        if self._claim.lost:
            self._unread.clear()
            self._left.clear()
            self._apart.clear()
