"""The HTTP face of the intake: `create_app` and its handlers.

By default, aiohttp would unpack compressed bodies, answer `100 Continue` to a body that is too large, and wait for
slow senders for ever; the handlers here do not. The answers are in `ingest.endpoint.answers`, the connections in
`ingest.endpoint.connection`.
"""

import asyncio
import logging
import time

from aiohttp import ClientError, web
from aiohttp.typedefs import Handler

from ingest.endpoint import answers, limits
from ingest.endpoint.aiohttp_compat import send_continue
from ingest.endpoint.answers import Answer
from ingest.endpoint.chunks import Chunks
from ingest.endpoint.connection import Connection
from ingest.endpoint.intake import Intake
from ingest.endpoint.spool_replay import SpoolReplayer
from ingest.endpoint.targets import Addressed, addressed
from ingest.endpoint.validation_files import ValidationFiles
from ingest.errors import Reason, WriteUnconfirmed
from ingest.stream.lanes import Lane
from ingest.stream.producer import Producer

log = logging.getLogger(__name__)

INTAKE = web.AppKey("intake", Intake)
REPLAYER = web.AppKey("replayer", SpoolReplayer)
VALIDATION_FILES = web.AppKey("validation_files", ValidationFiles)
#: Set when the process is about to stop: every further answer closes its connection.
CLOSING = web.AppKey("closing", asyncio.Event)


def create_app(
    intake: Intake, replayer: SpoolReplayer, path: str, validation_files: ValidationFiles | None = None
) -> web.Application:
    """The application: webhooks at `path` and everything below, health checks, and validation files."""
    app = web.Application(client_max_size=intake.max_body)
    if validation_files is not None:
        app[VALIDATION_FILES] = validation_files
        app.middlewares.append(serve_validation_file)
    app[INTAKE] = intake
    app[REPLAYER] = replayer
    app[PROBE] = Probe(replayer.producer)
    app[CLOSING] = asyncio.Event()
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    add_routes(app, path)
    app.router.add_route("*", "/{rest:.*}", not_found, expect_handler=expect)
    return app


def add_routes(app: web.Application, path: str) -> None:
    """Take webhooks at `path` and everything below."""
    app.router.add_route("*", path or "/", webhook, expect_handler=expect)
    app.router.add_route("*", f"{path}/{{rest:.*}}", webhook, expect_handler=expect)


