"""What connections may take of a process: places, memory, and answers that nobody fetches. Over real sockets."""

import asyncio
import socket
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import islice
from typing import cast

import pytest

from ingest.endpoint import fast_path, limits
from ingest.endpoint.connections import INCOMPLETE, Connections, Served
from ingest.endpoint.fast_path import FastPathProtocol
from ingest.endpoint.memory import TRIM_AFTER, Memory
from tests.support.http import request, status
from tests.support.running import exchange, until
from tests.support.ways import Ways, both_ways

CALL = request(b"a=b")
#: The beginning of a call, on the fast path and beyond it.
HALF = request(b"x" * 60_000)[:30_000]
LARGE_HALF = request(b"x" * 90_000)[:30_000]
LIMIT = 4


@pytest.fixture(scope="module")
def served(valkey_server: str) -> Iterator[Ways]:
    with both_ways(valkey_server, 100_000, limit=LIMIT) as ways:
        yield ways


@pytest.fixture
def ways(served: Ways, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ways]:
    """After each test, nothing is held any more."""
    monkeypatch.setattr("ingest.endpoint.connections.DEADLINE_CHECK_INTERVAL", 0.02)
    monkeypatch.setattr("ingest.endpoint.connections.LINGER", 0.5)
    yield served
    connections = served.connections
    until(lambda: connections.count == 0, "the end of all connections")
    until(lambda: connections.memory.used == 0, "the end of all calls")
    assert connections.memory.partial == 0
    served.records()


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def connect(opened: ExitStack, port: int, sent: bytes = b"") -> socket.socket:
    connection = opened.enter_context(socket.create_connection(("127.0.0.1", port), 10))
    connection.sendall(sent)
    return connection


def slow_reader(opened: ExitStack, port: int) -> socket.socket:
    """A connection for whose answers the system keeps little room."""
    connection = opened.enter_context(socket.socket())
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(10)
    connection.connect(("127.0.0.1", port))
    return connection


def answer_of(connection: socket.socket) -> int:
    return status(connection.recv(10_000))


async def test_nobody_is_watched_while_nobody_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    naps: list[float] = []
    turn = asyncio.sleep

    async def nap(seconds: float) -> None:
        naps.append(seconds)
        await turn(0)

    monkeypatch.setattr(asyncio, "sleep", nap)

    async def turns() -> int:
        """Let the event loop go round some times; how often the watch has slept by then."""
        for _ in range(20):
            await turn(0)
        return len(naps)

    connections = Connections(LIMIT, Memory())
    monkeypatch.setattr(connections, "_close_late", lambda _now: connections.served.clear())
    watching = asyncio.create_task(connections.watch())
    assert await turns() == 0
    connections.enter(cast(Served, object()))
    assert await turns() == 1
    connections.memory.hold(TRIM_AFTER)  # by a call whose connection is gone
    connections.enter(cast(Served, object()))
    assert await turns() > 2
    connections.memory.hold(-TRIM_AFTER)
    while not connections.memory.is_settled:
        await turn(0)
    assert await turns() == await turns()
    watching.cancel()


# --- places ---


def test_the_longest_idle_stranger_makes_way(ways: Ways, opened: ExitStack) -> None:
    idle = [connect(opened, ways.fast, CALL) for _ in range(2)]
    assert [answer_of(one) for one in idle] == [200, 200]  # these are known from now on
    strangers = [connect(opened, ways.fast) for _ in range(2)]
    until(lambda: ways.connections.count == LIMIT, "as many connections as may be")
    for _ in range(3):
        assert status(exchange(ways.fast, CALL)) == 200
    assert strangers[0].recv(1) == b""
    for one in idle:
        one.sendall(CALL)
        assert answer_of(one) == 200


@pytest.mark.parametrize("half", [CALL[:-1], HALF, LARGE_HALF, b"PUT /x HTTP/1.1\r\nHost", CALL[:20]])
def test_requests_that_do_not_come_to_their_end_cannot_keep_others_out(
    ways: Ways, opened: ExitStack, half: bytes
) -> None:
    stuck = [connect(opened, ways.fast, half) for _ in range(LIMIT)]
    until(lambda: sum(one.held > 0 for one in ways.connections.served) == LIMIT, "their beginnings")
    assert status(exchange(ways.fast, CALL)) == 200
    assert answer_of(stuck[0]) == 503
    assert stuck[0].recv(1) == b""


def _age(served: Iterable[Served], seconds: float) -> None:
    for one in served:
        cast(FastPathProtocol, one).since -= seconds


