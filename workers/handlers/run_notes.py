"""What a claim's calls came to, gathered until the claim is settled: `workers.handlers.history` keeps it then.

Calls that succeed are many and alike, so all of a settlement are one run. Calls that fail are one run for each
error that they failed with, up to a few: a handler that is broken fails with the same one each time.
"""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from workers.handlers.registry import GiveUp, TryLater
from workers.handlers.time_limits import CallTimeout

#: Errors of one settlement that are told apart. What fails with others is kept together, without its traceback.
MOST_ERRORS = 5
#: Parts into which durations are told apart between one power of two and the next: a fifth, which is enough.
_PARTS = 4


class Outcome(StrEnum):
    """What a run came to."""

    #: The handler returned.
    DONE = "done"
    #: Its `where` does not want these.
    UNWANTED = "unwanted"
    #: It raised.
    FAILED = "failed"
    #: It raised `TryLater`; a target answered that it cannot now, or not at all.
    LATER = "later"
    #: It raised `GiveUp`; a target refused the call.
    GAVE_UP = "gave-up"
    #: It took longer than it may.
    TIMED_OUT = "timed-out"
    #: It raised on a batch, whose parts are tried apart: no attempt of theirs.
    SPLIT = "split"
    #: Its worker died, or lost its claim, while it worked on these.
    DIED = "died"


@dataclass(slots=True)
class Run:
    """Calls that came to the same. `began` and `ended` are by `perf_counter`, in seconds."""

    outcome: Outcome
    began: float
    ended: float
    ids: list[bytes] = field(default_factory=list)
    #: How long each time took that the handler was called, in seconds.
    took: list[float] = field(default_factory=list)
    #: Whether the calls became dead letters.
    final: bool = False
    error: str = ""
    traceback: str = ""
    #: What a target answered with.
    status: int | None = None


class RunNotes:
    """The runs since the last settlement."""

    __slots__ = ("_done", "_failed")

    def __init__(self) -> None:
        self._done: dict[tuple[Outcome, int | None], Run] = {}
        self._failed: dict[tuple[Outcome, bool, str], Run] = {}

    def done(
        self, ids: Iterable[bytes], began: float, outcome: Outcome = Outcome.DONE, status: int | None = None
    ) -> None:
        """The handler was called with these, from `began` until now, and is done with them."""
        now = time.perf_counter()
        run = self._done.get((outcome, status))
        if run is None:
            run = self._done[outcome, status] = Run(outcome, began, now, status=status)
        run.ids += ids
        run.took.append(now - began)
        run.ended = now

    def failed(self, run: Run) -> None:
        """The handler raised on the calls of this run; it is kept together with those that are like it."""
        key = run.outcome, run.final, run.error
        if key not in self._failed and len(self._failed) >= MOST_ERRORS:
            run.error = run.error.partition(":")[0] if len(self._failed) < 2 * MOST_ERRORS else ""
            run.traceback, key = "", (run.outcome, run.final, run.error)
        run.took.append(run.ended - run.began)
        if (known := self._failed.setdefault(key, run)) is not run:
            known.ids += run.ids
            known.took += run.took
            known.ended = run.ended

    def taken(self) -> list[Run]:
        """All of them; from now on there are none."""
        runs = [*self._done.values(), *self._failed.values()]
        if runs:
            self._done, self._failed = {}, {}
        return runs


def outcome_of(error: BaseException, took: float, timeout: float) -> Outcome:
    """What it means that a handler raised this after so many seconds, of which it may take `timeout`."""
    if isinstance(error, GiveUp):
        return Outcome.GAVE_UP
    if isinstance(error, TryLater):
        return Outcome.LATER
    # What interrupts it looks like a time limit of its own, which it has not reached by then.
    if took >= timeout and isinstance(error, CallTimeout | TimeoutError):
        return Outcome.TIMED_OUT
    return Outcome.FAILED


def counted(took: Sequence[float]) -> list[tuple[int, int]]:
    """Durations in seconds, as the buckets that they fall into and how many each has."""
    buckets: Counter[int] = Counter()
    # What is quick takes the same few µs again and again.
    for micros, number in Counter([int(seconds * 1e6) for seconds in took]).items():
        buckets[_bucket(micros)] += number
    return sorted(buckets.items())


def _bucket(micros: int) -> int:
    if micros < _PARTS:
        return max(0, micros)
    power = micros.bit_length() - 3
    return (power + 1) * _PARTS + (micros >> power) - _PARTS


def upper_bound(bucket: int) -> float:
    """The seconds that the durations of a bucket took at most."""
    if bucket < _PARTS:
        return (bucket + 1) / 1e6
    power, part = divmod(bucket, _PARTS)
    return ((_PARTS + part + 1) << (power - 1)) / 1e6
