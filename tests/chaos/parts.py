"""The processes of an installation, each started again when it dies, as systemd or a host would do."""

import ctypes
import os
import random
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from tests.support.running import Process, descendants, exists

#: Seconds after which what died is started again; systemd's units in deploy/ say 1 and 2.
RESTART = 0.7
#: Seconds between two looks.
LOOK_EVERY = 0.05
#: Ports to listen at: below those from which the system takes its own for outgoing connections.
PORTS = (12_000, 31_000)
_PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """Become the parent of all that loses its own below us, so that nothing can escape our sight."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def alive_below(pid: int) -> list[int]:
    """The processes below one that are more than a leftover entry, oldest first."""
    return sorted(below for below in descendants(pid) if exists(below))


def named(pid: int) -> str:
    """A process for people."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        words = []
    return f"{pid}: {b' '.join(words[-6:]).decode(errors='replace')}"


def steady_port() -> int:
    """A free port that nobody gets by chance while what listens there is down."""
    while True:
        port = random.SystemRandom().randrange(*PORTS)
        with socket.socket() as sock, suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port


class Handles:
    """Signals by handle: a number that the system has given to another process meanwhile is never hit."""

    def __init__(self, pids: Sequence[int], parent: int) -> None:
        self._handles: dict[int, int] = {}
        for pid in pids:
            with suppress(OSError):
                self._handles[pid] = os.pidfd_open(pid)
        still = descendants(parent)  # only now is it certain that the handles are of what we saw
        for pid in self._handles.keys() - still:
            os.close(self._handles.pop(pid))

    def __len__(self) -> int:
        return len(self._handles)

    def send(self, number: signal.Signals) -> None:
        """To all of them that are still there."""
        for handle in self._handles.values():
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, number)

    def close(self) -> None:
        """Forget them."""
        while self._handles:
            os.close(self._handles.popitem()[1])


class Part:
    """One process that should be running."""

    def __init__(
        self,
        name: str,
        argv: Callable[[], list[str]],
        environ: Callable[[], Mapping[str, str]],
        folder: Path,
        cwd: Path | None = None,
        **more: object,
    ) -> None:
        self.name = name
        self._argv = argv
        self._environ = environ
        self.log = folder / f"{name}.log"
        self._cwd = cwd
        self._more = more
        self._due = 0.0
        self._lock = threading.Lock()
        self.process: Process | None = None
        #: How many faults want it to be down.
        self.held = 0
        #: Set when it is to be left alone: the run is over.
        self.over = False
        self.starts = 0

    def start(self) -> None:
        """Start it."""
        with self._lock:
            if self.over:
                return
            self.process = Process(self._argv(), self._environ(), self.log, self._cwd, **self._more)
            self.starts += 1

    def look(self) -> None:
        """Start it again when its time has come."""
        if self.process is None or self.process.alive or self.held or self.over:
            self._due = 0.0
            return
        if not self._due:
            self._due = time.monotonic() + RESTART
        elif time.monotonic() >= self._due:
            self._due = 0.0
            self.start()

    @property
    def pid(self) -> int:
        """Of its main process."""
        assert self.process is not None
        return self.process.pid

    def send(self, number: signal.Signals) -> None:
        """Signal the main process."""
        assert self.process is not None
        self.process.send(number)

    def below(self) -> list[int]:
        """The processes that it has started, oldest first."""
        return alive_below(self.pid)


class Supervisor:
    """Looks after the parts until it is closed."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.trouble: list[str] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)

    def begin(self) -> None:
        """Look after them from now on."""
        self._thread.start()

    def _watch(self) -> None:
        while not self._over.wait(LOOK_EVERY):
            for part in self.parts:
                try:
                    part.look()
                except OSError as error:
                    self.trouble.append(f"{part.name} could not be started: {error}")

    def close(self) -> None:
        """Leave them alone."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
