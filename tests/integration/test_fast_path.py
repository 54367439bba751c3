"""The fast front door takes nothing that aiohttp would refuse, and keeps the very same bytes.

Both ways are open in one process, at two ports, onto one real Redis; every request goes through both.
"""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.copernica.key_sources import FileSource
from ingest.copernica.public_keys import KeyRing
from ingest.copernica.signature import Policy
from ingest.endpoint import fast_path, limits
from ingest.endpoint.connection import Connection
from ingest.endpoint.connections import Connections
from ingest.endpoint.fast_path import FastPath, FastPathProtocol
from ingest.endpoint.intake import Intake
from ingest.endpoint.plain import Plain, Read
from ingest.redis_client import connect_async
from ingest.stream.appends import Stream
from ingest.stream.producer import Producer
from ingest.verification import Verifier
from tests.support.http import request
from tests.support.running import exchange
from tests.support.ways import Ways, both_ways

MAX_BODY = 1000


@pytest.fixture(scope="module")
def ways(valkey_server: str) -> Iterator[Ways]:
    with both_ways(valkey_server, MAX_BODY) as ways:
        yield ways


names = st.sampled_from(
    [
        *(
            "Content-Type",
            "content-length",
            "Content-Length",
            "Host",
            "X-Nonce",
            "Connection",
            "Expect",
            "Upgrade",
        ),
        *("Content-Encoding", "Transfer-Encoding", "Content-Length ", "X Y", "", "TE"),
    ]
)
values = st.sampled_from(
    [
        *("", "3", "03", "+3", "0x3", "3, 3", " 3 ", "4", "text/plain", "close", "keep-alive", "chunked", "gzip"),
        *("identity", "h2c", "100-continue", "\x00", "é", "a\tb", "a\x0bb", "a\rb"),
    ]
)
headers = st.lists(st.tuples(names, values), max_size=4)
targets = st.sampled_from(
    [
        *("/copernica", "/copernica/", "/copernica/open?x=1", "/copernicaX", "/copernica?", "/copernica/%41", "/"),
        *("*", "/copernica/../x", "/copernica#f", "//copernica", "http://x/copernica", "/copernica/a b"),
        "/copernica/é",
    ]
)
line_ends = st.sampled_from(["\r\n", "\r\n", "\r\n", "\n", "\r"])


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    method = draw(st.sampled_from(["POST", "POST", "POST", "POST", "post", "PUT", "GET", "P\x00ST"]))
    version = draw(st.sampled_from(["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "http/1.1"]))
    end = draw(line_ends)
    lines = [f"{method} {draw(targets)} {version}", "Host: x", "Content-Length: 3"]
    lines = lines[: draw(st.integers(1, 3))] + [f"{name}:{value}" for name, value in draw(headers)]
    return (end.join(lines) + end + end).encode() + b"a=b"


def statuses(answers: bytes) -> list[bytes]:
    return re.findall(rb"HTTP/1\.[01] (\d+) ", answers)


@settings(
    max_examples=5 * settings().max_examples,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(sent=requests())
def test_both_ways_answer_and_keep_the_same(ways: Ways, sent: bytes) -> None:
    ways.kept()
    fast, kept_fast = exchange(ways.fast, sent), ways.kept()
    plain, kept_plain = exchange(ways.plain, sent), ways.kept()
    assert statuses(fast) == statuses(plain)
    assert kept_fast == kept_plain


def test_the_usual_shape_does_not_reach_aiohttp(ways: Ways) -> None:
    ways.kept()  # what other tests have left in the same Redis
    answer = exchange(ways.fast, b"POST /copernica HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\na=b")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Server: " not in answer  # aiohttp signs its answers
    assert ways.kept() == [(b"/copernica", b"", b"a=b")]


@pytest.mark.parametrize(
    "sent", [b"POST /cop", b"POST /copernica HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab"]
)
def test_a_request_that_never_ends_is_answered_408(
    ways: Ways, sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fast_path, "HEAD_DEADLINE", 0.1)
    monkeypatch.setattr(fast_path, "BODY_DEADLINE", 0.1)
    with socket.create_connection(("127.0.0.1", ways.fast), 5) as connection:
        connection.sendall(sent)
        assert connection.recv(1000).startswith(b"HTTP/1.1 408 ")
        assert connection.recv(1000) == b""


def test_a_slow_head_is_answered_408_by_the_plain_way_too(ways: Ways, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.endpoint.limits.HEAD_DEADLINE", 0.1)
    with socket.create_connection(("127.0.0.1", ways.plain), 5) as connection:
        connection.sendall(b"PUT /x HTTP/1.1\r\nHost")
        assert connection.recv(1000).startswith(b"HTTP/1.1 408 ")


def test_a_slow_body_is_answered_408_by_the_plain_way_too(ways: Ways, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.endpoint.limits.BODY_DEADLINE", 0.1)
    with socket.create_connection(("127.0.0.1", ways.plain), 5) as connection:
        connection.sendall(b"POST /copernica HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab")
        assert connection.recv(1000).startswith(b"HTTP/1.1 408 ")


def test_an_idle_connection_is_closed_in_the_end(ways: Ways, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_path, "KEEPALIVE", 0.1)
    with socket.create_connection(("127.0.0.1", ways.fast), 5) as connection:
        assert connection.recv(1000) == b""


def test_limits_leave_room_for_a_load_balancer_to_close_first() -> None:
    assert limits.KEEPALIVE > 60


class Answers(asyncio.Transport):
    """Counts what is written to a sender."""

    count = 0
    closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.count += bytes(data).startswith(b"HTTP/1.1 401 ")

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        """What trickles in is read less often; the test goes on all the same."""

    def resume_reading(self) -> None:
        pass

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass


def _no_fallback() -> Connection:
    raise AssertionError("nothing here is for aiohttp")


class Counted(Plain):
    """Counts how often a head is read."""

    tries = 0

    def read(self, data: bytes, at: int = 0) -> Read | None:
        self.tries += 1
        return super().read(data, at)


@asynccontextmanager
async def guarded(tmp_path: Path) -> AsyncIterator[tuple[FastPath, FastPathProtocol, Answers]]:
    """A connection of a fast path that knows no key, and what it answers."""
    async with connect_async("redis://127.0.0.1:1") as client:
        (tmp_path / "keys").write_text("{}")
        verifier = Verifier(Policy.from_settings(["account-1"]), KeyRing(FileSource(tmp_path / "keys")))
        take = Intake(Producer([Stream(client)], lambda: None), MAX_BODY, verifier)
        fast = FastPath(take, "/copernica", _no_fallback, Connections(9, take.memory))
        connection, answers = FastPathProtocol(fast), Answers()
        connection.connection_made(answers)
        yield fast, connection, answers
        connection.connection_lost(None)
        assert take.memory.used == 0


async def test_a_head_that_arrives_byte_by_byte_is_read_once(tmp_path: Path) -> None:
    async with guarded(tmp_path) as (fast, connection, answers):
        fast.plain = counted = Counted("/copernica", MAX_BODY)
        for byte in request(b"a=b"):
            connection.data_received(bytes([byte]))
        assert answers.count == 1
        assert counted.tries < 5  # the head, and what came of the body


async def test_who_sends_more_behind_a_call_that_is_rejected_is_answered_no_more(tmp_path: Path) -> None:
    """Hundreds of strangers who do not look at their answers kept genuine calls waiting for seconds."""
    async with guarded(tmp_path) as (_, connection, answers):
        connection.data_received(request(b"a=b") * 100)
        assert answers.count == 1
        assert answers.closed


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (request(b"x" * (MAX_BODY + 1)), 413),
        (b"PUT /copernica HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", 405),
        (b"GET /nothing HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n", 404),
        (b"POST /copernica HTTP/1.1\r\nHost: t\r\nContent-Length: 9\r\n\r\nab", 400),
    ],
    ids=["too large", "method", "path", "cut off"],
)
def test_a_request_that_is_no_call_is_counted_by_its_answer(ways: Ways, sent: bytes, status: int) -> None:
    for port in (ways.fast, ways.plain):
        before = ways.refused[status]
        exchange(port, sent)
        assert ways.refused[status] == before + 1
