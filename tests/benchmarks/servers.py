"""The processes that are measured: started here, looked at here, ended here."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import redis

from ingest.dev.embedded_redis import EmbeddedServer
from tests.benchmarks.plan import PATH
from tests.support.running import Process, descendants, free_port, ingest, running, until

ROOT = Path(__file__).parents[2]
#: Never `/tmp`, which is memory on many machines: there an fsync costs nothing. `TMPDIR` names another place.
SCRATCH = os.environ.get("TMPDIR", "/var/tmp")

OURS = "ours"
VERIFIED = "ours, verifying"
BARE = "bare aiohttp"
JOBS = "an RQ job per call"


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for as long as the block runs."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir=SCRATCH) as folder:
        yield Path(folder)


def python(module: str, *arguments: str) -> list[str]:
    """The command line of one of our modules."""
    return [sys.executable, "-m", f"{__package__}.{module}", *arguments]


@dataclass(frozen=True, slots=True)
class Store:
    """A private Redis server."""

    client: redis.Redis
    url: str
    pid: int

    @property
    def used_memory(self) -> int:
        """Bytes that the server has in use."""
        return int(self.client.info("memory")["used_memory"])


@contextmanager
def redis_server(folder: Path) -> Iterator[Store]:
    """The embedded server with the settings that we recommend, empty."""
    server = EmbeddedServer(folder)
    with running(server.prepare(), {}, folder / "redis.log") as process, server.answering() as client:
        yield Store(client, server.url, process.pid)
    server.forget()


@contextmanager
def endpoint(contender: str, store: Store, folder: Path, **more: str) -> Iterator[tuple[int, Process]]:
    """One of the endpoints, ready; its port and its process."""
    port = free_port()
    environ = {
        "REDIS_URL": store.url,
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "WEB_CONCURRENCY": "1",
        "INGEST_PATH": PATH,
        "INGEST_VERIFY": "on" if contender == VERIFIED else "off",
        "INGEST_ACCOUNTS": "account-1234",
        "INGEST_DATA_DIR": str(folder),
        "LOG_LEVEL": "warning",
        **more,
    }
    argv = {
        OURS: ingest("serve"),
        VERIFIED: ingest("serve"),
        BARE: python("baselines", "bare", str(port)),
        JOBS: python("baselines", "jobs", str(port), store.url),
    }[contender]
    with running(argv, environ, folder / "endpoint.log", ROOT) as process:
        until(lambda: answers(port) or not process.alive, f"an answer of {contender}")
        if not process.alive:
            raise RuntimeError(f"{contender} did not start: {process.output}")
        yield port, process


def answers(port: int) -> bool:
    """Whether a request is answered at all, be it with "method not allowed"."""
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", PATH)
        connection.getresponse().read()
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
    return True


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and those below it, so far."""
    ticks = 0
    for each in (pid, *descendants(pid)):
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])  # utime and stime, counted from the field after the name
    return ticks / os.sysconf("SC_CLK_TCK")
