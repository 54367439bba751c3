"""The database goes away and comes back: nothing is lost, nothing is stored twice, nobody has to help."""

import asyncio
import logging
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import redis
from rq import Worker

from ingest.errors import Unavailable
from ingest.jobs import EVENTS_QUEUE, HANDLERS_QUEUE, JobScheduler
from ingest.redis_client import connect
from ingest.simulation.sender import Sender
from ingest.simulation.target import Target
from ingest.stream.consumer import Consumer
from tests.support.builders import record
from tests.support.cli import typed
from tests.support.numbered import Numbered
from tests.support.postgres import Server, postgres
from tests.support.running import PATIENCE, answers, free_port, ingest, run, running, until
from tests.support.sql import add, execute, rows, stored_numbers
from tests.support.stream import keep
from workers import runtime
from workers.drain import drain, source
from workers.drain.drain import Drain
from workers.drain.summary import DrainSummary
from workers.store.filters import Filter
from workers.store.postgres import PostgreSQL
from workers.store.rows import Added
from workers.store.schema import upgrade
from workers.store.store import Store

BATCHES, SIZE = 24, 10
EVERYTHING = list(range(BATCHES * SIZE))
#: What survives a crash of the server, if not of its machine.
CRASH_SAFE = {"fsync": "off", "full_page_writes": "off"}
#: Nothing listens there.
NOWHERE = "postgresql://ingest:geheim@127.0.0.1:1/events"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server of our own, that may be killed."""
    with postgres(CRASH_SAFE) as server:
        upgrade(server.new_database("template"))
        yield server


@pytest.fixture
def url(server: Server) -> Iterator[str]:
    yield server.new_database("events", "template")
    server.stop(signal.SIGQUIT)
    server.start()


@pytest.fixture
def backlog(client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> Consumer:
    """A stream with work for several claims."""
    monkeypatch.setattr(source, "CLAIM_MAX", source.CLAIM_FIRST)
    monkeypatch.setattr(runtime, "RETRY_FIRST", 0.1)
    monkeypatch.setattr(runtime, "RETRY_MOST", 0.2)
    keep(client, *([record(batch * SIZE + n) for n in range(SIZE)] for batch in range(BATCHES)))
    return Consumer(client)


def once(lose: Callable[[], object], number: int) -> Callable[[], bool]:
    """What loses the server at its n-th call, and says so."""
    calls = 0

    def called() -> bool:
        nonlocal calls
        calls += 1
        if calls == number:
            lose()
        return calls == number

    return called


def lose_at(moment: str, monkeypatch: pytest.MonkeyPatch, lose: Callable[[], object]) -> None:
    """Have the server go at a moment of the third transaction."""
    due = once(lose, 3)
    add, count = Store.add_rows, PostgreSQL.add_counts

    def add_around(*arguments: Any, **more: Any) -> Added:
        if moment == "before it begins":
            due()
        added = add(*arguments, **more)
        if moment == "after its commit" and due():
            raise Unavailable("The answer was lost.")
        return added

    def count_and_lose(*arguments: Any) -> None:
        count(*arguments)  # the last thing that a transaction does
        if moment == "before its commit":
            due()

    monkeypatch.setattr(Store, "add_rows", add_around)
    monkeypatch.setattr(PostgreSQL, "add_counts", count_and_lose)


@pytest.mark.parametrize(
    ("moment", "how", "doubles"),
    [
        ("before it begins", signal.SIGQUIT, 0),
        ("before its commit", signal.SIGKILL, 0),
        ("after its commit", signal.SIGQUIT, source.CLAIM_FIRST * SIZE),
    ],
)
def test_a_drain_waits_for_its_database_and_goes_on_by_itself(
    server: Server,
    url: str,
    redis_url: str,
    backlog: Consumer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    moment: str,
    how: signal.Signals,
    doubles: int,
) -> None:
    lose_at(moment, monkeypatch, lambda: server.stop(how))

    def work() -> DrainSummary:
        store = Store.open(url)
        try:
            return Drain(connect(redis_url), store).run(deadline=time.monotonic() + 20)
        finally:
            store.close()

    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(work)
        until(lambda: running.done() or "waiting for the database" in caplog.text, "the outage")
        held = (backlog.pending(), backlog.batches())
        # A server that was killed leaves its sessions a moment, in which they may still commit.
        claims = {2, 3} if how is signal.SIGKILL else {2}
        assert held in {(source.CLAIM_FIRST, BATCHES - claim * source.CLAIM_FIRST) for claim in claims}
        time.sleep(2.5 * runtime.RETRY_MOST)
        assert (backlog.pending(), backlog.batches()) == held  # it claims no more
        assert not running.done()
        server.start()
        done = running.result(15)
    assert (done.stored, done.doubles) == (len(EVERYTHING) - doubles, doubles)
    store = Store.open(url)
    assert stored_numbers(store) == EVERYTHING
    store.close()
    assert (backlog.pending(), backlog.batches()) == (0, 0)
    assert caplog.text.count("waiting for the database") == 1
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("moment", ["from the beginning", "before it begins"])
def test_a_drain_whose_database_stays_away_ends_with_one_line_and_a_later_one_does_its_work(
    server: Server,
    url: str,
    redis_url: str,
    backlog: Consumer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    moment: str,
) -> None:
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setattr(drain, "LINGER_MS", 1)
    monkeypatch.setattr(drain, "SLICE", 0.6)
    if moment == "from the beginning":
        server.stop(signal.SIGQUIT)
    else:
        lose_at(moment, monkeypatch, lambda: server.stop(signal.SIGQUIT))
    drain.drain_job()
    errors = [line for line in caplog.records if line.levelno >= logging.ERROR]
    assert len(errors) == 1
    assert "nothing is lost" in errors[0].getMessage()
    assert "Traceback" not in caplog.text
    lost = 0 if moment == "from the beginning" else 2 * source.CLAIM_FIRST
    assert backlog.batches() == BATCHES - lost

    server.start()
    monkeypatch.setattr("ingest.stream.consumer.RECLAIM_IDLE_MS", 0)
    monkeypatch.setattr(drain, "SLICE", 10.0)
    assert drain.drain_job()["stored"] == len(EVERYTHING) - lost * SIZE
    store = Store.open(url)
    assert stored_numbers(store) == EVERYTHING
    store.close()
    assert (backlog.pending(), backlog.batches()) == (0, 0)


def test_calls_are_accepted_while_the_database_is_down_and_stored_later(
    server: Server, url: str, redis_url: str, tmp_path: Path
) -> None:
    port = free_port()
    environ = {"REDIS_URL": redis_url, "DATABASE_URL": url, "PORT": str(port), "INGEST_VERIFY": "off"}
    with (
        running(ingest("serve"), environ, tmp_path / "web.log") as web,
        running(ingest("worker"), environ, tmp_path / "worker.log") as worker,
        ThreadPoolExecutor(1) as thread,
    ):
        until(lambda: answers(port), "the endpoint")
        store = Store.open(url)
        sender = Sender(Target(f"http://127.0.0.1:{port}/copernica"), Numbered(1), 500, rate=250)
        sending = thread.submit(lambda: asyncio.run(sender.run(8)))
        until(store.stored, "the first events", 10)
        server.stop(signal.SIGQUIT)
        until(lambda: "waiting for the database" in worker.output, "word of the outage", 10)
        time.sleep(0.5)
        assert answers(port)
        assert Consumer(connect(redis_url)).batches()
        server.start()
        report = sending.result(30)
        until(lambda: not Consumer(connect(redis_url)).batches(), "an empty stream")
        found = Counter(int(event.payload["number"]) for event in store.find(Filter()))
        store.close()
    assert report.complete
    assert found == Counter(range(1, 501))
    assert "Traceback" not in web.output + worker.output


def test_an_endpoint_starts_while_the_database_is_away(redis_url: str, tmp_path: Path) -> None:
    port = free_port()
    environ = {"REDIS_URL": redis_url, "DATABASE_URL": NOWHERE, "PORT": str(port), "INGEST_VERIFY": "off"}
    with running(ingest("serve"), environ, tmp_path / "log") as web:
        until(lambda: answers(port), "the endpoint")
        assert "127.0.0.1:1/events cannot be used" in web.output
        assert "geheim" not in web.output
        assert web.stop() == 0
    assert "Traceback" not in web.output


def refusals(environ: dict[str, str]) -> Iterator[str]:
    """What the endpoint and a worker say, each in one sentence, before they end."""
    served = run("serve", environ={**environ, "PORT": str(free_port()), "INGEST_VERIFY": "off"})
    worked = typed("worker", "--burst", environ=environ)
    for code, said in ((served.returncode, served.stderr), (worked.exit_code, worked.stderr)):
        assert code == 1
        assert said.startswith("ingest: The")
        assert said.count("\n") == 1
        yield said


def test_tables_of_an_older_release_are_refused(database: str, store: Store, redis_url: str) -> None:
    execute(store, "UPDATE alembic_version SET version_num = '0000'")
    for said in refusals({"REDIS_URL": redis_url, "DATABASE_URL": database}):
        assert "has schema 0000, and this program needs" in said


def test_an_endpoint_that_starts_again_during_an_upgrade_takes_calls(
    database: str, store: Store, redis_url: str, tmp_path: Path
) -> None:
    execute(store, "UPDATE alembic_version SET version_num = '9999'")
    port = free_port()
    environ = {"REDIS_URL": redis_url, "DATABASE_URL": database, "PORT": str(port), "INGEST_VERIFY": "off"}
    with running(ingest("serve"), environ, tmp_path / "log") as web:
        until(lambda: answers(port), "the endpoint")
        assert "has schema 9999, newer than" in web.output


@pytest.mark.parametrize("queue", [EVENTS_QUEUE, HANDLERS_QUEUE])
def test_a_worker_leaves_its_queue_to_those_of_the_release_that_upgraded(
    queue: str, client: redis.Redis, database: str, store: Store, redis_url: str, tmp_path: Path
) -> None:
    environ = {"REDIS_URL": redis_url, "DATABASE_URL": database, "INGEST_FORWARD_URL": "http://127.0.0.1:1/"}
    with running(ingest("worker", "--queue", queue), environ, tmp_path / "log") as worker:
        until(lambda: Worker.count(client), "the worker")
        execute(store, "UPDATE alembic_version SET version_num = '9999'")
        if queue == EVENTS_QUEUE:
            JobScheduler(client).enqueue_drain()
        else:
            JobScheduler(client).wake_handler("none")
        assert worker.wait() == 1
    assert worker.output.splitlines()[-1].startswith("ingest: The database")
    assert Worker.count(client) == 0


def test_a_worker_that_met_other_tables_and_is_asked_to_stop_stops(
    redis_url: str, sqlite_url: str, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(
        "import os, signal\nfrom workers import on\nfrom workers.store.other_release import noted\n\n"
        "@on()\ndef mine(event):\n    noted.note()\n    os.kill(os.getppid(), signal.SIGTERM)\n"
    )
    with Store.open(sqlite_url) as store:
        add(store, record(1))
    environ = {"REDIS_URL": redis_url, "DATABASE_URL": sqlite_url, "INGEST_HANDLERS": "mine"}
    with running(ingest("worker", "--queue", HANDLERS_QUEUE), environ, tmp_path / "log", cwd=tmp_path) as worker:
        assert worker.wait(4 * PATIENCE) == 0
    assert "starts again" not in worker.output


def test_a_hangup_lets_a_worker_end_its_call_and_is_no_failure_of_the_handler(
    redis_url: str, sqlite_url: str, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(
        "import os, signal\nfrom workers import on\n\n@on(retries=0)\ndef mine(event):\n"
        "    for process in (os.getppid(), os.getpid()):\n        os.kill(process, signal.SIGHUP)\n"
    )
    environ = {"REDIS_URL": redis_url, "DATABASE_URL": sqlite_url, "INGEST_HANDLERS": "mine"}
    with Store.open(sqlite_url) as store:
        add(store, record(1))
        with running(
            ingest("worker", "--queue", HANDLERS_QUEUE), environ, tmp_path / "log", cwd=tmp_path
        ) as worker:
            assert worker.wait(4 * PATIENCE) == 0
        assert rows(store, "SELECT (SELECT count(*) FROM handoffs), (SELECT count(*) FROM dead_letters)") == [
            (0, 0)
        ]
    assert "Traceback" not in worker.output


def test_a_worker_without_tables_says_how_to_make_them(
    postgres_server: Server, redis_url: str, tmp_path: Path
) -> None:
    for url in (f"sqlite:///{tmp_path}/none.db", postgres_server.new_database("none")):
        refused = typed("worker", "--burst", environ={"REDIS_URL": redis_url, "DATABASE_URL": url})
        assert refused.exit_code == 1
        assert refused.stderr.startswith("ingest: The")
        assert refused.stderr.endswith("run `ingest db upgrade`.\n")
        assert refused.stderr.count("\n") == 1
