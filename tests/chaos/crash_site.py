"""What is crashed: Redis, endpoint, worker and database, all on one disk, under a load that remembers."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Thread
from typing import NamedTuple

import redis
from sqlalchemy import text

from ingest.redis_client import connect
from ingest.stream.keys import Keys
from tests.chaos.crash_disk import Disk
from tests.support.postgres import Server
from tests.support.running import Process, answers, descendants, free_port, ingest, until
from tests.support.valkey import Valkey
from workers.store.schema import upgrade
from workers.store.store import Store

#: Calls under way at once.
CONNECTIONS = 16


class Setup(NamedTuple):
    """One line of the table: what holds acknowledged calls when the crash comes."""

    name: str
    #: Options of the Redis server.
    redis: tuple[str, ...] = ()
    #: Whether Redis is away while calls come in, so that the spool takes them.
    away: bool = False
    #: Whether a worker stores them all the while.
    stored: bool = False
    #: Settings of a PostgreSQL server; None means SQLite.
    postgres: dict[str, str] | None = None
    #: Whether a replica takes over from the Redis server.
    replica: bool = False


@dataclass
class Load:
    """Numbered calls over connections that stay open, and when each was acknowledged."""

    port: int
    acknowledged: dict[int, float] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=lambda: iter(range(1, 10**9)))
    _over: bool = False

    def start(self) -> None:
        self._thread = Thread(target=lambda: asyncio.run(self._send()))
        self._thread.start()

    def stop(self) -> None:
        self._over = True
        self._thread.join()

    async def _send(self) -> None:
        tasks = [asyncio.create_task(self._one()) for _ in range(CONNECTIONS)]
        while not self._over:
            await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _one(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        for number in self._numbers:
            body = b"type=open&id=m%d&recipient=jan@example.nl&number=%d" % (number, number)
            head = b"POST /copernica HTTP/1.1\r\nHost: t\r\nContent-Type: application/x-www-form-urlencoded\r\n"
            writer.write(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            if answer.startswith(b"HTTP/1.1 200 "):
                self.acknowledged[number] = time.monotonic()


class Site:
    """Everything on one disk."""

    def __init__(self, setup: Setup, on: Disk) -> None:
        self.setup, self.disk = setup, on
        self.port = free_port()
        folder = on.path / "redis"
        folder.mkdir()
        self.redis = Valkey(folder)
        self.replica: Valkey | None = None
        self.server: Server | None = None
        self.processes: list[Process] = []
        self.database = f"sqlite:///{on.path}/events.db"
        if setup.postgres is not None:
            pg = on.path / "pg"
            pg.mkdir()
            self.server = Server(pg, setup.postgres)

    def start(self, first: bool = True) -> None:
        if self.server is not None:
            self.server.start()
            if first:
                self.database = self.server.new_database("events")
        if first:
            upgrade(self.database)
        self.redis.start(*self.setup.redis)
        if first and self.setup.replica:
            self._start_replica()
        self.processes = [self.run("serve")]
        until(lambda: answers(self.port), "the endpoint")
        if self.setup.stored or not first:
            self.processes.append(self.run("worker"))

    def _start_replica(self) -> None:
        folder = self.disk.path / "replica"
        folder.mkdir()
        self.redis.kill()
        self.redis = Valkey(self.redis.folder, free_port())
        self.redis.start(*self.setup.redis)
        self.replica = Valkey(folder, free_port())
        self.replica.start("--replicaof", f"127.0.0.1 {self.redis.port}")
        with connect(self.replica.url) as client:
            until(lambda: client.info("replication")["master_link_status"] == "up", "the replica")

    @property
    def environ(self) -> dict[str, str]:
        return {
            "REDIS_URL": self.redis.url,
            "DATABASE_URL": self.database,
            "PORT": str(self.port),
            "INGEST_VERIFY": "off",
            "INGEST_SPOOL_DIR": f"{self.disk.path}/spool",
        }

    def run(self, command: str) -> Process:
        return Process(ingest(command), self.environ, self.disk.path.parent / f"{command}.log")

    def pids(self) -> list[int]:
        """All processes that were started here, and theirs."""
        roots = [process.pid for process in self.processes]
        roots += [server.process.pid for server in (self.redis, self.replica) if server and server.process]
        roots += [self.server.pid] if self.server else []
        return [pid for root in roots for pid in (root, *descendants(root))]

    def send(self, number: signal.Signals) -> None:
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self) -> None:
        """All at once."""
        self.send(signal.SIGKILL)
        for process in (*self.processes, self.redis.process, self.replica and self.replica.process):
            if process:
                process.wait()
        if self.server is not None:
            self.server.stop(signal.SIGKILL)

    def fail_over(self) -> None:
        """The replica is the server now."""
        assert self.replica is not None
        self.redis.kill()
        with connect(self.replica.url) as client:
            client.execute_command("REPLICAOF", "NO", "ONE")
        for process in self.processes:
            process.stop()
        self.redis, self.replica = self.replica, None

    def numbers(self) -> list[int]:
        """Of every call in the database."""
        query = "SELECT json_extract(payload, '$.number') FROM events"
        if self.server is not None:
            query = "SELECT payload->>'number' FROM events"
        store = Store.open(self.database)
        try:
            with store.reading() as connection:
                return [int(number) for number in connection.execute(text(query)).scalars()]
        finally:
            store.close()

    def drained(self) -> bool:
        """Whether nothing is under way any more."""
        try:
            with connect(self.redis.url) as client:
                empty = client.xlen(Keys().stream) == 0
        except redis.RedisError:
            return False
        return empty and not list((self.disk.path / "spool").glob("*.spool"))
