"""The connections of the metrics port: few, with small heads, and answers that repeat nothing of a request."""

import asyncio
import logging
from collections import deque
from typing import Any

from aiohttp import web

log = logging.getLogger(__name__)

#: Bytes of a line of a request's head, its headers (a scraper sends six), and seconds a connection may be idle.
LINE_MAX, HEADERS_MAX, KEEPALIVE = 4096, 40, 75.0
#: The same for aiohttp.
_ARGUMENTS: dict[str, Any] = {
    "access_log": None,
    "keepalive_timeout": KEEPALIVE,
    "max_line_size": LINE_MAX,
    "max_field_size": LINE_MAX,
    "max_headers": HEADERS_MAX,
}
#: Connections at once: more than anybody has scrapers. Fewer are accepted in one go: none can be closed before.
CONNECTIONS_MAX, BACKLOG = 64, 16


def refusal(status: int, slug: str, detail: str) -> web.Response:
    """An answer that something is wrong: a slug for programs, a sentence for people."""
    return web.json_response({"error": slug, "detail": detail}, status=status)


class Few:
    """Makes what serves a connection; the oldest makes way for one too many, so that nobody takes all places."""

    def __init__(self, server: web.Server) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._latest: deque[web.RequestHandler] = deque()

    def __call__(self) -> asyncio.Protocol:
        """What serves the next connection."""
        if len(self._latest) >= CONNECTIONS_MAX and (transport := self._latest.popleft().transport) is not None:
            transport.abort()
        self._latest.append(_Connection(self._server, loop=self._loop, **_ARGUMENTS))
        return self._latest[-1]


class _Connection(web.RequestHandler):
    __slots__ = ()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, *args: Any
    ) -> web.StreamResponse:
        """Answer what is no HTTP, and log our own faults; aiohttp would repeat the former, and log it, too."""
        if status >= 500:
            log.error("a request failed", exc_info=exc)
            response = refusal(status, "fault", "Something went wrong here: see the log.")
        else:
            said = "This is not a well-formed HTTP request, or its head is longer than is taken here."
            response = refusal(400, "bad-request", said)
        response.force_close()
        return response
