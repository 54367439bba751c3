"""`ingest simulate`: send simulated calls over keep-alive connections, at a rate or as fast as they are answered.

The sender is built to outrun the endpoint, or it would measure itself: requests are sent as ready bytes, and
answers are parsed by httptools. aiohttp's own client needs ten times the processor time per request.

It waits for an endpoint that is slow, and gives up on one that is gone. Copernica does neither, nor does a sender
that keeps going: calls that become due while nothing answers are lost.
"""

import asyncio
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from typing import cast

import httptools

from ingest import shown
from ingest.errors import Unavailable
from ingest.simulation.calls import Call
from ingest.simulation.records import Record
from ingest.simulation.report import Report
from ingest.simulation.target import Request, Target

#: Seconds to wait for an answer before a call counts as lost: longer than the endpoint itself takes at worst.
ANSWER_TIMEOUT = 30.0
#: Seconds without an open connection after which the endpoint counts as gone. If the sender keeps going: seconds
#: without an answer after which calls that have waited as long are lost.
GONE_AFTER = 1.0
#: Seconds before a lost connection is opened again: a restart of the endpoint takes longer.
RECONNECT_DELAY = 0.1
#: Seconds between two looks at the clock when sending at a rate: few calls are due in them.
TICK = 0.002
#: Seconds between two looks at the clock when there is no rate, for answers that do not arrive.
SLOW_TICK = 1.0


