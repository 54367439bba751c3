"""Real processes for tests: started by hand, waited for, and ended by their own handles, never by name."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

#: Seconds that anything here may take; a test that needs more has failed.
PATIENCE = 30.0

# A shell has what it starts in the background ignore SIGINT, and so would all that is to be stopped by it here.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# Nor do they, where they are run by nohup, inherit that they outlive their terminal.
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


#: Lines of each log that a failing test shows.
LAST_WORDS = 40
#: Where the processes of the test that runs now write; see `last_words`.
logs: list[Path] = []


def last_words() -> list[tuple[str, str]]:
    """For the report of a failing test: the end of each log, headed by where all of it lies."""
    texts = {log: log.read_text(errors="replace") for log in logs if log.exists()}
    return [(f"output in {log}", "\n".join(text.splitlines()[-LAST_WORDS:])) for log, text in texts.items()]


class Process:
    """One process with its output in a file."""

    def __init__(
        self, argv: list[str], environ: Mapping[str, str], log: Path, cwd: Path | None = None, **more: Any
    ) -> None:
        self._log = log
        if log not in logs:
            logs.append(log)
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                argv,
                env={**clean_environ(), "INGEST_SPOOL_DIR": str(log.with_suffix(".spool")), **environ},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=cwd,
                **more,
            )
        self.pid = self._popen.pid

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def alive(self) -> bool:
        return self._popen.poll() is None

    def send(self, number: signal.Signals) -> None:
        self._popen.send_signal(number)

    def wait(self, seconds: float = PATIENCE) -> int:
        return self._popen.wait(seconds)

    def stop(self, seconds: float = 12.0) -> int:
        """End it, kindly if possible."""
        if self.alive:
            self._popen.terminate()
        try:
            return self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            return self._popen.wait()


def clean_environ() -> dict[str, str]:
    """The environment without anybody's settings, without files in the working folder, and for root as well."""
    ours = ("INGEST_", "COPERNICA_", "REDIS_URL", "DATABASE_URL", "PORT", "HOST", "WEB_CONCURRENCY", "LOG_LEVEL")
    rest = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**rest, "INGEST_SPOOL_DIR": "off", "INGEST_ALLOW_ROOT": "1", "INGEST_ENV_FILE": "off"}


def ingest(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "ingest", *arguments]


@contextmanager
def running(
    argv: list[str], environ: Mapping[str, str], log: Path, cwd: Path | None = None, **more: Any
) -> Iterator[Process]:
    """A process for as long as the block runs."""
    process = Process(argv, environ, log, cwd, **more)
    try:
        yield process
    finally:
        process.stop()


@contextmanager
def all_running(
    commands: Mapping[str, Sequence[str]], environ: Mapping[str, str], folder: Path
) -> Iterator[dict[str, Process]]:
    """Several `ingest` commands by name, each with a log of its own, for as long as the block runs."""
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(running(ingest(*command), environ, folder / f"{name}.log"))
            for name, command in commands.items()
        }


def run(
    *arguments: str,
    environ: Mapping[str, str],
    cwd: Path | None = None,
    seconds: float = 4 * PATIENCE,
    encoding: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """One `ingest` command to its end."""
    return subprocess.run(
        ingest(*arguments),
        env={**clean_environ(), **environ},
        cwd=cwd,
        capture_output=True,
        text=True,
        encoding=encoding,
        timeout=seconds,
        check=False,
    )


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def until(look: Callable[[], T], what: str, seconds: float = PATIENCE) -> T:
    """Look again and again until there is something true to see."""
    ends = time.monotonic() + seconds
    while True:
        if seen := look():
            return seen
        assert time.monotonic() < ends, f"waited {seconds:.0f} s in vain for {what}"
        time.sleep(0.05)


def exchange(
    port: int, *parts: bytes, pause: float = 0.05, seconds: float = 5.0, host: str = "127.0.0.1"
) -> bytes:
    """Send bytes as they are, half-close, and return all that comes back."""
    with socket.create_connection((host, port), seconds) as connection:
        with suppress(OSError):  # who refuses answers and closes before everything is there
            for number, part in enumerate(parts):
                if number:
                    time.sleep(pause)
                connection.sendall(part)
            connection.shutdown(socket.SHUT_WR)
        received = b""
        try:
            while chunk := connection.recv(65536):
                received += chunk
        except (TimeoutError, ConnectionResetError):
            pass
        return received


def answers(port: int, host: str = "127.0.0.1") -> bool:
    try:
        request = b"GET /readyz HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"
        return b" 200 " in exchange(port, request, seconds=1.0, host=host)
    except OSError:
        return False


def descendants(pid: int) -> set[int]:
    """The processes below one, whatever became of those between."""
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        try:
            tasks = list(Path(f"/proc/{waiting.pop()}/task").glob("*/children"))
        except OSError:  # it has ended just now
            continue
        for task in tasks:
            try:
                children = {int(word) for word in task.read_text().split()}
            except OSError:
                continue
            found |= children
            waiting += children
    return found


def exists(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
