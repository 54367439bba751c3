"""Ctrl-C, SIGTERM, SIGHUP: the command says what it had done, and ends with the code that shells expect."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

import click
from click.exceptions import Exit

#: What a command ends with that Ctrl-C ended: 128 and the number of SIGINT.
INTERRUPTED = 130
#: What ends a command besides Ctrl-C: whatever supervises it, and a terminal that is gone.
OTHERS = (signal.SIGTERM, signal.SIGHUP)
#: What a command ends with that something of that ended.
INTERRUPTIONS = frozenset({INTERRUPTED, *(128 + number for number in OTHERS)})
#: Seconds within which a second signal counts as the first: `timeout` signals a process and its group.
SAME_SIGNAL = 1.0


class _Ended:
    """By which of the other signals the command is being ended; `_ended` is the only one."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """A command begins."""
        self.number, self._at = 0, float("-inf")

    def by(self, number: int, _frame: FrameType | None) -> None:
        """The signal came: do as Ctrl-C does, which itself is ignored in what a script runs in the background."""
        now = time.monotonic()
        if now - self._at < SAME_SIGNAL:
            return
        self.number, self._at = number, now
        raise KeyboardInterrupt


_ended = _Ended()


def interrupted_code() -> int:
    """What a command ends with that was interrupted: 128 and the number of the signal."""
    return 128 + _ended.number if _ended.number else INTERRUPTED


@contextmanager
def interruptible(so_far: Callable[[], str] = lambda: "") -> Iterator[None]:
    """In this block Ctrl-C ends the command; `so_far` says, in whole sentences, what was done."""
    try:
        yield
    except KeyboardInterrupt:
        with suppress(OSError):  # the terminal may be what is gone
            click.echo(f"Interrupted. {so_far()}".rstrip(), err=True)
        raise Exit(interrupted_code()) from None


@contextmanager
def ended_as_interrupted() -> Iterator[None]:
    """In this block SIGTERM and SIGHUP do what Ctrl-C does, so that no file stays behind half written.

    What this process was started to ignore, as by `nohup`, it goes on to ignore.
    """
    _ended.forget()
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours = [number for number in OTHERS if signal.getsignal(number) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, _ended.by)
    try:
        yield
    finally:
        for number in ours:
            if signal.getsignal(number) == _ended.by:  # else the command has made up its mind about its end
                signal.signal(number, signal.SIG_DFL)