class Sender:
    """Sends calls and keeps the report."""

    def __init__(
        self,
        target: Target,
        calls: Iterator[Call],
        events: int,
        rate: float | None = None,
        keep_going: bool = False,
        logs: Record | None = None,
    ) -> None:
        """`rate` is in calls per second; None means as fast as they are answered.

        `keep_going` keeps to the rate, which it needs, even if nothing answers. `logs` is where Copernica's log
        files are imitated: all calls but forged ones, and those that were not answered 200.

        Raises:
            ValueError: there is no rate to keep to.
        """
        if keep_going and not rate:
            raise ValueError("keep_going needs a rate")
        self._keep_going = keep_going
        self._logs = logs
        #: Calls that are due, and since when. Without `keep_going`, none become due while no connection is idle.
        self._due: deque[tuple[float, Call]] = deque()
        self._target = target
        self._calls = calls
        self._events = events
        self._rate = rate
        self._connections: set[_Connection] = set()
        self._idle: deque[_Connection] = deque()
        self._openers: set[asyncio.Task[None]] = set()
        #: When a connection was last opened or closed, and when the endpoint last accepted one or answered.
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
        pacer.add_done_callback(self._check_task)
        try:
            await self._done
        finally:
            self.report.seconds = time.monotonic() - began
            tasks = [*self._openers, pacer]
            for task in tasks:
                task.cancel()
            for connection in list(self._connections):
                connection.close()
            await asyncio.gather(*tasks, return_exceptions=True)
        return self.report

    @property
    def _over(self) -> bool:
        return self._done is None or self._done.done()

    def _open_one(self) -> None:
        opener = asyncio.create_task(self._connect())
        self._openers.add(opener)
        opener.add_done_callback(self._openers.discard)
        opener.add_done_callback(self._check_task)

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        target = self._target
        while not self._over:
            try:
                await loop.create_connection(lambda: _Connection(self), target.host, target.port, ssl=target.tls)
                return
            except OSError as error:
                gone = not self._connections and time.monotonic() - self._seen_at > GONE_AFTER
                if gone and not self._keep_going:
                    nothing = f"Nothing answers at {shown.url(target.url)} ({error.strerror or error})"
                    self.fail(Unavailable(f"{nothing}: start an endpoint, or name another with --url."))
                await asyncio.sleep(RECONNECT_DELAY)

    async def _pace(self, began: float) -> None:
        """Send what is due by the clock, and give up on answers that do not arrive."""
        while True:
            now = time.monotonic()
            if self._rate is not None:
                due = min(int((now - began) * self._rate) + 1, self._events)
                while self.report.sent < due and (self._idle or self._keep_going):
                    self._due.append((now, self._next()))
                    self._send_due()
                # A sender that is too slow for its own rate must not blame the endpoint for it.
                while self._due and max(self._due[0][0], self._alive_at) < now - GONE_AFTER:
                    self._skip(self._due.popleft()[1])
            for connection in [c for c in self._connections if c.waits_since < now - ANSWER_TIMEOUT]:
                connection.close()
            await asyncio.sleep(TICK if self._rate is not None else SLOW_TICK)

    def _next(self) -> Call:
        self.report.sent += 1
        return next(self._calls)

    def _request(self, call: Call) -> Request:
        request = self._target.request(call)
        self.report.forged += request.forged
        if not request.forged:
            self._log(call)
        return request

    def _skip(self, call: Call) -> None:
        # Not signed first: that takes longer than all the rest, and the endpoint may come back meanwhile.
        self._log(call)
        self._lose(call, "nobody took the call")

    def _send_due(self) -> None:
        while self._due and self._idle:
            self._idle.popleft().send(self._request(self._due.popleft()[1]))

    def _log(self, call: Call) -> None:
        if self._logs:
            with self._failures_end_the_run():
                self._logs.event(call.type, call.fields)

    def _log_failure(self, call: Call, response: str, request: Request | None) -> None:
        if self._logs and not (request and request.forged):
            head = request.data.partition(b"\r\n\r\n")[0].decode().replace("\r", "") if request else ""
            with self._failures_end_the_run():
                self._logs.failure(call.fields, response, head)

    @contextmanager
    def _failures_end_the_run(self) -> Iterator[None]:
        """End the run with what is raised here: raised in a callback, it would reach no one."""
        try:
            yield
        except Unavailable as error:
            self.fail(error)

    def _check_task(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """End the run with an error; of several, the first counts."""
        if self._done and not self._done.done():
            self._done.set_exception(error)

    def opened(self, connection: "_Connection") -> None:
        """A connection was opened."""
        self._seen_at = self._alive_at = time.monotonic()
        self._connections.add(connection)
        self.ready(connection)

    def ready(self, connection: "_Connection") -> None:
        """A connection has nothing to do."""
        if self._rate is None and self.report.sent < self._events:
            connection.send(self._request(self._next()))
        else:
            self._idle.append(connection)
            self._send_due()

    def answered(self, request: Request, status: int, latency: float) -> None:
        """An answer has arrived; `latency` is in seconds."""
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

    def closed(self, connection: "_Connection", unanswered: Request | None) -> None:
        """A connection was closed, possibly with a call that was not answered."""
        self._seen_at = time.monotonic()
        self._connections.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if unanswered:
            self._lose(unanswered.call, "no answer", unanswered)
        if not self._over:
            self._open_one()

    def _lose(self, call: Call, reason: str, request: Request | None = None) -> None:
        self.report.lost += 1
        self._log_failure(call, reason, request)
        self._count_answer()

    def _count_answer(self) -> None:
        self._answers += 1
        if self._answers == self._events and self._done and not self._done.done():
            self._done.set_result(None)


class _Connection(asyncio.Protocol):
    """One keep-alive connection. httptools calls `on_message_complete` when an answer is complete."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._parser = httptools.HttpResponseParser(self)
        #: None until the connection is made.
        self._transport: asyncio.Transport | None = None
        #: When the call was sent that waits for its answer; far in the future if none does.
        self.waits_since = inf
        self._request: Request | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        try:
            self._sender.opened(self)
        except Exception as error:  # raised in a callback, it would reach no one
            self._sender.fail(error)

    def send(self, request: Request) -> None:
        if self._transport is None:
            raise RuntimeError("this connection is not open")
        self._request = request
        self.waits_since = time.monotonic()
        self._transport.write(request.data)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError as error:
            self._sender.fail(error.__context__ or error)
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
        self._sender.closed(self, request)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()
