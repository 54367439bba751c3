"""`ingest simulate`: send simulated calls over keep-alive connections, at a rate or as fast as they are taken.

The sender is built to outrun the endpoint, or it would measure itself: requests go out as ready bytes and answers
are parsed by httptools. aiohttp's own client needs ten times the processor time per request.

It waits for an endpoint that is slow, and gives up on one that is gone. Copernica does neither, nor does a sender
that keeps going: calls that become due while nobody takes any are lost.
"""

import asyncio
import ssl
import time
from array import array
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from math import inf
from typing import NamedTuple, cast
from urllib.parse import urlsplit

import httptools

from ingest.errors import SettingsError, Unavailable
from ingest.simulation.calls import Call
from ingest.simulation.logwriter import LogFolder
from ingest.simulation.signer import FORGERIES, Signer

#: Seconds to wait for an answer before a call counts as lost.
ANSWER_TIMEOUT = 30.0
#: Seconds without any open connection after which the endpoint counts as gone; if the sender keeps going, those
#: without an answer, after which calls that have waited as long are lost.
PATIENCE = 1.0
#: Seconds before a lost connection is opened anew.
RECONNECT_DELAY = 0.1
#: Seconds between two looks at the clock when sending at a rate.
TICK = 0.002


@dataclass
class Report:
    """What became of the calls; latencies are in seconds, of acknowledged calls."""

    sent: int = 0
    #: Forged calls among those sent, and what became of them.
    forged: int = 0
    forged_refused: int = 0
    forged_taken: int = 0
    acknowledged: int = 0
    refused: Counter[int] = field(default_factory=Counter)
    lost: int = 0
    seconds: float = 0.0
    latencies: "array[float]" = field(default_factory=lambda: array("d"))

    @property
    def complete(self) -> bool:
        """Whether everything was acknowledged that should be, and every forgery refused."""
        return self.sent - self.forged == self.acknowledged and self.forged == self.forged_refused

    def as_dict(self) -> dict[str, object]:
        """The report for a script; latencies in milliseconds."""
        ordered = sorted(self.latencies)
        return {
            "sent": self.sent,
            "acknowledged": self.acknowledged,
            "forged": self.forged,
            "forged_refused": self.forged_refused,
            "forged_taken": self.forged_taken,
            "refused": {str(status): number for status, number in sorted(self.refused.items())},
            "lost_connections": self.lost,
            "seconds": round(self.seconds, 3),
            "rate": round(self.acknowledged / self.seconds, 1) if self.seconds else 0.0,
            "latency_ms": {
                name: round(percentile(ordered, share) * 1000, 2)
                for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
            },
        }


def percentile(ordered: list[float], share: float) -> float:
    """The value below which that share of the values lies; 0.0 when there are none."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


class Target:
    """Where calls are sent, and who signs them."""

    def __init__(self, url: str, signer: Signer | None = None, forge: float = 0.0) -> None:
        """Without a `signer` calls go out unsigned; `forge` is the share of them that is forged."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SettingsError(f"{url!r} is no URL to send to: write http://host:port/copernica.")
        self.url = url
        self.host = parts.hostname
        self.port = parts.port or (443 if parts.scheme == "https" else 80)
        self.tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._host = parts.netloc.rpartition("@")[2]
        self._signer = signer
        self._forge = forge
        self._forgeries = cycle(FORGERIES)
        self._owed = 0.0

    def request(self, call: Call) -> tuple[bytes, bool]:
        """A call as the bytes of a request, and whether it is forged."""
        self._owed += self._forge if self._signer else 0.0
        forged = self._owed >= 1
        about = self._path, self._host, call.content_type, call.body
        if self._signer is None:
            headers = {
                "Host": self._host,
                "Content-Type": call.content_type,
                "Content-Length": str(len(call.body)),
            }
        elif forged:
            self._owed -= 1
            headers = self._signer.forge(next(self._forgeries), *about)
        else:
            headers = self._signer.sign(*about)
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"POST {self._path} HTTP/1.1\r\n{lines}\r\n".encode() + call.body, forged


class _Request(NamedTuple):
    """A call on its way."""

    call: Call
    data: bytes
    forged: bool


