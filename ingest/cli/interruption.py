"""Ctrl-C, SIGTERM, SIGHUP: the command says what it had done, and ends with the code that shells expect."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, TypeVar

import click
from click.exceptions import Exit

T = TypeVar("T")

#: What a command ends with that Ctrl-C ended: 128 and the number of SIGINT.
INTERRUPTED = 130
#: What ends a command: Ctrl-C, whatever supervises it, and a terminal that is gone.
ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: What a command ends with that one of these ended.
INTERRUPTIONS = frozenset(128 + number for number in ENDS)
#: Seconds within which a second signal counts as the first: `timeout` signals a process and its group, and people
#: press Ctrl-C more than once. It must not interrupt what the first has begun, such as to remove half a file.
#: The same as in `ingest.processes`, which loads much that most commands have no use for.
SAME_SIGNAL = 1.0
#: Seconds until a signal comes again that was lost.
AGAIN_AFTER = 0.02


def hear_signals() -> None:
    """Hear what whoever started this did not: nobody could stop it, nor would it learn of its children.

    A part that `serve` or `dev` starts hears of a stop once it is ready (`ingest.processes`).
    """
    if threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if signal.pthread_sigmask(signal.SIG_BLOCK, ()):
        from ingest.processes import PARENT

        if PARENT not in os.environ:
            signal.pthread_sigmask(signal.SIG_SETMASK, ())


class _Ended:
    """By which signal the command is being ended; `_ended` is the only one."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """A command begins."""
        self.number, self._at = 0, float("-inf")

    def by(self, number: int, _frame: FrameType | None) -> None:
        """The signal came: do as Ctrl-C does."""
        if self.is_new(number):
            raise KeyboardInterrupt

    def heard_in_vain(self, lost: "sys.UnraisableHookArgs") -> None:
        """An interruption met what may raise nothing, such as a callback within an import: have it come again."""
        if not (self.number and lost.exc_type is KeyboardInterrupt):
            sys.__unraisablehook__(lost)
            return
        self._at = float("-inf")
        threading.Thread(target=_send_again, args=(self.number,), daemon=True).start()

    def is_new(self, number: int) -> bool:
        """Whether a signal that just came is not one with the last; then it counts."""
        now = time.monotonic()
        if now - self._at < SAME_SIGNAL:
            return False
        self.number, self._at = number, now
        return True


def _send_again(number: int) -> None:
    time.sleep(AGAIN_AFTER)
    if (main := threading.main_thread().ident) is not None:
        signal.pthread_kill(main, number)


_ended = _Ended()
#: What a process does with a signal if nobody has said anything.
_DEFAULTS = signal.SIG_DFL, signal.default_int_handler


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


def in_uvloop(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in uvloop, which loses what signals raise in its callbacks: they cancel it instead.

    Raises:
        KeyboardInterrupt: a signal has ended it.
    """
    import asyncio

    import uvloop

    before = {number: signal.getsignal(number) for number in ENDS}

    async def ended_by_signals() -> T:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()

        def end(number: int) -> None:
            if _ended.is_new(number) and task is not None:
                task.cancel()

        for number in (number for number, handler in before.items() if handler == _ended.by):
            loop.add_signal_handler(number, end, number)
        return await coroutine

    try:
        return uvloop.run(ended_by_signals())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def ended_as_interrupted() -> Iterator[None]:
    """In this block SIGTERM and SIGHUP do what Ctrl-C does, so that no file stays behind half written.

    What this process was started to ignore, it goes on to ignore: SIGHUP by `nohup`, Ctrl-C by a script that runs
    it in the background. To the end of one that was interrupted, signals that come together stay one.
    """
    _ended.forget()
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in ENDS}
    ours = [number for number, handler in before.items() if handler in (*_DEFAULTS, _ended.by)]
    hook = sys.unraisablehook
    for number in ours:
        signal.signal(number, _ended.by)
    sys.unraisablehook = _ended.heard_in_vain
    try:
        yield
    finally:
        if not _ended.number:
            sys.unraisablehook = hook
        for number in ours:
            # Else it was interrupted, or the command has made up its mind about its end.
            if not _ended.number and signal.getsignal(number) == _ended.by:
                signal.signal(number, before[number])
