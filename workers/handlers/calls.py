"""The calls of one claim: to a handler one by one, or several at once; `workers.handlers.batches` has batches."""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

from ingest.batch import Record
from ingest.copernica.events import Event
from ingest.errors import IngestError
from workers.handlers.claims import Claim
from workers.handlers.outcomes import Outcomes
from workers.handlers.rate_limit import RateLimit
from workers.handlers.registry import Handler
from workers.handlers.time_limits import CallTimeout, alarms, time_limit
from workers.handlers.turn import Turn
from workers.handlers.work_queue import LEASE, WorkQueue
from workers.metrics import figures
from workers.records import Quarantined, read

log = logging.getLogger(__name__)

#: Seconds between two settlements of what is done: as much as a killed worker may do again.
SETTLE_EVERY = 1.0

#: What counts as a failure of the event when a handler raises it, rather than as the end of the worker.
FAILURES = (Exception, CallTimeout, SystemExit)


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
    ) -> None:
        """With `probe`, one call is made, to see whether the target is back."""
        self._handler = handler
        self._queue = queue
        self._claim = claim
        self._turn = turn
        self._rate = rate
        self._outcomes = outcomes
        self._probe = probe
        self._clock = clock
        self._settled_at = clock()
        #: Calls to be made; None until it is known which of them are wanted.
        self._left: deque[Call] | None = None
        #: Calls that are being made at the moment, by identity: they count as not done.
        self._under_way: dict[int, Call] = {}
        #: Calls that are to be made apart from those that are left; the last first.
        self._apart: list[list[Call]] = []

    def run(self, runner: asyncio.Runner) -> None:
        """Make the calls; coroutines run in this runner."""
        try:
            with _LeaseRenewal(self._queue, self._claim), alarms():
                self._left = left = deque(self._wanted())
                self._make_calls(left, runner)
        finally:  # what is done is done, even if Redis failed in the meantime
            self._settle(release=True)

    def _make_calls(self, left: deque[Call], runner: asyncio.Runner) -> None:
        if self._handler.is_async:
            runner.run(self._concurrently(left))
        else:
            self._one_by_one(left)

    def _wanted(self) -> Iterator[Call]:
        """The calls whose events the handler wants; the others are done."""
        where = self._handler.where
        for record in self._claim.records:
            event = read(record)
            if isinstance(event, Quarantined):  # it could be decoded when it was stored
                self._outcomes.unreadable(self._claim, event)
                continue
            try:
                wanted = where is None or where(event)
            except FAILURES as error:
                self._outcomes.failed(self._claim, record, event, error)
                continue
            if wanted:
                yield Call(record, event)
            else:
                self._outcomes.unwanted()

    def _one_by_one(self, left: deque[Call]) -> None:
        while left and not self._turn.over and self._admitted(len(left)):
            call, began = left.popleft(), time.perf_counter()
            try:
                with time_limit(self._handler.timeout):
                    self._handler.call(call.record if self._handler.raw else call.event)
            except FAILURES as error:
                self._failed(call, error)
            except BaseException:
                left.appendleft(call)
                raise
            else:
                self._outcomes.succeeded()
            self._called_since(began)
            if self._probe:
                return

    async def _concurrently(self, left: deque[Call]) -> None:
        """As many calls at once as the claim has slots."""
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(1 if self._probe else max(1, self._claim.slots)):
                    group.create_task(self._one_after_another(left))
        finally:
            left.extend(self._under_way.values())
            self._under_way.clear()

    async def _one_after_another(self, left: deque[Call]) -> None:
        """One call after another, while others do the same with what is left."""
        while left and not self._turn.over and (self._rate is None or await self._rate.admit_soon(left)):
            call = left.popleft()
            self._under_way[id(call)], began = call, time.perf_counter()
            try:
                async with asyncio.timeout(self._handler.timeout):
                    await self._handler.call(call.record if self._handler.raw else call.event)
            except FAILURES as error:
                self._failed(call, error)
            else:
                self._outcomes.succeeded()
            del self._under_way[id(call)]
            self._called_since(began)
            if self._probe:
                return

    def _admitted(self, calls: int) -> bool:
        """Whether the rate lets the next of so many calls pass, before the turn is over."""
        return self._rate is None or self._rate.admit(calls)

    def _failed(self, call: Call, error: BaseException) -> None:
        self._outcomes.failed(self._claim, call.record, call.event, error)

    def _called_since(self, began: float) -> None:
        """The handler was called at `began` (by `perf_counter`), and is done with it."""
        figures.called(self._handler.name, time.perf_counter() - began)
        # So that little is done again if this worker is killed.
        if self._clock() - self._settled_at >= SETTLE_EVERY:
            self._settle(release=False)
            figures.now_and_then()
            self._settled_at = self._clock()

    def _settle(self, release: bool) -> None:
        if self._left is None:  # interrupted before the first call: all are left
            self._claim.failures.clear()
            undone, apart = ([], [self._claim.records]) if self._claim.apart else (self._claim.records, [])
        else:
            undone = [call.record for call in (*self._under_way.values(), *self._left)]
            apart = [[call.record for call in part] for part in reversed(self._apart)]
        self._queue.settle(self._handler, self._claim, undone, release, apart)
        if self._claim.lost and self._left is not None:
            self._left.clear()
            self._apart.clear()


class _LeaseRenewal:
    """Renews a claim while its calls are made, from a thread, because a call may take longer than the lease."""

    def __init__(self, queue: WorkQueue, claim: Claim) -> None:
        self._queue = queue
        self._claim = claim
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._renew, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _renew(self) -> None:
        while not self._over.wait(LEASE / 3):
            try:
                self._queue.renew(self._claim)
            except IngestError as error:
                log.warning("a claim could not be renewed: %s", error)
