"""The sender: a process of its own that must outrun whatever it measures, or it would measure itself.

Requests are ready bytes before the clock starts, answers are parsed in C, and a connection sends its next request
from within the callback of the last answer.
"""

import asyncio
import gc
import json
import subprocess
import sys
import time
from array import array
from collections import deque
from dataclasses import asdict, dataclass
from itertools import cycle
from math import inf
from pathlib import Path
from typing import cast

import httptools
import uvloop

from ingest.simulation.report import percentile
from ingest.simulation.signer import Signer
from ingest.simulation.target import Target
from tests.benchmarks import plan
from tests.benchmarks.servers import ROOT, python

#: Seconds between two looks at the clock when sending at a rate; what is due is then sent at once.
TICK = 0.001
#: Seconds to wait for the last answers, and for the process besides.
PATIENCE = 20.0


@dataclass(frozen=True, slots=True)
class Sent:
    """What came of one run; latencies in ms, from the moment a call was due to its answer."""

    answered: int
    seconds: float
    p50: float
    p99: float
    worst: float
    #: The share of one core that the sender itself needed: near 1 it is the sender that was measured.
    sender_cpu: float
    #: The longest that the sender did nothing when sending at a rate, in ms: up to so much is its own, not ours.
    stalled: float

    @property
    def rate(self) -> float:
        """Answers per second."""
        return self.answered / self.seconds


def send(port: int, seconds: float, rate: float | None = None, signer: Path | None = None) -> Sent:
    """Send from a process of its own, at a rate or as fast as is answered, signed if somebody signs."""
    command = python("load", str(port), str(seconds), str(rate or 0), str(signer or ""))
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, timeout=seconds + 2 * PATIENCE)
    return Sent(**json.loads(done.stdout))


class Load:
    """One run over all connections."""

    def __init__(self, requests: list[bytes], seconds: float, rate: float | None) -> None:
        self._requests = cycle(requests)
        self._seconds = seconds
        self._rate = rate
        self._ends = inf
        self._under_way = 0
        self._idle: deque[Connection] = deque()
        #: When the calls were due that found every connection busy.
        self._overdue: deque[float] = deque()
        self._latencies = array("d")
        self._stalled = 0.0
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self, port: int) -> Sent:
        """Open the connections, send, and wait for the last answer."""
        loop = asyncio.get_running_loop()
        for _ in range(plan.CONNECTIONS):
            _, connection = await loop.create_connection(lambda: Connection(self), "127.0.0.1", port)
            self._idle.append(connection)
        gc.disable()
        began, cpu = time.perf_counter(), time.process_time()
        self._ends = began + self._seconds
        if self._rate is None:
            while self._idle:
                self._send(self._idle.popleft(), began)
        else:
            await self._pace(began, self._rate)
        await asyncio.wait_for(self._done, self._seconds + PATIENCE)
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
        ordered = sorted(self._latencies)
        p50, p99 = (percentile(ordered, share) * 1000 for share in (0.5, 0.99))
        return Sent(len(ordered), took, p50, p99, ordered[-1] * 1000, cpu / took, self._stalled * 1000)

    async def _pace(self, began: float, rate: float) -> None:
        scheduled, looked = 0, began
        while (now := time.perf_counter()) < self._ends:
            self._stalled, looked = max(self._stalled, now - looked - TICK), now
            due = int((now - began) * rate) - scheduled
            scheduled += due
            for _ in range(due):
                if self._idle:
                    self._send(self._idle.popleft(), now)
                else:
                    self._overdue.append(now)
            await asyncio.sleep(TICK)
        self._finish()

    def _send(self, connection: "Connection", due: float) -> None:
        self._under_way += 1
        connection.send(next(self._requests), due)

    def answered(self, connection: "Connection", due: float) -> None:
        """A call was answered 200."""
        now = time.perf_counter()
        self._latencies.append(now - due)
        self._under_way -= 1
        if self._overdue:
            self._send(connection, self._overdue.popleft())
        elif now >= self._ends:
            self._finish()
        elif self._rate is None:
            self._send(connection, now)
        else:
            self._idle.append(connection)

    def _finish(self) -> None:
        if not self._under_way and not self._done.done():
            self._done.set_result(None)

    def fail(self, why: str) -> None:
        """A benchmark with errors in it measures nothing: give up."""
        if not self._done.done():
            self._done.set_exception(RuntimeError(why))


class Connection(asyncio.Protocol):
    """One keep-alive connection. httptools calls `on_message_complete` when an answer is whole."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def send(self, request: bytes, due: float) -> None:
        self._due = due
        assert self._transport is not None
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        if (status := self._parser.get_status_code()) != 200:
            self._load.fail(f"a call was answered {status}")
        self._load.answered(self, self._due)

    def connection_lost(self, exc: Exception | None) -> None:
        self._load.fail(f"a connection was lost: {exc or 'closed by the server'}")


async def _main(port: int, seconds: float, rate: float | None, signer: str) -> Sent:
    target = Target(f"http://127.0.0.1:{port}{plan.PATH}", Signer.load(Path(signer)) if signer else None)
    calls = plan.calls()[: plan.DISTINCT_SIGNED if signer else None]
    return await Load([target.request(call).data for call in calls], seconds, rate).run(port)


if __name__ == "__main__":
    port, seconds, rate, signer = sys.argv[1:]
    print(json.dumps(asdict(uvloop.run(_main(int(port), float(seconds), float(rate) or None, signer)))))