class Sender:
    """Sends calls and keeps the report."""

    def __init__(
        self,
        target: Target,
        calls: Iterator[Call],
        events: int,
        rate: float | None = None,
        keep_going: bool = False,
        logs: LogFolder | None = None,
    ) -> None:
        """`rate` is in calls per second; None means as fast as they are taken.

        `keep_going` needs a rate, and holds to it whether or not anybody answers. `logs` is where Copernica's log
        files are imitated: all calls but forged ones, and those that were not answered 200.
        """
        assert rate or not keep_going
        self._keep_going = keep_going
        self._logs = logs
        #: Calls that are due, and since when; without `keep_going` none become due that nobody would take.
        self._waiting: deque[tuple[float, Call]] = deque()
        self._target = target
        self._calls = calls
        self._events = events
        self._rate = rate
        self._connections: set[_Connection] = set()
        self._idle: deque[_Connection] = deque()
        self._openers: set[asyncio.Task[None]] = set()
        #: When a connection was last opened or closed, and when one was last opened or answered at.
        self._seen_at = 0.0
        self._alive_at = 0.0
        self._answers = 0
        self._done: asyncio.Future[None] | None = None
        self.report = Report()

    async def run(self, connections: int) -> Report:
        """Send everything.

        Raises:
            Unavailable: the endpoint cannot be reached, or is gone for good; log files cannot be written.
        """
        self._done = asyncio.get_running_loop().create_future()
        began = self._seen_at = self._alive_at = time.monotonic()
        for _ in range(min(connections, self._events)):
            self._open_one()
        pacer = asyncio.create_task(self._pace(began))
        try:
            await self._done
        finally:
            self.report.seconds = time.monotonic() - began
            for task in (*self._openers, pacer):
                task.cancel()
            for connection in list(self._connections):
                connection.close()
        return self.report

    @property
    def _over(self) -> bool:
        return self._done is None or self._done.done()

    def _open_one(self) -> None:
        opener = asyncio.create_task(self._connect())
        self._openers.add(opener)
        opener.add_done_callback(self._openers.discard)

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        target = self._target
        while not self._over:
            try:
                await loop.create_connection(lambda: _Connection(self), target.host, target.port, ssl=target.tls)
                return
            except OSError as error:
                gone = not self._connections and time.monotonic() - self._seen_at > PATIENCE
                if gone and not self._keep_going:
                    self._fail(Unavailable(f"Nothing answers at {target.url} ({error.strerror or error})."))
                await asyncio.sleep(RECONNECT_DELAY)

    async def _pace(self, began: float) -> None:
        """Send what the clock says is due, and give up on answers that do not come."""
        while True:
            now = time.monotonic()
            if self._rate is not None:
                due = min(int((now - began) * self._rate) + 1, self._events)
                while self.report.sent < due and (self._idle or self._keep_going):
                    self._waiting.append((now, self._next()))
                    self._send_waiting()
                # A sender that is itself too slow for its rate must not blame the endpoint for it.
                while self._waiting and max(self._waiting[0][0], self._alive_at) < now - PATIENCE:
                    self._pass_over(self._waiting.popleft()[1])
            for connection in [c for c in self._connections if c.waits_since < now - ANSWER_TIMEOUT]:
                connection.close()
            await asyncio.sleep(TICK if self._rate is not None else 1.0)

    def _next(self) -> Call:
        self.report.sent += 1
        return next(self._calls)

    def _request(self, call: Call) -> _Request:
        request = _Request(call, *self._target.request(call))
        self.report.forged += request.forged
        if not request.forged:
            self._log(call)
        return request

    def _pass_over(self, call: Call) -> None:
        # Not signed first: that takes longer than all the rest, and the endpoint may come back meanwhile.
        self._log(call)
        self._lose(call, "nobody took the call")

    def _send_waiting(self) -> None:
        while self._waiting and self._idle:
            self._idle.popleft().send(self._request(self._waiting.popleft()[1]))

    def _log(self, call: Call) -> None:
        if self._logs:
            with self._failing():
                self._logs.event(call.type, call.fields)

    def _log_failure(self, call: Call, response: str, request: _Request | None) -> None:
        if self._logs and not (request and request.forged):
            head = request.data.partition(b"\r\n\r\n")[0].decode().replace("\r", "") if request else ""
            with self._failing():
                self._logs.failure(call.fields, response, head)

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """End the run with what is raised here: in a callback, nobody else would learn of it."""
        try:
            yield
        except Unavailable as error:
            self._fail(error)

    def _fail(self, error: Unavailable) -> None:
        if self._done and not self._done.done():
            self._done.set_exception(error)

    def opened(self, connection: "_Connection") -> None:
        """A connection stands."""
        self._seen_at = self._alive_at = time.monotonic()
        self._connections.add(connection)
        self.ready(connection)

    def ready(self, connection: "_Connection") -> None:
        """A connection has nothing to do."""
        if self._rate is None and self.report.sent < self._events:
            connection.send(self._request(self._next()))
        else:
            self._idle.append(connection)
            self._send_waiting()

    def answered(self, request: _Request, status: int, latency: float) -> None:
        """An answer has come in."""
        self._alive_at = time.monotonic()
        if status != 200:
            self._log_failure(request.call, f"HTTP {status}", request)
        if request.forged and status in (200, 401):
            self.report.forged_refused += status == 401
            self.report.forged_taken += status == 200
        elif status == 200:
            self.report.acknowledged += 1
            self.report.latencies.append(latency)
        else:
            self.report.refused[status] += 1
        self._count_answer()

    def dropped(self, connection: "_Connection", unanswered: _Request | None) -> None:
        """A connection is gone, perhaps with a call that was not answered."""
        self._seen_at = time.monotonic()
        self._connections.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if unanswered:
            self._lose(unanswered.call, "no answer", unanswered)
        if not self._over:
            self._open_one()

    def _lose(self, call: Call, reason: str, request: _Request | None = None) -> None:
        self.report.lost += 1
        self._log_failure(call, reason, request)
        self._count_answer()

    def _count_answer(self) -> None:
        self._answers += 1
        if self._answers == self._events and self._done and not self._done.done():
            self._done.set_result(None)


class _Connection(asyncio.Protocol):
    """One keep-alive connection. httptools calls `on_message_complete` when an answer is whole."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        #: When the call was sent that waits for its answer; far in the future while none does.
        self.waits_since = inf
        self._request: _Request | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._sender.opened(self)

    def send(self, request: _Request) -> None:
        assert self._transport is not None
        self._request = request
        self.waits_since = time.monotonic()
        self._transport.write(request.data)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.close()

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status == 100 or self._request is None:
            return
        request, latency = self._request, time.monotonic() - self.waits_since
        self._request, self.waits_since = None, inf
        keep = self._parser.should_keep_alive()
        self._sender.answered(request, status, latency)
        if keep:
            self._sender.ready(self)
        else:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        request, self._request, self.waits_since = self._request, None, inf
        self._sender.dropped(self, request)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()
