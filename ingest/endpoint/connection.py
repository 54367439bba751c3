"""The connections that aiohttp serves, with what aiohttp lacks: deadlines, and errors that quote no input.

Whatever is not a plain call (`ingest.endpoint.fast_path`) ends up here.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, cast

from aiohttp import StreamReader, web

from ingest.endpoint import answers, limits
from ingest.endpoint.aiohttp_compat import RequestHandler, heads_parsed, is_idle, may_begin_head, newest_body

log = logging.getLogger(__name__)

#: How aiohttp treats every connection.
HANDLER_ARGS: dict[str, Any] = {
    "keepalive_timeout": limits.KEEPALIVE,
    "lingering_time": limits.LINGER,
    "auto_decompress": False,
    "access_log": None,
}


class Connection(RequestHandler):
    """A connection whose requests must arrive in time, and whose error answers quote no input."""

    __slots__ = ("_head_timer", "_last_body", "cut_off")

    def __init__(self, loop: asyncio.AbstractEventLoop, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, loop=loop, **kwargs)
        self._head_timer: asyncio.TimerHandle | None = None
        self._last_body: StreamReader | None = None
        #: Whether a body ended before it was complete.
        self.cut_off = False

    def data_received(self, data: bytes) -> None:
        """Start the timer at the first byte of a head, and stop it at the last."""
        heads, body = heads_parsed(self), self._last_body
        super().data_received(data)
        if heads_parsed(self) != heads:
            self._stop_timer()
            self._last_body = newest_body(self)
            # A new head although the previous body is incomplete: the parser lost its way in that body, without
            # raising an error.
            if body is not None and not body.is_eof():
                self._cut_off(body)
        elif data and self._head_timer is None and may_begin_head(self):
            loop = asyncio.get_running_loop()
            self._head_timer = loop.call_later(limits.HEAD_DEADLINE, self._head_too_late)

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio keeps the connection open if this is True
        """The sender will send no more, but may still be waiting for its answer: then stay open (True)."""
        if is_idle(self) or self._last_body is None:
            return False
        if self._last_body.is_eof():
            self.close()  # aiohttp does so once the answer has been sent
        else:
            self._cut_off(self._last_body)
        return True

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
        answer = answers.BAD_REQUEST
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

    def _head_too_late(self) -> None:
        self._head_timer = None
        if self.transport is not None:
            self.transport.write(answers.TOO_SLOW.raw(close=True))
        self.force_close()


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
