"""Keeps child processes alive, and stops them in order: those of `serve`, `dev`, `all` and `worker`.

A child that dies is started again, after a delay that doubles while it keeps dying. A stop is a SIGTERM, time to
finish, a second SIGTERM, which means "at once", and then SIGKILL; only processes started here are ever signalled.
A child notices when its parent is gone (`follow_parent`) and stops by itself, so a killed parent leaves nothing
behind. Both wait for what the system tells them: while nothing happens, they hardly wake up.

Where a program is started by `nohup`, which has SIGHUP ignored, it stays ignored: it goes on without its terminal.
"""

import logging
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from typing import IO

from ingest.errors import IngestError
from ingest.stops import StopSignals, any_readable, stops_held

log = logging.getLogger(__name__)

#: The environment variable that tells a child the process id of its parent.
PARENT = "INGEST_PARENT_PID"
#: Seconds between two checks of the children while one is down: short, since calls wait meanwhile.
CHECK_INTERVAL = 0.05
#: The same while all run, in case that a signal was lost.
REST_INTERVAL = 5.0
#: Seconds between two checks of a child for whether its parent is still there, where the system does not tell it.
PARENT_CHECK_INTERVAL = 0.5
#: Seconds before a child that died is started again; doubled each time it died within `STABLE_SECONDS` …
FIRST_DELAY = 0.2
#: … up to this many seconds.
MAX_DELAY = 5.0
#: Seconds between the second SIGTERM and SIGKILL.
KILL_AFTER = 0.5
#: Seconds that the output of a child that has ended may take to be read.
OUTPUT_TIMEOUT = 1.0
#: The exit code of a command whose settings are wrong (`SettingsError`).
WRONG_SETTINGS = 2
#: Seconds after which a child counts as having started well.
STABLE_SECONDS = 10.0


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
        dispensable: bool = False,
        stops_ready: bool = False,
        on_demand: socket.socket | None = None,
    ) -> None:
        """`output`, if given, is called in a thread with the child's name and its standard output and error.

        With `own_session`, Ctrl-C in the terminal reaches only the parent, which stops its children in order.
        A `dispensable` child that its settings end is not started again: the others do without it.
        One that `stops_ready` does not hear of a stop before it calls `hear_stops`: it starts first.
        One that is there `on_demand` starts when somebody first connects to this socket, which it listens at.
        """
        self.name = name
        self._argv = list(argv)
        self._environ = dict(environ or {})
        self._pass_fds = tuple(pass_fds)
        self._output = output
        self._own_session = own_session
        self._dispensable = dispensable
        self._stops_ready = stops_ready
        self._on_demand = on_demand
        self._given_up = False
        self._reader: threading.Thread | None = None
        self._started_at = 0.0
        self._delay = FIRST_DELAY
        #: When a child that died is to start again (monotonic).
        self._restart_at: float | None = None
        self.process: subprocess.Popen[str] | None = None
        #: Where two threads look at once, one is told by Python that a dead process runs.
        self._looking = threading.Lock()

    def start(self) -> None:
        """Start the process."""
        self._started_at = time.monotonic()
        self._restart_at = None
        with stops_held() if self._stops_ready else nullcontext():
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
    def awaited(self) -> socket.socket | None:
        """The socket at which somebody may ask for a process that has not been started."""
        return self._on_demand if self.process is None and self._restart_at is None else None

    @property
    def is_down(self) -> bool:
        """Whether the process is to be started again."""
        died = self.process is not None and not self.alive and not self._given_up
        return died or self._restart_at is not None

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        with self._looking:
            return self.process is not None and self.process.poll() is None

    def check(self) -> str | None:
        """Start the process again if it died and its delay is over; returns a sentence for the log if it died."""
        now = time.monotonic()
        if self.process is None and self._on_demand is not None and now >= (self._restart_at or 0):
            self._restart_at = None
            return self._start_somehow() if any_readable([self._on_demand], 0) else None
        if self.process is None or self.alive or self._given_up:
            return None
        if self._dispensable and self.process.returncode == WRONG_SETTINGS:
            self._given_up = True
            return f"{self.name} {ending(self.process.returncode)}; the others do without it"
        if self._restart_at is None:
            was_stable = now - self._started_at > STABLE_SECONDS
            self._delay = FIRST_DELAY if was_stable else min(self._delay * 2, MAX_DELAY)
            self._restart_at = now + self._delay
            return f"{self.name} {ending(self.process.returncode)}; starting it again"
        return self._start_somehow() if now >= self._restart_at else None

    def _start_somehow(self) -> str | None:
        """Start it now, or later if the system has no room for it: the others must not end for that."""
        try:
            self.start()
        except OSError as error:
            self._delay = min(self._delay * 2, MAX_DELAY)
            self._restart_at = time.monotonic() + self._delay
            return f"{self.name} cannot be started ({error.strerror}); trying again"
        return None

    def restart_soon(self) -> None:
        """Skip the delay of a child that died: the cause has been fixed."""
        self._delay = FIRST_DELAY
        if self._restart_at is not None:
            self._restart_at = time.monotonic()

    def terminate(self) -> None:
        """Ask the process to stop."""
        if self.process is not None and self.alive:
            self.process.terminate()

    def end(self) -> bool:
        """End the process now; True if it had ended already."""
        had_ended = not self.alive
        if self.process is not None:
            self.terminate()
            try:
                self.process.wait(KILL_AFTER)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self._reader is not None:
            self._reader.join(OUTPUT_TIMEOUT)
        return had_ended


