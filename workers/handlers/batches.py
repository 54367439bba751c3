"""The calls of one claim to a batch handler.

A batch that fails is split: its halves are tried at once, and theirs, until each event at fault is alone. Only an
event that fails alone has used up an attempt, so none is given up for the sake of others in its batch.

    one event fails alone       an attempt: tried again after the backoff, or a dead letter
    several fail                their halves at once; after the backoff if nothing seems to work at the moment
    several, with `TryLater`    all of them later, as one attempt; in halves if that was the last one

Parts that were not tried before the turn ended, or the worker died, stay apart in the table.
"""

import asyncio
import time
from collections import deque
from collections.abc import Sequence

from ingest.copernica.events import Event
from workers.handlers.calls import Call, ClaimRun, is_failure, was_cancelled
from workers.handlers.claims import Part
from workers.handlers.outcomes import in_a_line, said_pause
from workers.handlers.registry import GiveUp, TryLater
from workers.handlers.shapes import require_done
from workers.handlers.time_limits import time_limit

#: Events that fail alone, one after the other, after which batches that fail are not split further for a while: it
#: is hardly the events' fault then, and what is in trouble should not get a call for each of them.
NOTHING_WORKS = 10


class BatchRun(ClaimRun):
    """Makes the calls of one claim in batches."""

    def _make_calls(self, runner: asyncio.Runner) -> None:
        size, left = self._handler.batch or 1, self._left
        if self._claim.apart:
            while self._have(size):
                self._apart.insert(0, _take(left, size))
        full = self._have(size) and len(left) >= size
        while (self._apart or self._have(size)) and not self._turn.over and self._admitted(1):
            if not self._apart and full and len(left) < size and self._handler.name in self._queue.due():
                return  # what is left goes into a full batch, with what comes next
            batch, began = self._apart.pop() if self._apart else _take(left, size), time.perf_counter()
            try:
                error = self._call(batch, runner)
            except BaseException:
                self._apart.append(batch)
                raise
            if error is None:
                self._outcomes.succeeded(self._claim, [call.record.delivery_id for call in batch], began)
            else:
                self._batch_failed(batch, error, began)
            self._called_since(began)

    def _call(self, batch: Sequence[Call], runner: asyncio.Runner) -> BaseException | None:
        """Call the handler; returns its failure."""
        events = [call.event for call in batch]
        with self._watchdog.watching(batch):
            if self._handler.is_async:
                return runner.run(self._called(events))
            try:
                with time_limit(self._handler.timeout):
                    require_done(self._handler.call(events))
            except BaseException as error:
                if not is_failure(error):
                    raise
                return error
        return None

    async def _called(self, events: Sequence[Event]) -> BaseException | None:
        """Call the handler; returns its failure: a SystemExit that left its task would end the event loop."""
        try:
            async with asyncio.timeout(self._handler.timeout):
                await self._handler.call(events)
        except GeneratorExit:  # nobody waits for it any more
            raise
        except BaseException as error:
            if not is_failure(error) or (isinstance(error, asyncio.CancelledError) and was_cancelled()):
                raise
            return error
        return None

    def _batch_failed(self, batch: Sequence[Call], error: BaseException, began: float) -> None:
        attempts = self._claim.attempt + 1
        if len(batch) == 1 or (isinstance(error, TryLater) and attempts <= self._handler.retries):
            for call in batch:
                self._failed(call, error, began)
            if not isinstance(error, GiveUp | TryLater):  # which a handler that works raises, too
                self._outcomes.alone_in_a_row += 1
            return
        self._outcomes.split(self._claim, [call.record for call in batch], error, began)
        middle = len(batch) // 2
        halves = [list(batch[:middle]), list(batch[middle:])]
        if (said := said_pause(error)) is not None:
            delay = said
        elif isinstance(error, TryLater) or self._outcomes.alone_in_a_row >= NOTHING_WORKS:
            delay = self._handler.delay(attempts)
        else:
            self._apart += reversed(halves)
            return
        self._claim.parts += [Part([call.record for call in half], delay, in_a_line(error)) for half in halves]


def _take(calls: deque[Call], most: int) -> list[Call]:
    return [calls.popleft() for _ in range(min(most, len(calls)))]