@web.middleware
async def serve_validation_file(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Serve a file that proves who owns the domain, if there is one at this path; else pass the request on."""
    if request.method in ("GET", "HEAD"):
        content = await asyncio.to_thread(request.app[VALIDATION_FILES].find, request.path)
        if content is not None:
            return _response(request, Answer(200, content, plain=True))
    return await handler(request)


async def webhook(request: web.Request) -> web.Response:
    """One call from Copernica."""
    intake = request.app[INTAKE]
    to = _judge_head(request, intake)
    if isinstance(to, Answer):
        return _response(request, to)
    body = await _read_body(request, intake.max_body)
    if isinstance(body, Answer):
        intake.refused[answers.BUSY.status] += body is answers.BUSY
        return _response(request, body)
    answer = await intake.keep(to.target, to.as_signed(request.raw_headers), body, request.transport)
    if answer is answers.KEPT and isinstance(request.protocol, Connection):
        request.protocol.known = True
    return _response(request, answer)


async def not_found(request: web.Request) -> web.Response:
    """Every other path."""
    return _response(request, answers.NOT_FOUND)


async def healthz(_request: web.Request) -> web.Response:
    """The process is alive."""
    return web.json_response({"status": "alive"})


async def readyz(request: web.Request) -> web.Response:
    """Whether calls are kept: 200 if Redis answers or the spool takes them, and what may cost some; else 503."""
    replayer = request.app[REPLAYER]
    producer = replayer.producer
    states = await request.app[PROBE].find_out()
    best = min(states, key=("serves", "refuses", "away").index)
    lanes = producer.lanes
    state: dict[str, object] = {
        "redis": best,
        "breaker": lanes.state,
        "spool": _state_of_spool(producer),
    }
    if lanes.are_several:
        state["streams"] = {"serve": states.count("serves"), "of": len(states)}
    serves = any(one == "serves" and not lane.is_over for one, lane in zip(states, lanes, strict=True))
    if not serves and not producer.spool_takes:
        return _response(request, answers.UNAVAILABLE)
    risks = {"risks": [risk.text for risk in replayer.risks], "codes": [risk.code for risk in replayer.risks]}
    return web.json_response({"status": "ready", **state, **risks})


def _state_of_spool(producer: Producer) -> str:
    spool = producer.spool
    if spool is None:
        return "off"
    if spool.takes:
        return "overdue" if producer.is_overdue else "takes"
    return "full" if spool.is_full else "fails"


class Probe:
    """How each Redis is: asked once at a time, however many want to know, since each needs a connection."""

    def __init__(self, producer: Producer) -> None:
        self._lanes = producer.lanes
        self._asking: asyncio.Task[list[str]] | None = None
        self._wrote_at = dict.fromkeys(self._lanes, -limits.PROBE_INTERVAL)

    async def find_out(self) -> list[str]:
        """Of each: `serves`, `refuses` (it answers, but takes no writes) or `away`."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask_all())
        return await asyncio.shield(self._asking)

    async def _ask_all(self) -> list[str]:
        return list(await asyncio.gather(*map(self._ask, self._lanes)))

    async def _ask(self, lane: Lane) -> str:
        if not lane.breaker.is_closed:
            return "away"
        try:
            await lane.stream.ping(limits.READY_TIMEOUT)
        except WriteUnconfirmed:
            return "away"
        if time.monotonic() - self._wrote_at[lane] < limits.PROBE_INTERVAL:
            return "serves"
        try:
            await lane.stream.try_write(limits.READY_TIMEOUT)
        except WriteUnconfirmed:
            return "refuses"
        self._wrote_at[lane] = time.monotonic()
        return "serves"


PROBE = web.AppKey("probe", Probe)


async def expect(request: web.Request) -> web.Response | None:
    """Ask for a body (`100 Continue`) only if it will be read."""
    if request.match_info.handler is webhook:
        to = _judge_head(request, request.app[INTAKE])
        if isinstance(to, Answer):
            return _response(request, to)
    if request.headers.get("Expect", "").lower() == "100-continue":
        await send_continue(request)
    return None


def _judge_head(request: web.Request, intake: Intake) -> Addressed | Answer:
    """What the request is addressed to if its body may be read, else the answer."""
    headers = request.headers
    # The reverse of how aiohttp decoded them: the bytes that arrived.
    target, host = request.raw_path, headers.get("Host", "")
    to = addressed(target.encode("utf-8", "surrogateescape"), host.encode("utf-8", "surrogateescape"))
    if to is None:
        return answers.BAD_REQUEST
    encoding, signed = headers.get("Content-Encoding"), "Signature" in headers
    answer = intake.judge(request.method, request.content_length, encoding, signed)
    if answer is answers.NOT_ACCEPTED:
        _note(request, Reason.NO_SIGNATURE.value)
    return answer or to


async def _read_body(request: web.Request, max_size: int) -> bytes | Answer:
    """The whole body, or the answer to a body that is too large or too slow."""
    content, connection = request.content, request.protocol
    if not isinstance(connection, Connection) and not request.can_read_body:
        return await _body_read_before(request, max_size)
    body = Chunks()
    try:
        async with asyncio.timeout(limits.BODY_DEADLINE):
            while chunk := await content.readany():
                if body.size + len(chunk) > max_size:
                    return answers.TOO_LARGE
                body.add(chunk)
    except TimeoutError:
        return answers.TOO_SLOW
    except (ClientError, web.RequestPayloadError, ConnectionError):
        return answers.BAD_REQUEST
    if isinstance(connection, Connection) and connection.cut_off is not None:
        return connection.cut_off
    whole = await body.whole()
    if isinstance(connection, Connection):
        connection.body_is_read()
    return whole


async def _body_read_before(request: web.Request, max_size: int) -> bytes | Answer:
    """The body that a middleware of the application around us has read, as aiohttp keeps it."""
    body = await request.read()
    if len(body) != (request.content_length or len(body)):
        log.error(
            "a middleware of your application takes the body of calls from `request.content`, so they cannot be "
            "verified, and are answered 500: let it use `request.read()`, or leave these paths alone",
            extra={"event": "body-taken"},
        )
        return answers.FAULT
    return answers.TOO_LARGE if len(body) > max_size else body


def _response(request: web.Request, answer: Answer) -> web.Response:
    if answer.status in answers.NO_CALL_STATUSES:
        request.app[INTAKE].refused[answer.status] += 1
        _note(request, str(answer.status))
    response = web.Response(status=answer.status, body=answer.body, headers=answer.headers or None)
    if answer.body:
        response.content_type = answer.content_type
    if answer.status in answers.CLOSING_STATUSES or request.app[CLOSING].is_set():
        response.force_close()
    return response


def _note(request: web.Request, reason: str) -> None:
    """Keep a refused request to be looked at."""
    target = request.raw_path.encode("utf-8", "surrogateescape")
    refusals = request.app[INTAKE].refusals
    refusals.note(reason, request.method, target, request.raw_headers, transport=request.transport)
