"""What every job of a worker shares: its time slice, how it is asked to stop, and its patience with a database.

time slice      a job works for `SLICE` seconds at most, then lets the next one go on
stop flag       a signal sets it, and a job that looks at it ends at the next point where nothing is half done
patience        a database that is unavailable is waited for, until the job's deadline
"""

import gc
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import TypeVar

import redis

from ingest.errors import OtherDatabase, SchemaMismatch, SchemaMissing, Unavailable
from ingest.processes import follow_parent
from ingest.stops import SAME_SIGNAL, handled_stops

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Seconds that a job works before it lets the next one go on: short enough for hosts that stop a process within
#: 10 s of asking, long enough that RQ's fork of some 15 ms does not count.
SLICE = 10.0
#: Seconds between attempts to reach a database that is unavailable: at first, since most restarts are short, and
#: at most, so that work continues soon after a long outage.
RETRY_FIRST, RETRY_MOST = 0.25, 5.0


#: Objects after which Python looks for reference cycles. Events make none, and thousands of them are alive at
#: once: at Python's own threshold of some hundreds, looking takes a tenth of the time.
GC_EVERY = 500_000


class StopFlag:
    """Whether this process was asked to stop; `stop_flag` is the only one.

    There is one for the process because signals are for the process. It is a plain attribute because it is set in
    a signal handler: an Event takes a lock, and a second signal that arrives in the middle of the first would wait
    for it for ever.
    """

    __slots__ = ("_requested",)

    def __init__(self) -> None:
        self._requested = False

    @property
    def requested(self) -> bool:
        """Whether jobs should come to an end."""
        return self._requested

    def request(self) -> None:
        """Ask the jobs of this process to come to an end; safe in a signal handler."""
        self._requested = True

    def clear(self) -> None:
        """Forget the request."""
        self._requested = False


stop_flag = StopFlag()


@contextmanager
def stop_on_signals() -> Iterator[list[int]]:
    """In this block the first signal to stop asks jobs to come to an end, and the next ends the process.

    The list has the signals that came. Those that come together are one.
    """
    came: list[int] = []
    times: list[float] = []

    def ask(number: int, _frame: FrameType | None) -> None:
        times.append(time.monotonic())
        came.append(number)
        stop_flag.request()
        if times[-1] - times[0] >= SAME_SIGNAL:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    before = {number: signal.signal(number, ask) for number in handled_stops()}
    follow_parent(partial(os.kill, os.getpid(), signal.SIGTERM))
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def patiently(attempt: Callable[[], T], deadline: float | None) -> T:
    """Try something that needs the database until it succeeds, or until `deadline` (monotonic; None: try once).

    Raises:
        Unavailable: the database was unavailable until then, or this process was asked to stop.
        SchemaMissing, SchemaMismatch, OtherDatabase: waiting would not help.
    """
    delay = RETRY_FIRST
    while True:
        try:
            return attempt()
        except (SchemaMissing, SchemaMismatch, OtherDatabase):
            raise
        except Unavailable as error:
            if deadline is None or stop_flag.requested or time.monotonic() + delay > deadline:
                raise
            if delay == RETRY_FIRST:
                log.warning("waiting for the database: %s", error)
        time.sleep(delay)
        delay = min(delay * 2, RETRY_MOST)


@contextmanager
def unless_refused() -> Iterator[None]:
    """For writes to Redis that a job can do without: a full Redis refuses them, and the job itself makes room."""
    try:
        yield
    except redis.ResponseError as error:
        log.warning("Redis refuses a write that is not essential: %s", error)


@contextmanager
def rare_garbage_collection() -> Iterator[None]:
    """Have Python look for reference cycles rarely while thousands of events are alive."""
    thresholds = gc.get_threshold()
    gc.set_threshold(GC_EVERY)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
