"""Copernica's own calls during a siege: at a steady pace, over connections that stay open for a few calls each.

A call that is due waits for a free connection, and its latency counts from when it was due: an endpoint that
answers late makes the next calls late as well, and that must show.
"""

import asyncio
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import cast

import httptools

from ingest.simulation.calls import Simulator
from ingest.simulation.signer import Signer
from ingest.simulation.target import Target
from tests.chaos.load import Journal, proof
from tests.siege.start import Start

#: What this is called at the start.
NAME = "genuine"
#: Seconds to wait for an answer before the call counts as lost.
ANSWER_TIMEOUT = 20.0
#: Connections at first, and at most: as many as it takes, if the endpoint answers late.
CONNECTIONS, CONNECTIONS_MAX = 20, 400
#: Calls over one connection: then another is opened, as the endpoint must always let one in.
CALLS_PER_CONNECTION = 20
#: Seconds between two looks at the clock.
TICK = 0.004


def send(port: int, signer: Path, seed: int, rate: int, seconds: float, start: Start) -> Journal:
    """Send so many calls per second for so long, from the common start on; returns what became of them.

    `signer` is a file. Copernica signs on machines of its own: here all calls are signed before the start, long
    before they are too old.
    """
    genuine = Genuine(port, Signer.load(signer), seed, rate, int(rate * seconds))
    start.wait(NAME)
    return asyncio.run(genuine.run(seconds))


def _requests(target: Target, seed: int, calls: int) -> Iterator[bytes]:
    simulator = Simulator(seed)
    for number in range(1, calls + 1):
        call = simulator.call()
        body = call.body + f"&call={number}&proof={proof(seed, number)}".encode()
        yield target.request(call._replace(body=body)).data


class Genuine:
    """A sender; `journal` says what became of its calls."""

    def __init__(self, port: int, signer: Signer, seed: int, rate: int, calls: int) -> None:
        self.journal = Journal(seed, rate)
        self._port = port
        self._rate = rate
        self._requests = deque(_requests(Target(f"http://127.0.0.1:{port}/copernica", signer), seed, calls))
        #: Calls that are due, and since when (monotonic seconds).
        self._due: deque[tuple[int, float, bytes]] = deque()
        self._idle: deque[_Connection] = deque()
        self._all: set[_Connection] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._answered = 0

    async def run(self, seconds: float) -> Journal:
        """Send until the time is over and every call has its answer, or has waited too long for it."""
        self.journal.seconds = seconds
        calls = len(self._requests)
        for _ in range(CONNECTIONS):
            self._open_one()
        began = time.monotonic()
        while self._answered < calls and (now := time.monotonic()) - began < seconds + ANSWER_TIMEOUT:
            while len(self.journal.sent) < min(calls, int((now - began) * self._rate)):
                self._make(began)
            self._send()
            for connection in [one for one in self._all if one.is_late(now)]:
                connection.close()
            await asyncio.sleep(TICK)
        self.journal.held_back = len(self._due)
        for connection in list(self._all):
            connection.close()
        for task in self._opening:
            task.cancel()
        return self.journal

    def _make(self, began: float) -> None:
        number = len(self.journal.sent) + 1
        due = number / self._rate
        self.journal.sent[number] = due
        self._due.append((number, began + due, self._requests.popleft()))

    def _send(self) -> None:
        while self._due and self._idle:
            self._idle.popleft().send(*self._due.popleft())
        missing = min(len(self._due), CONNECTIONS_MAX - len(self._all) - len(self._opening))
        for _ in range(missing - len(self._opening)):
            self._open_one()

    def _open_one(self) -> None:
        task = asyncio.create_task(self._open())
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open(self) -> None:
        with suppress(OSError):
            loop = asyncio.get_running_loop()
            await loop.create_connection(lambda: _Connection(self), "127.0.0.1", self._port)

    # --- what connections tell ---

    def opened(self, connection: "_Connection") -> None:
        """It can take a call."""
        self._all.add(connection)
        self._idle.append(connection)
        self._send()

    def closed(self, connection: "_Connection", unanswered: bool) -> None:
        """It is gone, perhaps with a call that was not answered."""
        self._all.discard(connection)
        with suppress(ValueError):
            self._idle.remove(connection)
        if unanswered:
            self.journal.unanswered += 1
            self._answered += 1

    def answered(self, connection: "_Connection", call: int, since: float, status: int, stays: bool) -> None:
        """A call has its answer."""
        self._answered += 1
        if status == 200:
            self.journal.acknowledged[call] = self.journal.sent[call]
            self.journal.latencies.append(time.monotonic() - since)
        else:
            self.journal.refused[status] += 1
        if stays:
            self._idle.append(connection)
            self._send()


class _Connection(asyncio.Protocol):
    """One connection. httptools calls `on_message_complete` when an answer is whole."""

    def __init__(self, sender: Genuine) -> None:
        self._sender = sender
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        #: The call under way, when it was due, and when it was sent.
        self._call: tuple[int, float, float] | None = None
        self._calls = 0

    def is_late(self, now: float) -> bool:
        """Whether its answer has been waited for in vain."""
        return self._call is not None and self._call[2] < now - ANSWER_TIMEOUT

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._sender.opened(self)

    def send(self, call: int, since: float, request: bytes) -> None:
        assert self._transport is not None
        self._call = call, since, time.monotonic()
        self._calls += 1
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        with suppress(httptools.HttpParserError):
            self._parser.feed_data(data)
            return
        self.close()

    def on_message_complete(self) -> None:
        call, self._call = self._call, None
        if call is None:  # a 408 to a connection that said nothing
            self.close()
            return
        stays = self._parser.should_keep_alive() and self._calls < CALLS_PER_CONNECTION
        self._sender.answered(self, call[0], call[1], self._parser.get_status_code(), stays)
        if not stays:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        unanswered, self._call = self._call is not None, None
        self._sender.closed(self, unanswered)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()