def test_who_has_only_just_come_stays_while_unfinished_requests_can_make_way(
    ways: Ways, opened: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.endpoint.connections.FRESH_FOR", 15.0)
    stuck = [connect(opened, ways.fast, HALF) for _ in range(LIMIT - 1)]
    until(lambda: sum(one.held > 0 for one in ways.connections.served) == LIMIT - 1, "their beginnings")
    _age(ways.connections.served, 20)
    new = connect(opened, ways.fast)
    until(lambda: ways.connections.count == LIMIT, "the one that is new")
    assert status(exchange(ways.fast, CALL)) == 200
    assert answer_of(stuck[0]) == 503
    new.sendall(CALL)
    assert answer_of(new) == 200


def test_strangers_who_come_anew_all_the_time_have_no_arriving_call_given_up(
    ways: Ways, opened: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.endpoint.connections.FRESH_FOR", 60.0)
    strangers = [connect(opened, ways.fast) for _ in range(LIMIT - 1)]
    until(lambda: ways.connections.count == LIMIT - 1, "the strangers")
    _age(ways.connections.served, 10)
    arriving = connect(opened, ways.fast, HALF)
    until(lambda: any(one.held for one in ways.connections.served), "the beginning of a call")
    assert status(exchange(ways.fast, CALL)) == 200
    assert strangers[0].recv(1) == b""
    arriving.sendall(request(b"x" * 60_000)[len(HALF) :])
    assert answer_of(arriving) == 200


def test_who_finds_no_place_is_told(ways: Ways, opened: ExitStack) -> None:
    ways.client.client_pause(400, all=False)  # writes wait
    waiting = [connect(opened, ways.fast, CALL) for _ in range(LIMIT)]
    until(lambda: sum(one.rank() is None for one in ways.connections.served) == LIMIT, "calls that are being kept")
    silent = connect(opened, ways.fast)
    assert answer_of(silent) == 503
    assert status(exchange(ways.fast, CALL)) == 503
    assert [answer_of(one) for one in waiting] == [200] * LIMIT


def test_however_many_ask_whether_it_is_ready_redis_is_asked_once_at_a_time(ways: Ways, opened: ExitStack) -> None:
    before = ways.client.info()["connected_clients"]
    ways.client.client_pause(200, all=True)
    asking = [connect(opened, ways.plain, b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n") for _ in range(20)]
    assert [answer_of(one) for one in asking] == [200] * 20
    assert ways.client.info()["connected_clients"] <= before + 1


# --- memory ---


@pytest.mark.parametrize("half", [HALF, LARGE_HALF])
def test_what_has_not_arrived_wholly_takes_no_more_than_its_share(
    ways: Ways, opened: ExitStack, half: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ways.connections.memory, "most", 160_000)
    arriving = []
    for number in range(1, LIMIT):
        arriving.append(connect(opened, ways.fast, half))
        until(lambda: ways.connections.memory.partial > 25_000 * min(number, 2), "what was sent")  # noqa: B023
    assert answer_of(arriving[0]) == 503
    assert status(exchange(ways.fast, CALL)) == 200
    for one in arriving[1:]:
        one.sendall(request(b"x" * (60_000 if half is HALF else 90_000))[30_000:])
        assert answer_of(one) == 200


def test_a_body_in_chunks_counts_as_it_arrives(ways: Ways, opened: ExitStack) -> None:
    head = b"POST /copernica HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"1000\r\n" + b"x" * 4096 + b"\r\n"
    for port in (ways.fast, ways.plain):
        one = connect(opened, port, head + chunk * 3)
        until(lambda: ways.connections.memory.partial > 3 * 4096, "the chunks")
        assert ways.connections.memory.partial < 4 * 4096
        one.sendall(b"0\r\n\r\n")
        assert answer_of(one) == 200


def test_without_room_calls_are_answered_503(ways: Ways, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ways.connections.memory, "most", 0)
    for port in (ways.fast, ways.plain):
        assert status(exchange(port, CALL)) == 503


# --- answers that are not fetched ---


@pytest.mark.parametrize("sent", [CALL, request(b"", method=b"PUT"), request(b"", b"/nowhere")])
def test_a_sender_that_fetches_no_answers_is_not_read_any_more_and_closed_in_the_end(
    ways: Ways, opened: ExitStack, sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fast_path, "WRITE_DEADLINE", 0.3)
    monkeypatch.setattr(limits, "WRITE_DEADLINE", 0.3)
    connection = slow_reader(opened, ways.fast)

    def send() -> None:
        while True:
            connection.sendall(sent * 100)
            assert ways.connections.memory.used < 1_000_000

    with pytest.raises(ConnectionError):
        send()


def test_a_sender_that_fetches_its_answers_late_gets_them_all(ways: Ways, opened: ExitStack) -> None:
    requests = 2_000
    connection = slow_reader(opened, ways.fast)
    reading = connection.makefile("rb")

    def send() -> None:
        connection.sendall(request(b"") * requests)

    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(send)
        until(lambda: any(one.rank() == INCOMPLETE for one in ways.connections.served), "answers not fetched")
        answers = sum(line == b"HTTP/1.1 200 OK\r\n" for line in islice(reading, requests * 4))
        sending.result()
    assert answers == requests
