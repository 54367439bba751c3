"""What becomes of calls: counted, retried or given up, and reported to the breaker of their target."""

import logging
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ingest import shown
from ingest.batch import Record
from ingest.copernica.events import Event
from workers.handlers.claims import Claim, Failure
from workers.handlers.options import pause
from workers.handlers.registry import GiveUp, Handler, TryLater
from workers.handlers.run_notes import Outcome, Run, outcome_of
from workers.handlers.throttle import TargetBreaker
from workers.handlers.turn import Turn
from workers.metrics import figures
from workers.records import Quarantined

log = logging.getLogger(__name__)

#: Characters of a traceback that are kept: its end, which says what happened.
MAX_TRACEBACK = 8000
#: Characters of an error that are kept: one line of it, for lists.
MAX_ERROR = 500


class Unreadable(Exception):
    """A stored call that cannot be decoded any more."""


class Failures(Protocol):
    """Who is told of each failure: `FirstFailures`."""

    def tell(self, record: Record, attempt: int, error: BaseException) -> None:
        """A handler failed with an error, at its n-th attempt with a call."""


@dataclass(slots=True)
class RunSummary:
    """What one run did with its calls."""

    done: int = 0
    unwanted: int = 0
    failed: int = 0
    #: Batches that failed and were split, which is no failure of their events.
    split: int = 0
    first_error: str = ""
    #: Whether waking the handler at once would be in vain: nothing can be claimed, or its target is left alone.
    waits: bool = False


class Outcomes:
    """Records the outcome of each call of a run."""

    def __init__(self, handler: Handler, breaker: TargetBreaker | None, turn: Turn, failures: Failures) -> None:
        self._failures = failures
        self._handler = handler
        self._breaker = breaker
        self._turn = turn
        # Only a success after a failure is reported to the breaker; whether other jobs failed is unknown at first.
        self._target_in_doubt = True
        #: Events in a row that failed alone in a batch handler: it may be that nothing works.
        self.alone_in_a_row = 0
        self.summary = RunSummary()

    def unwanted(self, claim: Claim, record: Record, began: float) -> None:
        """The handler does not want an event; its `where` was asked at `began` (by `perf_counter`)."""
        claim.notes.done((record.delivery_id,), began, Outcome.UNWANTED)
        self.summary.unwanted += 1
        figures.handled(self._handler.name, "unwanted")

    def succeeded(self, claim: Claim, ids: Sequence[bytes], began: float, answer: object = None) -> None:
        """A call with so many events succeeded; a forward target has answered with a status."""
        events = len(ids)
        claim.notes.done(ids, began, status=answer if self._handler.raw and isinstance(answer, int) else None)
        self.summary.done += events
        figures.handled(self._handler.name, "done", events)
        self.alone_in_a_row = 0
        if self._breaker is not None and self._target_in_doubt:
            self._breaker.succeeded()
            self._target_in_doubt = False

    def unreadable(self, claim: Claim, quarantined: Quarantined) -> None:
        """A call could not be made, because no event can be read from it: a dead letter."""
        error = Unreadable(quarantined.reason)
        failure = failure_of(quarantined.record, None, error, None)
        claim.failures.append(failure)
        self._note(claim, failure, error, time.perf_counter())
        self.summary.failed += 1
        figures.handled(self._handler.name, "dead")

    def failed(self, claim: Claim, record: Record, event: Event, error: BaseException, began: float) -> None:
        """A call failed that began then (by `perf_counter`): it is tried again later, or becomes a dead letter."""
        failure = failure_of(record, event, error, self._delay(claim.attempt + 1, error))
        claim.failures.append(failure)
        self._note(claim, failure, error, began)
        self._failures.tell(record, claim.attempt + 1, error)
        self.summary.failed += 1
        figures.handled(self._handler.name, "dead" if failure.delay is None else "retried")
        self.summary.first_error = self.summary.first_error or failure.error
        if self._breaker is None:
            return
        if isinstance(error, GiveUp):  # the target works: it answered, and refused this call
            self._breaker.succeeded()
            return
        self._target_in_doubt = True
        if self._breaker.failed():
            self._turn.give_way()

    def _note(self, claim: Claim, failure: Failure, error: BaseException, began: float) -> None:
        now = time.perf_counter()
        run = Run(outcome_of(error, now - began, self._handler.timeout), began, now, [failure.record.delivery_id])
        run.final, run.error, run.traceback = failure.delay is None, failure.error, failure.traceback
        run.status = getattr(error, "status", None) if self._handler.raw else None
        claim.notes.failed(run)

    def split(self, claim: Claim, batch: Sequence[Record], error: BaseException, began: float) -> None:
        """A batch failed that began then (by `perf_counter`), and is tried again in parts."""
        run = Run(Outcome.SPLIT, began, time.perf_counter(), [record.delivery_id for record in batch])
        run.error, run.traceback = in_a_line(error), trace_of(error)
        claim.notes.failed(run)
        self._failures.tell(batch[0], claim.attempt + 1, error)
        self.summary.split += 1
        self.summary.first_error = self.summary.first_error or in_a_line(error)

    def _delay(self, attempts: int, error: BaseException) -> float | None:
        """Seconds until the next attempt, after so many; None if there is none."""
        if isinstance(error, GiveUp) or attempts > self._handler.retries:
            return None
        said = said_pause(error)
        return self._handler.delay(attempts) if said is None else said

    def log(self) -> None:
        """Log what the run did, in one line."""
        name, summary = self._handler.name, self.summary
        done = shown.counted(summary.done, "event")
        if summary.failed or summary.split:
            split = f", {shown.counted(summary.split, 'batch was', 'batches were')} split" if summary.split else ""
            text = "%s: %s done, %d failed%s, the first with %s"
            said = {"event": "handler-failed", "handler": name}
            log.warning(text, name, done, summary.failed, split, summary.first_error, extra=said)
        elif summary.done:
            log.info("%s: %s done", name, done, extra={"event": "handler-done", "handler": name})


def said_pause(error: BaseException) -> float | None:
    """Seconds that a handler wants to have before the next attempt; None if it has not said so, or no number."""
    if not isinstance(error, TryLater) or error.seconds is None:
        return None
    try:
        return pause(error.seconds)  # which it may have set itself
    except ValueError:
        return None


def failure_of(record: Record, event: Event | None, error: BaseException, delay: float | None) -> Failure:
    """What is kept of a failed call; `delay` is in seconds, and None makes it a dead letter."""
    kind, occurred_at = (event.type.value, event.occurred_at) if event else ("unknown", record.received_at)
    return Failure(record, kind, occurred_at, in_a_line(error), trace_of(error), delay)


def trace_of(error: BaseException) -> str:
    """The end of an error's traceback, without secrets."""
    return shown.without_secrets("".join(traceback.format_exception(error)))[-MAX_TRACEBACK:]


def in_a_line(error: BaseException) -> str:
    """What kind of error it is and the first line of what it says, without secrets."""
    try:
        lines = shown.without_secrets(str(error)).splitlines()
    except Exception:  # users' exceptions may have faults of their own
        lines = []
    name = " ".join(type(error).__name__.split())[:MAX_ERROR]  # a class may be called whatever one likes
    return f"{name}: {lines[0][:MAX_ERROR]}" if lines else name
