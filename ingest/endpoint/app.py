"""The HTTP face of the intake: `create_app`, and a connection that keeps deadlines.

What aiohttp does by itself and must not: read a slow client's request for ever, unpack compressed bodies, say
`100 Continue` to a body that is too large, and quote the request in an error. What each route answers stands in
`ingest.endpoint.intake`.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, cast

from aiohttp import ClientError, StreamReader, web
from aiohttp.typedefs import Handler
from aiohttp.web_protocol import RequestHandler

from ingest.endpoint import intake
from ingest.endpoint.intake import Answer, Intake
from ingest.endpoint.limits import BODY_DEADLINE, HEAD_DEADLINE, KEEPALIVE, LINGER, MAX_CONNECTIONS, READY_TIMEOUT
from ingest.endpoint.spool_replay import SpoolReplayer
from ingest.endpoint.validation_files import ValidationFiles
from ingest.errors import WriteUnconfirmed
from ingest.stream.producer import Producer

log = logging.getLogger(__name__)

INTAKE = web.AppKey("intake", Intake)
REPLAYER = web.AppKey("replayer", SpoolReplayer)
VALIDATION_FILES = web.AppKey("validation_files", ValidationFiles)
#: Set when the process is about to stop: every further answer closes its connection.
CLOSING = web.AppKey("closing", asyncio.Event)


def create_app(
    take: Intake, replayer: SpoolReplayer, path: str, validation_files: ValidationFiles | None = None
) -> web.Application:
    """The application: webhooks at `path` and everything below, what load balancers ask, and validation files."""
    app = web.Application(client_max_size=take.max_body, handler_args=HANDLER_ARGS)
    if validation_files is not None:
        app[VALIDATION_FILES] = validation_files
        app.middlewares.append(validation)
    app[INTAKE] = take
    app[REPLAYER] = replayer
    app[CLOSING] = asyncio.Event()
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    for place in (path or "/", f"{path}/{{rest:.*}}"):
        app.router.add_route("*", place, webhook, expect_handler=expect)
    app.router.add_route("*", "/{rest:.*}", nothing, expect_handler=expect)
    return app


#: How aiohttp treats every connection.
HANDLER_ARGS: dict[str, Any] = {
    "keepalive_timeout": KEEPALIVE,
    "lingering_time": LINGER,
    "auto_decompress": False,
    "access_log": None,
}


@web.middleware
async def validation(request: web.Request, handler: Handler) -> web.StreamResponse:
    """A file by which a domain is validated, where one is asked for and there."""
    if request.method in ("GET", "HEAD"):
        content = await asyncio.to_thread(request.app[VALIDATION_FILES].find, request.path)
        if content is not None:
            return _response(request, Answer(200, content, plain=True))
    return await handler(request)


async def webhook(request: web.Request) -> web.Response:
    """One call from Copernica."""
    take = request.app[INTAKE]
    if answer := _judge(request, take):
        return _response(request, answer)
    with take.hold(request.content_length):
        body = await _read(request, take.max_body)
        if isinstance(body, Answer):
            return _response(request, body)
        return _response(request, await take.keep(request.raw_path, request.raw_headers, body))


async def nothing(request: web.Request) -> web.Response:
    """Every other path."""
    return _response(request, intake.NOT_FOUND)


async def healthz(_request: web.Request) -> web.Response:
    """The process lives."""
    return web.json_response({"status": "alive"})


async def readyz(request: web.Request) -> web.Response:
    """Calls can be kept: Redis answers, or the spool takes them."""
    replayer = request.app[REPLAYER]
    appender = replayer.appender
    spool = appender.spool
    serves = appender.breaker.is_closed and await _answers(appender)
    state = {
        "redis": "serves" if serves else "away",
        "breaker": str(appender.breaker.state),
        "spool": "off" if spool is None else "takes" if spool.takes else "full" if spool.is_full else "fails",
    }
    if not (serves and not appender.is_over) and (spool is None or not spool.takes):
        return _response(request, intake.UNAVAILABLE)
    return web.json_response({"status": "ready", **state, "risks": replayer.risks})


async def _answers(appender: Producer) -> bool:
    try:
        await appender.stream.ping(READY_TIMEOUT)
    except WriteUnconfirmed:
        return False
    return True


async def expect(request: web.Request) -> web.Response | None:
    """Ask for a body only when it will be taken."""
    if request.match_info.handler is webhook and (answer := _judge(request, request.app[INTAKE])):
        return _response(request, answer)
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # as aiohttp does: the interim answer is not the answer
    return None


def _judge(request: web.Request, take: Intake) -> Answer | None:
    headers = request.headers
    return take.judge(
        request.method, request.content_length, headers.get("Content-Encoding"), "Signature" in headers
    )


async def _read(request: web.Request, limit: int) -> bytes | Answer:
    """The whole body, or the answer to a body that is too large or too slow."""
    content = request.content
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_DEADLINE):
            while chunk := await content.readany():
                size += len(chunk)
                if size > limit:
                    return intake.TOO_LARGE
                chunks.append(chunk)
    except TimeoutError:
        return intake.TOO_SLOW
    except (ClientError, web.RequestPayloadError, ConnectionError):
        return intake.BAD_REQUEST
    if isinstance(request.protocol, Connection) and request.protocol.cut_off:
        return intake.BAD_REQUEST  # what came in is not what was announced
    return b"".join(chunks)


def _response(request: web.Request, answer: Answer) -> web.Response:
    response = web.Response(status=answer.status, body=answer.body, headers=answer.headers or None)
    if answer.body:
        response.content_type = answer.content_type
    if answer.status in (401, 408, 413, 415) or request.app[CLOSING].is_set():
        response.force_close()
    return response


class Connection(RequestHandler):
    """A connection whose requests must begin and end in time, and whose errors quote nothing."""

    __slots__ = ("_head_timer", "_last_body", "cut_off")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_timer: asyncio.TimerHandle | None = None
        self._last_body: StreamReader | None = None
        #: Whether a body ended before it was complete.
        self.cut_off = False

    def data_received(self, data: bytes) -> None:
        """Start the clock at the first byte of a head, stop it at its last."""
        seen, body = self._request_count, self._last_body
        super().data_received(data)
        if self._request_count != seen:
            self._stop_timer()
            self._last_body = self._messages[-1][1] if self._messages else None
            if body is not None and not body.is_eof():  # the parser has lost its way in it, and will not say so
                self._cut_off(body)
        elif data and self._head_timer is None and self._current_request is None and not self._messages:
            self._head_timer = self._loop.call_later(HEAD_DEADLINE, self._head_too_late)

    def eof_received(self) -> bool:  # type: ignore[override]  # aiohttp never stays; asyncio lets us
        """The sender has said all it will say; it may still be listening for its answer."""
        idle = self._waiter is not None and not self._waiter.done()
        if idle or self._last_body is None:
            return False
        if self._last_body.is_eof():
            self.close()  # after the answer that is due
        else:
            self._cut_off(self._last_body)
        return True

    def _cut_off(self, body: StreamReader) -> None:
        """Nothing more will come of a body; its request is still to be answered."""
        self.cut_off = True
        body.feed_eof()
        self.close()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Stop the clock."""
        self._stop_timer()
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What aiohttp itself has to refuse: bad HTTP, and faults of ours."""
        if status < 500:
            answer = intake.BAD_REQUEST
        else:
            log.error("a request failed", exc_info=exc)
            answer = intake.refusal(500, "fault", "Something went wrong here; send it again.")
        response = web.Response(status=answer.status, body=answer.body, content_type="application/json")
        response.force_close()
        return response

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_too_late(self) -> None:
        self._head_timer = None
        if self.transport is not None:
            self.transport.write(intake.TOO_SLOW.raw(close=True))
        self.force_close()


class TurnedAway(asyncio.Protocol):
    """A connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say so and close."""
        transport = cast(asyncio.Transport, transport)
        transport.write(intake.BUSY.raw(close=True))
        transport.close()


def connection_factory(server: web.Server, limit: int = MAX_CONNECTIONS) -> Callable[[], asyncio.Protocol]:
    """Makes the protocol of each connection that aiohttp serves."""
    loop = asyncio.get_running_loop()

    def make() -> asyncio.Protocol:
        if len(server.connections) >= limit:
            return TurnedAway()
        return Connection(server, loop=loop, **HANDLER_ARGS)

    return make
