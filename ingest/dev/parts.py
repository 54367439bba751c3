"""What `ingest dev` and `ingest all` have in common: all parts of the program on one machine.

A private Redis server, unless `REDIS_URL` names one; the endpoint; workers. They stop in the order of the flow:
endpoint, workers (which still drain what they can), Redis. What is not drained by then is processed after the next
start.
"""

import fcntl
import logging
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, NamedTuple, Self, cast

import redis

from ingest import redis_client, shown
from ingest.dev.embedded_redis import EmbeddedServer
from ingest.endpoint import supervisor
from ingest.errors import AddressInUse, SettingsError, Unavailable
from ingest.listening import host_from_here
from ingest.partitions import opened
from ingest.processes import Child, aside, own_command, stop, watch
from ingest.settings import Settings
from ingest.stops import StopSignals

log = logging.getLogger(__name__)

#: Seconds for each step of stopping; with half a second more before each SIGKILL they add up to less than ten.
STOP_WEB = 2.5
DRAIN_REST = 1.5
STOP_WORKER = 2.0
STOP_REDIS = 1.5
#: Seconds to wait for the endpoint to answer.
READY_TIMEOUT = 60.0
#: In the data folder: locked by the one program that works there.
LOCK_FILE = "dev.lock"

#: Parts of lines that the private server marks as warnings: greetings, and advice for a server of its own machine.
NO_WARNINGS = ("oO0OoO0OoO0Oo", "overcommit", "ready to exit")

#: Takes a part's name and what it writes; see `Child`.
Output = Callable[[str, IO[str]], None]


class Server(NamedTuple):
    """A running Redis: its URL, what to call it, and the child that is it, if it is ours."""

    url: str
    what: str
    children: list[Child]


class Tables:
    """The tables, which are made in a process of its own: this one need not load what the workers need.

    The endpoint needs none, so it starts meanwhile, and takes calls even while an upgrade takes long.
    """

    def __init__(self, upgrade: subprocess.Popen[bytes], said: IO[bytes]) -> None:
        self._upgrade = upgrade
        self._said = said

    @classmethod
    @contextmanager
    def on_their_way(cls, settings: Settings) -> Iterator[Self]:
        """Begin; the block waits for the end of it, well or not: a kill would leave half of an upgrade behind."""
        command, environ = own_command("db", "upgrade"), {**os.environ, "DATABASE_URL": settings.database}
        with (
            tempfile.TemporaryFile(dir=settings.data_dir) as said,
            subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=said) as upgrade,  # noqa: S603
        ):
            yield cls(upgrade, said)

    def are_settled(self) -> bool:
        """Whether they are there, or cannot be made."""
        return self._upgrade.poll() is not None

    def require(self) -> None:
        """Once that is settled: see that they are there.

        Raises:
            Unavailable: they could not be made.
        """
        if self._upgrade.returncode:
            self._said.seek(0)
            said = self._said.read().decode(errors="replace").strip()
            raise Unavailable(said.removeprefix("ingest: ") or "The tables could not be made.")


class Prepared(NamedTuple):
    """What the parts need before they start."""

    server: Server
    tables: Tables


@contextmanager
def prepared(
    settings: Settings,
    signals: StopSignals,
    redis_output: Output,
    check: Callable[[], object] | None = None,
) -> Iterator[Prepared]:
    """A data folder for us alone, tables on their way, a free port, and Redis, which stops when the block ends.

    `check` is called in a fork, while the tables are made.

    Raises:
        AddressInUse: the port or the data folder is in use.
        SettingsError: `check` raised it.
        Unavailable: the data folder cannot be written, or Redis cannot be used.
    """
    with _data_folder(settings.data_dir), ExitStack() as stack:
        tables = stack.enter_context(Tables.on_their_way(settings))
        if check is not None:
            aside(check)
        server = stack.enter_context(_redis(settings, signals, redis_output))
        with supervisor.listening(settings.host, settings.port, 1):
            pass  # if the port is taken, fail here rather than start the endpoint again and again
        yield Prepared(server, tables)


def environment(settings: Settings, url: str) -> dict[str, str]:
    """What the parts' environment has on top of ours."""
    return {
        "REDIS_URL": url,
        "DATABASE_URL": settings.database,
        "HOST": settings.host,
        "PORT": str(settings.port),
        "INGEST_DATA_DIR": str(settings.data_dir),
    }


