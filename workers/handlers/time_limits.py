"""Interrupts a handler that takes too long, wherever it is: by SIGALRM.

Signals arrive in the main thread only. In another thread, where tests may run a job, there is no time limit.

What does not let itself be interrupted (a driver that waits in C, a loop that catches everything, an `async def`
that blocks its event loop) would hold the worker and whatever waits for it. The watchdog ends the process then, as
the worker would a minute later: what was not noted as done is done again once its lease has run out, and what
kills three workers becomes a dead letter.

A function that forks must end its child. One that comes back out of the function is ended, as it would make the
calls that are left a second time, over the connections of its parent.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Self

log = logging.getLogger(__name__)

#: Seconds after its time limit in which a call may still end: for what it does when it is interrupted.
GRACE = 10.0
#: Seconds after which an alarm is repeated. One that another thread takes, while the main thread is stopped by a
#: profiler say, interrupts nothing that the main thread waits for.
ALARM_AGAIN = 1.0
#: Seconds between two looks of the watchdog.
WATCH_EVERY = 1.0

_ALARM = (signal.SIGALRM,)


class CallTimeout(BaseException):
    """A call took too long. Not an `Exception`, because handlers tend to catch those."""


@contextmanager
def alarms() -> Iterator[None]:
    """In this block, `time_limit` works."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, _interrupt)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class time_limit:  # noqa: N801  # used as a function; a class, since this is done for every call
    """Interrupt what is done in this block with CallTimeout if it takes longer; only within `alarms`."""

    __slots__ = ("_seconds",)

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds if threading.current_thread() is threading.main_thread() else 0.0

    def __enter__(self) -> None:
        if self._seconds:
            if signal.getsignal(signal.SIGALRM) is not _interrupt:  # the call before this one has changed it
                signal.signal(signal.SIGALRM, _interrupt)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _ALARM)
            signal.setitimer(signal.ITIMER_REAL, self._seconds, ALARM_AGAIN)

    def __exit__(self, *_: object) -> None:
        if self._seconds:
            signal.setitimer(signal.ITIMER_REAL, 0)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    signal.setitimer(signal.ITIMER_REAL, 0)  # what the call does about it is not interrupted again
    raise CallTimeout("the call took longer than its timeout")


def _end_process() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def end_child_of(process: int, name: str) -> None:
    """End this process if it is not that one, but a child that users' code has forked and let come back."""
    if os.getpid() != process:
        try:  # no logging: a thread that is not here may hold its lock
            os.write(2, f"{name} forked, and its child came back: it was ended there; use subprocess\n".encode())
        finally:  # also where the child has closed that, as a daemon does
            os._exit(1)


class _Watched:
    """A call that is watched while its block runs."""

    __slots__ = ("_all", "_key", "_name", "_process", "_too_late")

    def __init__(self, all_: dict[int, float], key: int, too_late: float, name: str) -> None:
        self._all, self._key, self._too_late, self._name = all_, key, too_late, name
        self._process = os.getpid()

    def __enter__(self) -> None:
        self._all[self._key] = self._too_late

    def __exit__(self, *_: object) -> None:
        end_child_of(self._process, self._name)
        del self._all[self._key]


class Watchdog:
    """Ends the process when a call goes on `GRACE` seconds after its time limit; while it is entered."""

    def __init__(
        self,
        name: str,
        seconds: float,
        end: Callable[[], object] = _end_process,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`name` is the handler's, and `seconds` its time limit."""
        self._name = name
        self._seconds = seconds
        self._end = end
        self._clock = clock
        #: When calls under way will have taken too long, by the identity of what they are called with.
        self._too_late: dict[int, float] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def watching(self, call: object) -> "_Watched":
        """In the block of this, a call is made."""
        return _Watched(self._too_late, id(call), self._clock() + self._seconds + GRACE, self._name)

    def look(self) -> None:
        """End the process if a call has taken too long."""
        if min(list(self._too_late.values()), default=float("inf")) < self._clock():
            log.error(
                "%s: a call goes on %.0f s after its limit of %g s, so its process is ended; it is made again",
                self._name,
                GRACE,
                self._seconds,
            )
            self._end()

    def _watch(self) -> None:
        while not self._over.wait(WATCH_EVERY):
            self.look()
