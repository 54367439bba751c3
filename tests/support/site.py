"""An installation whose Redis a test may break."""

import asyncio
import sqlite3
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path

from ingest.errors import Unavailable
from ingest.simulation.report import Report
from ingest.simulation.sender import Sender
from ingest.simulation.target import Target
from tests.support.numbered import Numbered
from tests.support.running import Process, free_port, ingest, until
from tests.support.valkey import Valkey
from workers.store.schema import upgrade


class Site:
    """A whole installation with a server of its own."""

    def __init__(self, server: Valkey, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.port = free_port()
        self.environ = {
            "REDIS_URL": server.url,
            "DATABASE_URL": f"sqlite:///{folder}/events.db",
            "PORT": str(self.port),
            "INGEST_VERIFY": "off",
            "INGEST_SPOOL_DIR": str(folder / "spool"),
        }
        self.numbered = Numbered(1)
        upgrade(self.environ["DATABASE_URL"])

    def start(self, *command: str) -> Process:
        return Process(ingest(*command), self.environ, self.folder / f"{command[-1]}.log")

    def send(self, events: int, rate: float | None = None) -> Report:
        sender = Sender(Target(f"http://127.0.0.1:{self.port}/copernica"), self.numbered, events, rate)
        return asyncio.run(sender.run(16))

    def send_while_it_is_there(self, events: int, rate: float) -> None:
        with suppress(Unavailable):
            self.send(events, rate)

    def numbers(self) -> Counter[int]:
        with closing(sqlite3.connect(self.folder / "events.db", timeout=30)) as connection:
            rows = connection.execute("SELECT json_extract(payload, '$.number') FROM events").fetchall()
            return Counter(int(row[0]) for row in rows)

    def wait_for(self, events: int) -> None:
        until(lambda: self.numbers().total() >= events, f"{events} events")
        assert self.numbers() == Counter(range(1, events + 1))
