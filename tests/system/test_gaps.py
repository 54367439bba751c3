"""Endpoints are killed and Redis goes: gaps are only where no endpoint took calls."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest.endpoint.coverage import PROMPT
from ingest.stream.coverage import Coverage
from tests.support.http import request, status
from tests.support.running import Process, answers, descendants, exchange, free_port, ingest, running, until
from tests.support.valkey import Valkey, valkey
from workers.gaps.gap import State
from workers.gaps.looking import look
from workers.store.schema import upgrade
from workers.store.store import Store

MICROS = 1_000_000
#: Seconds that a killed process leaves unsure at most, and what a busy machine adds.
UNSURE = 2.0 + 4.0


@pytest.fixture
def server() -> Iterator[Valkey]:
    """A Redis of our own."""
    with valkey() as server:
        yield server


@pytest.fixture
def environ(server: Valkey, tmp_path: Path) -> dict[str, str]:
    """One process for each endpoint, all with one spool folder."""
    upgrade(f"sqlite:///{tmp_path}/events.db")
    return {
        "REDIS_URL": server.url,
        "DATABASE_URL": f"sqlite:///{tmp_path}/events.db",
        "INGEST_VERIFY": "off",
        "INGEST_SPOOL_DIR": str(tmp_path / "spool"),
        "WEB_CONCURRENCY": "1",
    }


def found(environ: dict[str, str], server: Valkey) -> list[tuple[float, float | None, State]]:
    """All gaps that are not closed, in seconds since 1970."""
    with server.client() as client, Store.open(environ["DATABASE_URL"]) as store:
        gaps = look(store, Coverage(client))
    return [(gap.since / MICROS, gap.until and gap.until / MICROS, gap.state) for gap in gaps]


def told_of(server: Valkey, number: int) -> bool:
    with server.client() as client:
        return len(Coverage(client).statements()) >= number


def kill_all(process: Process) -> None:
    """The endpoint with its child, at once."""
    children = descendants(process.pid)
    process.send(signal.SIGSTOP)  # so that it starts no other
    for child in children:
        os.kill(child, signal.SIGKILL)
    process.send(signal.SIGKILL)
    process.wait()


def test_the_seconds_after_a_kill_are_a_gap_and_a_stop_is_exact(
    environ: dict[str, str], server: Valkey, tmp_path: Path
) -> None:
    port = free_port()
    environ["PORT"] = str(port)
    with running(ingest("serve"), environ, tmp_path / "web.log") as web:
        until(lambda: answers(port), "the endpoint")
        until(lambda: told_of(server, 1), "its word")
        time.sleep(3)
        kill_all(web)
        killed_at = time.time()
    time.sleep(2)
    with running(ingest("serve"), environ, tmp_path / "web.log") as web:
        until(lambda: answers(port), "its successor")
        answered_at = time.time()
        until(lambda: told_of(server, 2), "its word")
        ((since, gap_ends, state),) = found(environ, server)
        assert state is State.ENDED
        assert killed_at - UNSURE <= since <= killed_at
        assert gap_ends is not None
        assert killed_at + 2 <= gap_ends <= answered_at + PROMPT
        stopping_at = time.time()
        web.stop()
        stopped_at = time.time()
    time.sleep(1.2)
    *_, (since, gap_ends, state) = found(environ, server)
    assert (gap_ends, state) == (None, State.OPEN)
    # It is as exact as Redis is quick to say what time it is.
    assert stopping_at - PROMPT <= since <= stopped_at
    assert not list((tmp_path / "spool").glob("*.coverage"))


def test_where_another_endpoint_goes_on_there_is_no_gap(
    environ: dict[str, str], server: Valkey, tmp_path: Path
) -> None:
    one, other = free_port(), free_port()
    with (
        running(ingest("serve"), {**environ, "PORT": str(one)}, tmp_path / "one.log") as first,
        running(ingest("serve"), {**environ, "PORT": str(other)}, tmp_path / "other.log"),
    ):
        until(lambda: answers(one) and answers(other), "the endpoints")
        until(lambda: told_of(server, 2), "their word")
        kill_all(first)
        time.sleep(4)
        assert found(environ, server) == []


def test_while_redis_is_away_calls_are_kept_and_that_is_no_gap(
    environ: dict[str, str], server: Valkey, tmp_path: Path
) -> None:
    port = free_port()
    environ["PORT"] = str(port)
    with running(ingest("serve"), environ, tmp_path / "web.log") as web:
        until(lambda: answers(port), "the endpoint")
        until(lambda: told_of(server, 1), "its word")
        found(environ, server)
        server.kill()
        assert status(exchange(port, request(b"a=1"))) == 200
        time.sleep(4)
        kill_all(web)
        killed_at = time.time()
    with running(ingest("serve"), environ, tmp_path / "web.log"):
        until(lambda: answers(port), "its successor")
        answered_at = time.time()
        time.sleep(1)
        server.start()
        until(lambda: told_of(server, 2), "the word of both")
        gaps = found(environ, server)
    # Of what the first one took during the outage, only the last moments are unsure.
    assert len(gaps) == 1
    since, gap_ends, _ = gaps[0]
    assert killed_at - UNSURE <= since <= killed_at
    assert gap_ends is not None
    assert gap_ends <= answered_at + PROMPT
