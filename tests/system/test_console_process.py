"""`ingest console` as a process: it starts whatever is away, stops soon whoever looks, and says what is wrong."""

import signal
import socket
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.support.running import Process, free_port, ingest, run, running, until

#: No server listens there.
NOWHERE = "redis://127.0.0.1:1/0"


@pytest.fixture
def environ(sqlite_url: str, redis_url: str) -> dict[str, str]:
    return {"DATABASE_URL": sqlite_url, "REDIS_URL": redis_url, "INGEST_CONSOLE_PORT": str(free_port())}


def asked(environ: dict[str, str], path: str = "/") -> tuple[int, str]:
    """The status and text of an answer; 0 while nobody answers."""
    request = Request(f"http://127.0.0.1:{environ['INGEST_CONSOLE_PORT']}{path}", headers={"Accept": "text/html"})
    try:
        with urlopen(request, timeout=15) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def is_up(environ: dict[str, str]) -> bool:
    return asked(environ, "/healthz")[0] == 200


@pytest.fixture
def console(environ: dict[str, str], tmp_path: Path) -> Iterator[Process]:
    with running(ingest("console"), environ, tmp_path / "console.log") as process:
        until(lambda: is_up(environ), "the console")
        yield process


def reader(environ: dict[str, str], path: str = "/live/now") -> socket.socket:
    """Somebody who looks at what is live and never leaves."""
    connection = socket.create_connection(("127.0.0.1", int(environ["INGEST_CONSOLE_PORT"])), 10)
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n".encode())
    return connection


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_within_three_seconds_whoever_looks(
    console: Process, environ: dict[str, str], number: signal.Signals
) -> None:
    with closing(reader(environ)) as stream, closing(reader(environ, "/")) as idle:
        assert stream.recv(100).startswith(b"HTTP/1.1 ")
        assert idle.recv(100).startswith(b"HTTP/1.1 200")
        began = time.monotonic()
        console.send(number)
        assert console.wait() == 0
        assert time.monotonic() - began < 3
    assert "Traceback" not in console.output
    assert console.output.rstrip().endswith("stopped")


def test_asked_twice_it_stops_all_the_same(console: Process, environ: dict[str, str]) -> None:
    with closing(reader(environ)) as stream:
        assert stream.recv(100)
        for _ in range(20):
            with suppress(ProcessLookupError):
                console.send(signal.SIGTERM)
            time.sleep(0.02)
        assert console.wait() == 0
    assert "Traceback" not in console.output


def test_a_port_in_use_is_one_sentence(environ: dict[str, str], tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", int(environ["INGEST_CONSOLE_PORT"])))
        taken.listen()
        done = run("console", environ=environ, cwd=tmp_path)
    assert done.returncode == 1
    assert environ["INGEST_CONSOLE_PORT"] in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "away",
    [
        {"REDIS_URL": NOWHERE},
        {"DATABASE_URL": "postgresql://u:geheim@127.0.0.1:1/d"},
        {"DATABASE_URL": "sqlite:////nowhere/events.db"},
        {"DATABASE_URL": "sqlite:///without_tables.db"},
        {"REDIS_URL": NOWHERE, "DATABASE_URL": "postgresql://u:geheim@127.0.0.1:1/d"},
    ],
    ids=["redis", "database", "folder", "tables", "both"],
)
def test_it_starts_and_stays_whatever_is_away(
    environ: dict[str, str], away: dict[str, str], tmp_path: Path
) -> None:
    environ = {**environ, **away}
    with running(ingest("console"), environ, tmp_path / "console.log", cwd=tmp_path) as process:
        until(lambda: is_up(environ), "the console")
        for path in ("/", "/days", "/gaps", "/events", "/handlers"):
            status, text = asked(environ, path)
            assert status in (200, 404, 503), (path, status, text)
            assert "<h1" in text
            assert "Traceback" not in text
            assert "geheim" not in text
        assert process.alive
        assert is_up(environ)
    assert "geheim" not in process.output
    assert "Traceback" not in process.output
