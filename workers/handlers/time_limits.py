"""Interrupts a handler that takes too long, wherever it is: by SIGALRM.

Signals arrive in the main thread only. In another thread, where tests may run a job, there is no time limit.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


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


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Interrupt what is done in this block if it takes longer; only within `alarms`.

    Raises:
        CallTimeout: it took longer.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise CallTimeout("the call took longer than its timeout")
