"""What this machine takes for an event, measured in under a minute for `ingest plan --measure`.

A private Redis server, an endpoint and a drain, all in a temporary folder: nothing of the installation is touched.
Whole processes are measured by their processor time, so other work on the machine matters little.
"""

import asyncio
import json
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path
from socket import create_connection, socket
from typing import NamedTuple

import redis
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from ingest import redis_client
from ingest.capacity.figures import PACKAGED, Figures
from ingest.copernica.header_fields import HeaderFields
from ingest.dev.embedded_redis import EmbeddedServer
from ingest.endpoint.answers import Answer
from ingest.endpoint.intake import Intake
from ingest.errors import SettingsError, Unavailable
from ingest.processes import own_command
from ingest.simulation.calls import Simulator
from ingest.simulation.signer import Signer
from ingest.simulation.target import Target
from ingest.stream.appends import Stream
from ingest.stream.keys import Keys
from ingest.stream.producer import Producer
from workers.drain.drain import Drain
from workers.store.schema import upgrade
from workers.store.store import Store

#: Connections that are busy at once, and distinct calls that go over them again and again: signing one takes a
#: millisecond.
CONNECTIONS, SIGNED = 64, 1000
#: Seconds of sending before the clock starts, and while it runs.
WARM, SECONDS = 1.0, 6.0
#: Events that are drained, and how many of them are one batch: as many as an endpoint has at full rate.
DRAINED, BATCH = 60_000, 64
#: Bits of the key that the calls are signed with: as many as Copernica's.
KEY_BITS = 2048
#: Seconds to wait for a process.
PATIENCE = 30.0
ACCOUNT, PATH = "account-1234", "/copernica"


def measured(progress: Callable[[float], object]) -> Figures:
    """The figures of this machine; tells which part is done.

    What PostgreSQL, MariaDB and handlers take is reckoned from the packaged figures, as this machine's drain
    compares with theirs: no database server of the user's is loaded for it.

    Raises:
        SettingsError: this system cannot say what a process takes, or there is no server of our own.
        Unavailable: something did not start.
    """
    if not Path("/proc/self/stat").exists():
        raise SettingsError(
            "Processor times are read from /proc, which this system does not have: leave out --measure."
        )
    with tempfile.TemporaryDirectory(prefix="ingest-measure-", dir=_disk()) as name:
        folder = Path(name)
        with _server(folder) as (client, url):
            progress(0.05)
            taken = _taken(folder, client, url)
            progress(0.5)
            client.flushall()
            drained = _drained(folder, client, url)
            progress(1.0)
    slower = drained.worker_us / PACKAGED.sqlite_us
    return replace(
        PACKAGED,
        machine=f"{os.cpu_count()} processors of {platform.node()}, {platform.system()} {platform.release()}; "
        "PostgreSQL, MariaDB and handlers reckoned from those of the documentation",
        date=time.strftime("%Y-%m-%d", time.gmtime()),
        endpoint_us=taken.endpoint_us,
        append_us=taken.redis_us,
        claim_us=drained.redis_us,
        sqlite_us=drained.worker_us,
        postgresql_us=PACKAGED.postgresql_us * slower,
        server_us=PACKAGED.server_us * slower,
        mariadb_us=PACKAGED.mariadb_us * slower,
        mariadb_server_us=PACKAGED.mariadb_server_us * slower,
        handler_us=PACKAGED.handler_us * slower,
        stream_bytes=taken.stream,
        log_bytes=taken.stream,
        sqlite_bytes=drained.stored,
    )


def _disk() -> str | None:
    """Where an fsync costs something: `/tmp` is memory on many machines."""
    if os.environ.get("TMPDIR"):
        return None
    lasting = "/var/tmp"  # noqa: S108  # only the place of a folder that `tempfile` makes for us alone
    return lasting if os.access(lasting, os.W_OK) else None


@contextmanager
def _server(folder: Path) -> Iterator[tuple[redis.Redis, str]]:
    server = EmbeddedServer(folder)
    with _running(server.prepare(), {}, folder / "redis.log"), server.answering() as client:
        yield client, server.url
    server.forget()