def ending(code: int) -> str:
    """How a process ended, in words."""
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def watch(
    children: Sequence[Child],
    signals: StopSignals,
    notify: Callable[[str], object] = log.warning,
    until: Callable[[], bool] = lambda: False,
) -> None:
    """Keep the children alive until a stop is asked for; `notify` is called with a sentence for each that died.

    It also ends when another process has ended, of which `until` says that it has.
    """
    while not signals.count and not until():
        for child in children:
            if sentence := child.check():
                notify(sentence)
        is_any_down = any(child.is_down for child in children)
        awaited = [sock for child in children if (sock := child.awaited) is not None]
        signals.wait(awaited, CHECK_INTERVAL if is_any_down else REST_INTERVAL)


def stop(children: Sequence[Child], seconds: float, signals: StopSignals | None = None) -> None:
    """Stop all children within that many seconds; at once when a second stop is asked for."""
    for child in children:
        child.terminate()
    deadline = time.monotonic() + seconds
    while any(child.alive for child in children) and time.monotonic() < deadline:
        if signals is not None and signals.count > 1:
            break
        time.sleep(CHECK_INTERVAL / 2)
    for child in children:
        if not child.end():
            log.warning("%s did not stop in time", child.name)


def follow_parent(gone: Callable[[], object]) -> None:
    """In a process that a `Child` started: call `gone` from a thread when the parent has died; else do nothing."""
    parent = int(os.environ.pop(PARENT, 0))  # popped, so that our own children do not inherit it
    if not parent:
        return

    def wait_for_parent() -> None:
        _await_end(parent)
        gone()

    threading.Thread(target=wait_for_parent, name="follow-parent", daemon=True).start()


def _await_end(parent: int) -> None:
    """Wait for the end of our parent, of which the system tells where it can: a process at rest stays asleep."""
    with suppress(AttributeError, OSError):  # not on macOS, on old kernels, and in some containers
        descriptor = os.pidfd_open(parent)
        try:
            if os.getppid() == parent:  # or it is that of another process
                any_readable([descriptor])
        finally:
            os.close(descriptor)
    while os.getppid() == parent:
        time.sleep(PARENT_CHECK_INTERVAL)


def aside(look: Callable[[], object]) -> None:
    """Call a function in a fork, so that what it imports takes no memory here; only while there is one thread.

    Raises:
        IngestError: the function raised it, or did not come to its end.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            look()
            code = 0
        except IngestError as error:
            os.write(writer, pickle.dumps(error))
            code = 0
        except Exception:
            log.exception("a look aside broke off")
        finally:
            os._exit(code)  # without what this process would do at its end
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        found = answer.read()
    _, status = os.waitpid(child, 0)
    if found:
        raise pickle.loads(found)  # noqa: S301  # our own
    if status:
        ended = ending(os.waitstatus_to_exitcode(status))
        raise IngestError(
            f"A check before the start {ended}: what is wrong is above, or it was ended from outside."
        )


def own_command(*arguments: str) -> list[str]:
    """The command line that runs `ingest` in this very Python."""
    return [sys.executable, "-m", "ingest", *arguments]
