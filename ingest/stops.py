"""What asks a process to stop, and how a process waits for that without waking up meanwhile."""

import os
import select
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

#: What asks a process to stop: a supervisor, Ctrl-C, a terminal that is gone.
STOPS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
#: Seconds within which a second of them counts as the first: whatever runs Procfiles, `timeout` and some hosts
#: signal a whole group and then each process of it.
SAME_SIGNAL = 1.0


@contextmanager
def stops_held() -> Iterator[None]:
    """In this block a stop waits; so it does in a process that is started here, which inherits that."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def hear_stops() -> None:
    """In a child that `stops_ready`: what asked it to stop meanwhile does so now; call it once that is handled."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)


def handled_stops() -> set[signal.Signals]:
    """The signals that ask this process to stop: all but SIGHUP if it was started to ignore that."""
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return set(STOPS - {signal.SIGHUP} if ignored else STOPS)


class StopSignals:
    """Counts SIGINT, SIGTERM and SIGHUP: the first asks for a graceful stop, the next for one at once.

    Those that come together are one.
    """

    def __init__(self) -> None:
        self.count = 0
        self._first: float | None = None
        #: Where Python writes a byte for each signal: these, and the SIGCHLD of a process that ended.
        self._told, self._tell = os.pipe()
        os.set_blocking(self._told, False)
        os.set_blocking(self._tell, False)

    def _handle(self, _signal: int, _frame: object) -> None:
        # Nothing that takes a lock, such as an Event: a second signal may interrupt this handler.
        now = time.monotonic()
        if self._first is None:
            self._first = now
        self.count = 1 if now - self._first < SAME_SIGNAL else 2

    @classmethod
    @contextmanager
    def caught(cls) -> Iterator["StopSignals"]:
        """Catch the signals for as long as the block runs."""
        signals = cls()
        before = {number: signal.signal(number, signals._handle) for number in handled_stops()}
        before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)  # ignored, it would wake nobody
        woken = signal.set_wakeup_fd(signals._tell, warn_on_full_buffer=False)
        try:
            yield signals
        finally:
            signal.set_wakeup_fd(woken)
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(signals._told)
            os.close(signals._tell)

    def wait(self, awaited: Sequence[socket.socket], seconds: float) -> None:
        """Wait for a signal, for the end of a child, or for somebody who connects; so many seconds at most."""
        if not self.count:
            any_readable([self._told, *awaited], seconds)
        with suppress(BlockingIOError):
            while os.read(self._told, 512):
                pass


def any_readable(files: Sequence[int | socket.socket], seconds: float | None = None) -> bool:
    """Wait for one of them, so many seconds at most; also where their numbers are too high for `select`."""
    poller = select.poll()
    for file in files:
        poller.register(file, select.POLLIN)
    return bool(poller.poll(None if seconds is None else seconds * 1000))