def endpoint(environ: dict[str, str], output: Output | None = None) -> Child:
    """The endpoint, not started yet."""
    return Child("web", own_command("serve"), environ, output=output, own_session=True)


def worker(name: str, queue: str, environ: dict[str, str], output: Output | None = None) -> Child:
    """A worker, not started yet."""
    command = own_command("worker", "--queue", queue)
    return Child(name, command, environ, output=output, own_session=True)


def start(
    web: Sequence[Child],
    besides: Sequence[Child],
    workers: Sequence[Child],
    tables: Tables,
    signals: StopSignals,
    notify: Callable[[str], object] = log.warning,
) -> None:
    """Start the endpoint, and the workers once their tables are there; `besides` are watched over meanwhile.

    Raises:
        Unavailable: the tables could not be made.
    """
    for child in web:
        child.start()
    watch([*web, *besides], signals, notify, tables.are_settled)
    if signals.count:
        return
    tables.require()
    for child in workers:
        child.start()


def stop_in_order(
    web: Sequence[Child], workers: Sequence[Child], settings: Settings, signals: StopSignals
) -> None:
    """Stop all but Redis: first what takes calls, then what works on them."""
    stop(web, STOP_WEB, signals)
    _drain_rest(settings, signals)
    stop(workers, STOP_WORKER, signals)


def wait_until_ready(settings: Settings, web: Sequence[Child], signals: StopSignals) -> bool:
    """Wait for the endpoint to say that it can keep calls; False if it does not in time, or is to stop."""
    until = time.monotonic() + READY_TIMEOUT
    while time.monotonic() < until and not signals.count:
        if is_ready(settings):
            return True
        for child in web:
            child.check()
        time.sleep(0.05)
    return False


def is_ready(settings: Settings) -> bool:
    """Whether the endpoint says that it can keep calls."""
    try:
        with socket.create_connection((host_from_here(settings.host), settings.port), 1.0) as connection:
            connection.sendall(b"GET /readyz HTTP/1.1\r\nHost: dev\r\nConnection: close\r\n\r\n")
            return connection.recv(12).endswith(b"200")
    except OSError:
        return False


@contextmanager
def _data_folder(path: Path) -> Iterator[None]:
    """The data folder, for us alone.

    Raises:
        Unavailable: it cannot be written.
        AddressInUse: another `ingest dev` or `ingest all` works in it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / LOCK_FILE).open("a")
    except OSError as error:
        raise Unavailable(
            f"The data folder {path} cannot be used ({error.strerror}): choose another with --data-dir."
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise AddressInUse(
                f"Another `ingest dev` or `ingest all` is running in {path}: stop it, or use another --data-dir."
            ) from None
        yield


@contextmanager
def _redis(settings: Settings, signals: StopSignals, output: Output) -> Iterator[Server]:
    """Redis, running for as long as the block does."""
    if address := settings.redis_address:
        with redis_client.connect(address) as client:
            redis_client.require(client, address)
        yield Server(address, shown.url(address), [])
        return
    embedded = EmbeddedServer(settings.data_dir)
    child = Child("redis", embedded.prepare(), output=output, own_session=True)
    child.start()
    try:
        with embedded.answering() as client:
            version = redis_version(client)
        yield Server(embedded.url, f"{version}, private, every write on disk before it counts", [child])
    finally:
        stop([child], STOP_REDIS, signals)
        embedded.forget()


def redis_version(client: redis.Redis) -> str:
    """The server's own name and version, as in `Valkey 9.1.2`."""
    info = cast(dict[str, object], client.info("server"))
    name = str(info.get("server_name", "redis")).capitalize()
    return f"{name} {info.get('valkey_version') or info['redis_version']}"


def warnings(lines: IO[str]) -> Iterator[str]:
    """Of what the private server writes, its warnings (`#`), without those that are none here."""
    for line in lines:
        if " # " in line and not any(text in line for text in NO_WARNINGS):
            yield line.rstrip()


def _drain_rest(settings: Settings, signals: StopSignals) -> None:
    """Give the workers a moment to empty the stream."""
    try:
        with (
            redis_client.connect(settings.redis, DRAIN_REST) as client,
            opened(settings, client, DRAIN_REST) as backlog,
        ):
            until = time.monotonic() + DRAIN_REST
            while backlog.batches() and time.monotonic() < until and signals.count < 2:
                time.sleep(0.05)
    except (redis.RedisError, SettingsError) as error:
        log.debug("Redis is gone already: %s", error)
