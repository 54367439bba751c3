"""Redis is full, flushed, or set back to an older state: everybody goes on, and nobody has to help."""

import asyncio
import shutil
import signal
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from ingest.errors import Unavailable
from ingest.redis_client import connect
from ingest.simulation.sender import Report, Sender, Target
from ingest.stream.consumer import Consumer
from ingest.stream.keys import Keys
from tests.integration.test_drain import keep, record
from tests.support.running import Process, answers, free_port, ingest, running, until
from tests.support.valkey import Valkey, valkey
from tests.system.test_flow import Numbered
from tests.system.test_spool_flow import shown
from workers.store.store import upgrade


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


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with valkey() as server:
        yield Site(server, tmp_path)


@pytest.fixture
def running_site(site: Site) -> Iterator[Site]:
    with (
        running(ingest("serve"), site.environ, site.folder / "web.log") as web,
        running(ingest("worker"), site.environ, site.folder / "worker.log") as worker,
    ):
        until(lambda: answers(site.port), "the endpoint")
        yield site
        site.server.send(signal.SIGCONT)
        assert worker.stop() == 0
        assert web.stop() == 0
    assert "Traceback" not in web.output + worker.output


def test_a_worker_makes_room_in_a_full_redis_by_itself_and_is_back_when_there_is_some(site: Site) -> None:
    with connect(site.server.url) as client:
        Consumer(client).prepare()  # as an endpoint does when it starts and with every sweep
        keep(client, *([record(n)] for n in range(20)))
        client.config_set("maxmemory", 1)
        with running(ingest("worker"), site.environ, site.folder / "worker.log") as worker:
            until(lambda: not Consumer(client).batches(), "an empty stream")
            assert shown(site.environ)[1]["stored"] == 20
            assert "draining without RQ" in worker.output
            client.config_set("maxmemory", 0)
            until(lambda: shown(site.environ)[1]["workers"], "a worker that is listed")
            assert worker.stop() == 0
        assert "Traceback" not in worker.output


def test_a_redis_that_was_flushed_is_used_again_without_a_restart(running_site: Site) -> None:
    assert running_site.send(100).complete
    running_site.wait_for(100)
    with connect(running_site.server.url) as client:
        client.flushall()
    assert running_site.send(100).complete
    running_site.wait_for(200)
    until(lambda: shown(running_site.environ)[1]["workers"], "a worker that is listed again")
    until(lambda: shown(running_site.environ)[1]["endpoints"], "an endpoint that is listed again")


def test_a_redis_that_is_set_back_costs_only_work(running_site: Site) -> None:
    """As a failover to a replica that is behind: it still has what was drained, and knows of no later claims."""
    server, older = running_site.server, running_site.folder / "older"
    with connect(server.url) as client:
        assert running_site.send(50).complete
        shutil.copytree(server.folder / "appendonlydir", older)
        running_site.wait_for(50)
        assert running_site.send(50).complete
        running_site.wait_for(100)
        last = client.xinfo_stream(Keys().stream)["last-generated-id"]
    server.kill()
    shutil.rmtree(server.folder / "appendonlydir")
    shutil.copytree(older, server.folder / "appendonlydir")
    server.start("--aof-load-truncated", "yes")
    with connect(server.url) as client:
        assert client.xinfo_stream(Keys().stream)["last-generated-id"] < last
    assert running_site.send(50).complete
    running_site.wait_for(150)
    with connect(server.url) as client:
        until(lambda: not Consumer(client).batches(), "an empty stream")
