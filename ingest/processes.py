"""Keeping child processes alive, and ending them in order: for `serve` (its processes) and `dev` (its parts).

A child that dies is started again, sooner the first time than the fifth. A stop is a SIGTERM, then patience, then
a second SIGTERM, which means "at once", then SIGKILL; only processes started here are ever signalled. A child that
was started here notices when its parent is gone (`follow_parent`) and stops by itself, so that a killed parent
leaves nothing behind.
"""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO

log = logging.getLogger(__name__)

#: The environment variable in which a child finds its parent's process id.
PARENT = "INGEST_PARENT_PID"
#: Seconds between two looks at the children.
LOOK_EVERY = 0.05
#: Seconds before a child that died is started again; doubled each time it dies young, up to the maximum.
FIRST_DELAY = 0.2
MAX_DELAY = 5.0
#: Seconds between the second SIGTERM and SIGKILL.
INSIST = 0.5
#: Seconds after which a child counts as having lived.
LIVED = 10.0


class Child:
    """One process that should be running."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        environ: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
        output: Callable[[str, IO[str]], None] | None = None,
        own_session: bool = False,
    ) -> None:
        """`output`, if given, is called in a thread of its own with the child's name and what it prints.

        With `own_session`, a Ctrl-C in the terminal is for the parent alone, which stops its children in order.
        """
        self.name = name
        self._argv = list(argv)
        self._environ = dict(environ or {})
        self._pass_fds = tuple(pass_fds)
        self._output = output
        self._own_session = own_session
        self._reader: threading.Thread | None = None
        self._started_at = 0.0
        self._delay = FIRST_DELAY
        self._due: float | None = None
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start the process."""
        self._started_at = time.monotonic()
        self._due = None
        self.process = subprocess.Popen(  # noqa: S603
            self._argv,
            env=os.environ | self._environ | {PARENT: str(os.getpid()), "PYTHONUNBUFFERED": "1"},
            pass_fds=self._pass_fds,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if self._output else None,
            stderr=subprocess.STDOUT if self._output else None,
            text=True,
            errors="replace",
            start_new_session=self._own_session,
        )
        if self._output and self.process.stdout:
            arguments = (self.name, self.process.stdout)
            self._reader = threading.Thread(target=self._output, args=arguments, daemon=True)
            self._reader.start()

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process is not None and self.process.poll() is None

    def look(self) -> str | None:
        """Start the process again if it died and its delay is over; says what happened, if anything did."""
        if self.process is None or self.alive:
            return None
        now = time.monotonic()
        if self._due is None:
            self._delay = FIRST_DELAY if now - self._started_at > LIVED else min(self._delay * 2, MAX_DELAY)
            self._due = now + self._delay
            return f"{self.name} {ending(self.process.returncode)}; starting it again"
        if now >= self._due:
            self.start()
        return None

    def hurry(self) -> None:
        """Start it at once if it is down: what it died of has been seen to."""
        self._delay = FIRST_DELAY
        if self._due is not None:
            self._due = time.monotonic()

    def terminate(self) -> None:
        """Ask it to stop."""
        if self.process is not None and self.alive:
            self.process.terminate()

    def insist(self) -> bool:
        """End it now if it runs; True if there was nothing to do."""
        ended = not self.alive
        if self.process is not None:
            self.terminate()
            try:
                self.process.wait(INSIST)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self._reader is not None:
            self._reader.join(1.0)
        return ended


def ending(code: int) -> str:
    """How a process ended, in words."""
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


class StopSignals:
    """Counts SIGINT, SIGTERM and SIGHUP: the first asks for a graceful stop, the second for one at once."""

    def __init__(self) -> None:
        self.count = 0

    def _handle(self, _signal: int, _frame: object) -> None:
        # Nothing that takes a lock, such as an Event: a second signal may come in the middle of this one.
        self.count += 1

    @classmethod
    @contextmanager
    def caught(cls) -> Iterator["StopSignals"]:
        """Catch the signals for as long as the block runs."""
        caught = cls()
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = {number: signal.signal(number, caught._handle) for number in numbers}
        try:
            yield caught
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def watch(children: Sequence[Child], signals: StopSignals, say: Callable[[str], object] = log.warning) -> None:
    """Keep the children alive until a stop is asked for; what happened to them goes to `say`."""
    while not signals.count:
        for child in children:
            if said := child.look():
                say(said)
        time.sleep(LOOK_EVERY)


def stop(children: Sequence[Child], seconds: float, signals: StopSignals | None = None) -> None:
    """Stop the children together within that many seconds; at once when a second stop is asked for."""
    for child in children:
        child.terminate()
    until = time.monotonic() + seconds
    while any(child.alive for child in children) and time.monotonic() < until:
        if signals is not None and signals.count > 1:
            break
        time.sleep(LOOK_EVERY / 2)
    for child in children:
        if not child.insist():
            log.warning("%s did not stop in time", child.name)


def follow_parent(gone: Callable[[], object]) -> None:
    """In a child of `Child`: call `gone` from a thread when the parent has died. Without a parent: nothing."""
    parent = int(os.environ.pop(PARENT, 0))  # not for our own children
    if not parent:
        return

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        gone()

    threading.Thread(target=look, name="follow-parent", daemon=True).start()


def own_command(*arguments: str) -> list[str]:
    """The command line that runs `ingest` in this very Python."""
    return [sys.executable, "-m", "ingest", *arguments]
