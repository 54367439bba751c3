"""The connections that aiohttp serves, with what aiohttp lacks: deadlines, and errors that quote no input.

Whatever is not a plain call (`ingest.endpoint.fast_path`) ends up here.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, cast

from aiohttp import StreamReader, web

from ingest.endpoint import answers, heads, limits
from ingest.endpoint.aiohttp_compat import RequestHandler, heads_parsed, is_idle, newest_body
from ingest.endpoint.answers import Answer
from ingest.endpoint.framing import Body

log = logging.getLogger(__name__)

#: Seconds between two looks at whether all requests of a sender who will send no more have been answered.
IDLE_CHECK_INTERVAL = 0.02
#: How aiohttp treats every connection.
HANDLER_ARGS: dict[str, Any] = {
    "keepalive_timeout": limits.KEEPALIVE,
    "lingering_time": limits.LINGER,
    "max_line_size": heads.TARGET_MAX,
    "max_field_size": heads.HEAD_MAX,
    "max_headers": heads.HEADERS_MAX,
    "auto_decompress": False,
    "access_log": None,
}


class Connection(RequestHandler):
    """A connection whose requests must arrive in time, and whose error answers quote no input."""

    __slots__ = ("_body", "_head", "_head_timer", "_last_body", "_refusal", "_unframed", "cut_off")

    def __init__(self, loop: asyncio.AbstractEventLoop, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, loop=loop, **kwargs)
        #: What has arrived of a head; aiohttp gets it when it is complete.
        self._head = b""
        #: The body that is arriving, or arrived last.
        self._body: Body | None = None
        #: Whether what arrives is no HTTP: then aiohttp judges it as it comes.
        self._unframed = False
        self._head_timer: asyncio.TimerHandle | None = None
        self._last_body: StreamReader | None = None
        #: The last answer of this connection, if it is one that aiohttp did not ask for.
        self._refusal: Answer | None = None
        #: Whether a body ended before it was complete.
        self.cut_off = False

    def data_received(self, data: bytes) -> None:
        """Give aiohttp what has arrived, but heads only once they are complete and judged."""
        if not data or (self._unframed and self._refusal is None):  # nothing: aiohttp goes on with what it has
            self._feed(data)
            return
        while data and self._refusal is None:
            if self._body is None or self._body.ended:
                data = self._take_head(data)
            else:
                end = self._body.take(data)
                self._feed(data[:end])
                data = data[end:]

    def _take_head(self, data: bytes) -> bytes:
        """Take a head, or as much of it as there is; returns what follows it."""
        if self._head_timer is None:
            loop = asyncio.get_running_loop()
            self._head_timer = loop.call_later(limits.HEAD_DEADLINE, self._refuse, answers.TOO_SLOW)
        data, self._head = self._head + data, b""
        head, end, rest = data.partition(b"\r\n\r\n")
        if refusal := heads.refusal(head + end):
            self._refuse(refusal)
            return b""
        if not end and heads.may_become_head(data):
            self._head = data
            return b""
        self._stop_timer()
        if not end:  # it is no HTTP, and aiohttp will say so
            self._unframed = True
            self._feed(data)
            return b""
        self._body = Body(head)
        self._feed(heads.with_unfolded_signature(head + end))
        return rest

    def _feed(self, data: bytes) -> None:
        """Let aiohttp parse what has arrived."""
        before, body = heads_parsed(self), self._last_body
        super().data_received(data)
        if heads_parsed(self) != before:
            self._last_body = newest_body(self)
            # A new head although the previous body is incomplete: the parser lost its way in that body, without
            # raising an error.
            if body is not None and not body.is_eof():
                self._cut_off(body)

    def _refuse(self, answer: Answer) -> None:
        """Give a last answer, behind those that are due, and take nothing more."""
        self._stop_timer()
        if self._refusal is not None or self.transport is None:
            return
        self._refusal, self._head = answer, b""
        if self._owes_nothing():
            linger(self.transport, answer)
        else:
            super().data_received(b"\0")  # aiohttp will have an error to answer when it comes to this

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio keeps the connection open if this is True
        """The sender will send no more, but may still be waiting for its answer: then stay open (True)."""
        if self._head:  # less arrived than a head
            self._refuse(answers.BAD_REQUEST)
        if self._owes_nothing():
            return False
        if self._last_body is None or self._last_body.is_eof():
            self._close_when_idle()
        else:
            self._cut_off(self._last_body)
        return True

    def _owes_nothing(self) -> bool:
        """Whether every request that aiohttp has parsed is answered."""
        return is_idle(self) or heads_parsed(self) == 0

    def _close_when_idle(self) -> None:
        """Close once every request has been answered; aiohttp itself would answer the first and drop the rest."""
        if is_idle(self):
            self.force_close()
        elif self.transport is not None:
            asyncio.get_running_loop().call_later(IDLE_CHECK_INTERVAL, self._close_when_idle)

    def _cut_off(self, body: StreamReader) -> None:
        """End a body that will never be complete; its request still has to be answered."""
        self.cut_off = True
        body.feed_eof()
        self.close()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Stop the timer."""
        self._stop_timer()
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer malformed HTTP, which aiohttp itself rejects, with 400, and our own errors with 500."""
        answer = self._refusal or answers.BAD_REQUEST
        if status >= 500:
            log.error("a request failed", exc_info=exc)
            answer = answers.FAULT
        response = web.Response(status=answer.status, body=answer.body, content_type=answer.content_type)
        response.force_close()
        return response

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def linger(transport: asyncio.Transport, answer: Answer) -> None:
    """Give a last answer, and close a moment later: closing while more arrives would take the answer away."""
    transport.write(answer.raw(close=True))
    if transport.can_write_eof():
        transport.write_eof()
    asyncio.get_running_loop().call_later(limits.LINGER, transport.abort)


class TurnedAway(asyncio.Protocol):
    """A connection beyond the limit: answered 503 and closed."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Answer 503 and close."""
        transport = cast(asyncio.Transport, transport)
        transport.write(answers.BUSY.raw(close=True))
        transport.close()


def connection_factory(server: web.Server, limit: int = limits.MAX_CONNECTIONS) -> Callable[[], asyncio.Protocol]:
    """Return the factory of protocols for aiohttp's connections; at most `limit` are served at once."""
    loop = asyncio.get_running_loop()

    def make_protocol() -> asyncio.Protocol:
        if len(server.connections) >= limit:
            return TurnedAway()
        return Connection(loop, server, **HANDLER_ARGS)

    return make_protocol