@contextmanager
def _running(argv: list[str], environ: dict[str, str], log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603  # programs of ours
            argv, env={**_environment(), **environ}, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _environment() -> dict[str, str]:
    """Ours without what would lead to the user's own servers."""
    mine = ("INGEST_", "REDIS", "DATABASE_URL", "COPERNICA_", "SENTRY_", "OTEL_", "HOST", "PORT", "WEB_")
    return {name: value for name, value in os.environ.items() if not name.startswith(mine)}


# --- taking calls ---


class Taken(NamedTuple):
    """µs of the endpoint and of Redis for a call, and bytes of the stream for one that waits."""

    endpoint_us: float
    redis_us: float
    stream: float


def _taken(folder: Path, client: redis.Redis, url: str) -> Taken:
    signer = Signer(generate_private_key(65537, KEY_BITS), ACCOUNT)
    keys = folder / "keys.json"
    keys.write_text(json.dumps({signer.key_id: signer.dkim_record}))
    port = _free_port()
    target = Target(f"http://127.0.0.1:{port}{PATH}", signer)
    environ = {
        "REDIS_URL": url,
        "DATABASE_URL": f"sqlite:///{folder}/none.db",
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "INGEST_ACCOUNTS": ACCOUNT,
        "INGEST_KEYS": str(keys),
        "INGEST_DATA_DIR": str(folder),
        "INGEST_ENV_FILE": "off",
        "LOG_LEVEL": "warning",
    }
    log = folder / "serve.log"
    with _running(own_command("serve"), environ, log) as process:
        _wait_for(port, process, log)
        requests = [target.request(call).data for call in islice(Simulator(1), SIGNED)]
        warm = asyncio.run(_send(port, requests, WARM))
        endpoint, behind = _cpu(process.pid), _redis_cpu(client)
        sent = asyncio.run(_send(port, requests, SECONDS))
        endpoint, behind = _cpu(process.pid) - endpoint, _redis_cpu(client) - behind
    stream = int(client.memory_usage(Keys().stream, samples=0) or 0)
    return Taken(endpoint * 1e6 / sent, behind * 1e6 / sent, stream / (warm + sent))


async def _send(port: int, requests: list[bytes], seconds: float) -> int:
    """Send over all connections until the time is up; returns how many were answered 200.

    Raises:
        Unavailable: one was not.
    """
    endless = cycle(requests)
    ends = time.monotonic() + seconds

    async def one() -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        answered = 0
        try:
            while time.monotonic() < ends:
                writer.write(next(endless))
                head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)
                if not head.startswith(b"HTTP/1.1 200"):
                    raise Unavailable(f"The endpoint answered {head[9:12].decode('ascii', 'replace')}, not 200.")
                length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0].strip()
                if length and int(length):
                    await reader.readexactly(int(length))
                answered += 1
        finally:
            writer.close()
        return answered

    try:
        return sum(await asyncio.gather(*(one() for _ in range(CONNECTIONS))))
    except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError) as error:
        raise Unavailable(f"The endpoint stopped answering while it was measured: {error}.") from None


def _free_port() -> int:
    with socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def _wait_for(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    ends = time.monotonic() + PATIENCE
    while time.monotonic() < ends and process.poll() is None:
        try:
            create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    said = log.read_text(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
    raise Unavailable(f"The endpoint did not start to be measured: {said[0].rstrip('.')}.")


# --- draining ---


class Drained(NamedTuple):
    """µs of the worker and of Redis for an event, and its bytes in the database."""

    worker_us: float
    redis_us: float
    stored: float


def _drained(folder: Path, client: redis.Redis, url: str) -> Drained:
    database = folder / "events.db"
    upgrade(f"sqlite:///{database}")
    empty = database.stat().st_size
    asyncio.run(_fill(url))
    with Store.open(f"sqlite:///{database}") as store:
        behind, worker = _redis_cpu(client), time.process_time()
        stored = Drain(client, store).run().stored
        behind, worker = _redis_cpu(client) - behind, time.process_time() - worker
    if not stored:
        raise Unavailable("Nothing was drained while it was measured: try again.")
    return Drained(worker * 1e6 / stored, behind * 1e6 / stored, (database.stat().st_size - empty) / stored)


async def _fill(url: str) -> None:
    """Pile up events as the endpoint does: what is submitted together becomes one batch."""
    client = redis_client.connect_async(url)
    producer = Producer([Stream(client)], wake=lambda: None)
    intake = Intake(producer, max_body=1024 * 1024)
    refused: list[Answer] = []

    def answered(answer: Answer) -> None:
        if answer.status != 200:
            refused.append(answer)

    calls = Simulator(2)
    for _ in range(0, DRAINED, BATCH):
        for call in islice(calls, BATCH):
            fields = HeaderFields({b"content-type": call.content_type.encode()})
            intake.submit(PATH.encode(), fields, call.body, answered)
        await producer.settle()
    await producer.close()
    await client.aclose()
    if refused:
        raise Unavailable(f"The private Redis server took no more calls: {refused[0].status}.")


# --- what was used ---


def _redis_cpu(client: redis.Redis) -> float:
    """Seconds of processor time of the server so far."""
    info = client.info("cpu")
    return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])


def _cpu(pid: int) -> float:
    """Seconds of processor time of a process and those below it so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime and stime
    below = [child for task in Path(f"/proc/{pid}/task").glob("*/children") for child in task.read_text().split()]
    return ticks + sum(_cpu(int(child)) for child in below)
