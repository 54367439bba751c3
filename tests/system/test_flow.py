"""The main job, end to end, with the real parts as processes: valkey-server, `ingest serve`, `ingest worker`.

What is acknowledged must be in the database exactly once, whatever was killed on the way. Calls are told apart by
an id of their own, so that this can be asked of each of them.
"""

import asyncio
import signal
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from ingest import redis_client
from ingest.simulation.report import Report
from ingest.simulation.sender import Sender
from ingest.simulation.target import Target
from ingest.stream.consumer import GROUP, RECLAIM_IDLE_MS, Consumer
from ingest.stream.keys import Keys
from tests.support.numbered import Numbered
from tests.support.running import Process, answers, descendants, exists, free_port, ingest, run, running, until
from workers.store.schema import upgrade

CONNECTIONS = 64


@dataclass
class Site:
    """One installation."""

    port: int
    environ: dict[str, str]
    database: Path
    folder: Path

    def send(self, events: int, seed: int = 1, rate: float | None = None) -> Report:
        sender = Sender(Target(f"http://127.0.0.1:{self.port}/copernica"), Numbered(seed), events, rate)
        return asyncio.run(sender.run(CONNECTIONS))

    def numbers(self) -> Counter[int]:
        """How often each numbered call is in the database."""
        with closing(sqlite3.connect(self.database)) as connection:
            rows = connection.execute("SELECT json_extract(payload, '$.number') FROM events").fetchall()
            return Counter(int(row[0]) for row in rows)

    def backlog(self) -> int:
        client = redis_client.connect(self.environ["REDIS_URL"])
        try:
            return Consumer(client).batches()
        finally:
            client.close()

    def let_claims_grow_old(self) -> None:
        """As if nobody had given a sign of life for so long that another drain may take what is claimed."""
        stream = Keys().stream
        with redis_client.connect(self.environ["REDIS_URL"]) as client:
            for held in cast(Any, client.xpending_range(stream, GROUP, "-", "+", 100_000)):
                ids = [held["message_id"]]
                client.xclaim(stream, GROUP, held["consumer"], 0, ids, idle=2 * RECLAIM_IDLE_MS, justid=True)

    def wait_until_drained(self, seconds: float = 60.0) -> None:
        until(lambda: self.backlog() == 0, "an empty stream", seconds)


@pytest.fixture
def site(redis_url: str, tmp_path: Path) -> Site:
    port = free_port()
    environ = {
        "REDIS_URL": redis_url,
        "DATABASE_URL": f"sqlite:///{tmp_path}/events.db",
        "PORT": str(port),
        "WEB_CONCURRENCY": "2",
        "INGEST_VERIFY": "off",
    }
    upgrade(environ["DATABASE_URL"])
    return Site(port, environ, tmp_path / "events.db", tmp_path)


@pytest.fixture
def endpoint(site: Site) -> Iterator[Process]:
    with running(ingest("serve"), site.environ, site.folder / "web.log") as process:
        until(lambda: process.output.count("is ready") == 2 and answers(site.port), "the endpoint")
        yield process
    assert "Traceback" not in process.output


@pytest.fixture
def worker(site: Site) -> Iterator[Process]:
    with running(ingest("worker"), site.environ, site.folder / "worker.log") as process:
        yield process
    assert "Traceback" not in process.output


def test_thousands_of_calls_are_each_stored_once(site: Site, endpoint: Process, worker: Process) -> None:
    report = site.send(5_000)
    assert report.complete
    site.wait_until_drained()
    assert site.numbers() == Counter(range(1, 5_001))


def test_a_worker_killed_in_the_middle_of_a_drain_costs_nothing(site: Site, endpoint: Process) -> None:
    assert site.send(20_000).complete
    with running(ingest("worker"), site.environ, site.folder / "killed.log") as killed:
        until(lambda: site.numbers().total(), "the first commit", 20)
        horses = descendants(killed.pid)
        for pid in (killed.pid, *horses):
            if exists(pid):
                signal.pidfd_send_signal(_pidfd(pid), signal.SIGKILL)
        assert killed.wait() == -signal.SIGKILL
    at_the_kill = site.numbers().total()
    assert site.backlog(), f"the drain was through before it was killed ({at_the_kill} stored)"
    site.let_claims_grow_old()
    with running(ingest("worker"), site.environ, site.folder / "next.log"):
        site.wait_until_drained()
    assert site.numbers() == Counter(range(1, 20_001))


def test_an_endpoint_stopped_under_load_answers_what_it_took(
    site: Site, endpoint: Process, worker: Process
) -> None:
    async def load_and_stop() -> Report:
        sender = Sender(Target(f"http://127.0.0.1:{site.port}/copernica"), Numbered(1), 100_000)
        sending = asyncio.ensure_future(sender.run(CONNECTIONS))
        while sender.report.acknowledged < 5_000:
            await asyncio.sleep(0.01)
        endpoint.send(signal.SIGTERM)
        # The port is closed then: the sender gives up, and its report says what was acknowledged until then.
        await asyncio.gather(sending, return_exceptions=True)
        return sender.report

    report = asyncio.run(load_and_stop())
    assert endpoint.wait() == 0
    assert report.lost == 0, "a call was left without an answer"
    assert set(report.refused) == set()
    site.wait_until_drained()
    numbers = site.numbers()
    assert set(numbers.values()) == {1}
    assert numbers.total() == report.acknowledged


@pytest.mark.smoke
def test_the_store_waits_for_workers_and_ingest_drain_needs_none(site: Site, endpoint: Process) -> None:
    assert site.send(2_000).complete
    assert site.backlog() > 0
    drained = run("drain", environ=site.environ)
    assert drained.returncode == 0, drained.stderr
    assert "2,000 events stored" in drained.stdout
    assert site.numbers() == Counter(range(1, 2_001))


def test_an_endpoint_process_that_dies_is_replaced(site: Site, endpoint: Process) -> None:
    first = descendants(endpoint.pid)
    assert len(first) == 2
    signal.pidfd_send_signal(_pidfd(min(first)), signal.SIGKILL)
    until(lambda: endpoint.output.count("is ready") == 3, "a new process")
    assert "was killed by SIGKILL" in endpoint.output
    assert site.send(500).complete


def test_endpoint_processes_leave_when_their_parent_was_killed(site: Site, endpoint: Process) -> None:
    children = descendants(endpoint.pid)
    endpoint.send(signal.SIGKILL)
    until(lambda: not any(exists(pid) for pid in children), "the end of the orphans", 10)


def _pidfd(pid: int) -> int:
    import os

    return os.pidfd_open(pid)
