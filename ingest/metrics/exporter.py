"""The metrics port: `/metrics` for Prometheus, `/scale` for what decides how many workers there are.

    GET /metrics                 200, in the form that Prometheus asks for
    GET /scale                   200, JSON; 503 if Redis or the database cannot be asked
    GET /hirefire/TOKEN/info     the same as HireFire wants it; only where INGEST_METRICS_TOKEN is set
    GET /healthz                 200

It runs in a process of its own, so nothing that happens at this port concerns the endpoint or a worker. What Redis
and the database know is asked for at most once in `FRESH` seconds, however often somebody looks.
"""

import asyncio
import errno
import hmac
import logging
import os
import signal
import socket
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from typing import Generic, NamedTuple, TypeVar, cast

import orjson
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as Family

from ingest import __version__, shown
from ingest.errors import AddressInUse, SettingsError, Unavailable
from ingest.metrics.board import Board
from ingest.metrics.exposition import families, of_processes, registry_of
from ingest.metrics.figures import Figures, total
from ingest.processes import follow_parent

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Seconds for which what Redis and the database said is shown again.
FRESH = 2.0
#: Seconds that they have to answer: less than the 10 that Prometheus waits.
PATIENCE = 8.0
#: Seconds after which what a process left is no longer how things are: it has ended, or hangs.
STALE = 10.0
#: Ports that are tried where several processes on one machine have the same setting: it, and those after it.
PORTS = 16
#: Seconds between two attempts to find a free one.
PORT_INTERVAL = 30.0
#: Bytes of a line of a request's head, its headers (a scraper sends six), and seconds a connection may be idle.
LINE_MAX, HEADERS_MAX, KEEPALIVE = 4096, 40, 75.0
#: Connections at once: more than anybody has scrapers. Fewer are accepted in one go: none can be closed before.
CONNECTIONS_MAX, BACKLOG = 64, 16


class Sources(NamedTuple):
    """What is asked for what no process has left on the board; both may take long, or raise Unavailable."""

    #: What Redis and the database know.
    shared: Callable[[], Figures]
    #: How many workers there should be: for JSON, and as HireFire wants it.
    scale: Callable[[], tuple[object, object]]


class Behind(NamedTuple):
    """The processes that this port is about."""

    #: `serve`, `worker`, or `metrics` for none.
    part: str
    board: Board | None = None

    def names(self) -> Iterator[str]:
        """What is behind each slot of the board."""
        for slot in range(self.board.slots if self.board else 0):
            yield f"web.{slot + 1}" if self.part == "serve" else "work-horse"

    def figures(self) -> Figures:
        """What they have left, and how they are."""
        board = self.board
        left = [Figures.from_json(board.read(slot)) for slot in range(board.slots)] if board else []
        figures = total(left)
        pids = {"metrics": os.getpid()} | ({self.part: os.getppid()} if board else {})
        for name, one in zip(self.names(), left, strict=True):
            if time.time() - one.at < STALE:  # later, its number may be another process's
                figures.add_gauges(one)
                pids[name] = one.pid
        figures.add_gauges(of_processes(pids))
        figures.gauges[("ingest_build_info", __version__, self.part)] = 1
        return figures


class Asked(Generic[T]):
    """The answer to a question that takes long: asked by one at a time, in a thread, and fresh for a while."""

    def __init__(self, question: Callable[[], T], clock: Callable[[], float] = time.monotonic) -> None:
        self._question = question
        self._clock = clock
        self._asking: asyncio.Task[T] | None = None
        self._asked_at = 0.0

    async def answer(self) -> T:
        """The answer, waited for `PATIENCE` seconds at most.

        Raises:
            Unavailable: there is none.
            TimeoutError: there is none yet.
        """
        asking = self._asking
        if asking is None or (asking.done() and self._clock() - self._asked_at > FRESH):
            self._asking = asking = asyncio.create_task(asyncio.to_thread(self._question))
            asking.add_done_callback(lambda asked: asked.cancelled() or asked.exception())  # nobody may be left
            self._asked_at = self._clock()
        return await asyncio.wait_for(asyncio.shield(asking), PATIENCE)


class Exporter:
    """Answers requests."""

    def __init__(self, behind: Behind, sources: Sources, token: str | None) -> None:
        self._behind = behind
        self._shared = Asked(sources.shared)
        self._scale = Asked(sources.scale)
        self._token = token

    def app(self) -> web.Application:
        """Its routes."""
        app = web.Application(middlewares=[self._allowed])
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/scale", self._scaling)
        app.router.add_get("/hirefire/{token}/info", self._hirefire)
        app.router.add_get("/healthz", _healthz)
        return app

    @web.middleware
    async def _allowed(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer 401 to who does not bring the token, if there is one."""
        open_to_all = self._token is None or request.match_info.handler in (_healthz, self._hirefire)
        if not (open_to_all or self._is_token(request.headers.get("Authorization", ""), "Bearer ")):
            return _error(401, "not-allowed", "Send INGEST_METRICS_TOKEN as a Bearer token.")
        return await handler(request)

    def _is_token(self, sent: str, prefix: str = "") -> bool:
        expected = f"{prefix}{self._token}"
        return hmac.compare_digest(sent.encode("utf-8", "surrogateescape"), expected.encode())

    async def _metrics(self, request: web.Request) -> web.Response:
        figures = self._behind.figures()
        try:
            shared = await self._shared.answer()
        except TimeoutError as error:
            _note(error)
            shared = Figures(gauges={("ingest_redis_up",): 0, ("ingest_database_up",): 0})
        except Exception as error:  # a fault of ours says nothing of them; what the processes have left is shown
            _note(error)
            shared = Figures()
        figures.add_gauges(shared)
        return _encoded(request, list(families(figures)))

    async def _scaling(self, _request: web.Request) -> web.Response:
        return await self._answer_scale(lambda scale: scale[0])

    async def _hirefire(self, request: web.Request) -> web.Response:
        if self._token is None or not self._is_token(request.match_info["token"]):
            return _error(404, "not-found", "There is nothing here.")
        return await self._answer_scale(lambda scale: scale[1])

    async def _answer_scale(self, part: Callable[[tuple[object, object]], object]) -> web.Response:
        try:
            scale = await self._scale.answer()
        except TimeoutError:
            return _error(503, "unavailable", "Redis or the database takes too long to answer.")
        except Exception as error:  # whatever it is: nobody may take it for "nothing to do"
            _note(error)
            detail = shown.without_secrets(str(error)) if isinstance(error, Unavailable) else "See the log."
            return _error(503, "unavailable", detail)
        return web.Response(body=orjson.dumps(part(scale)), content_type="application/json")


async def _healthz(_request: web.Request) -> web.Response:
    return web.json_response({"status": "alive"})


def _note(error: Exception) -> None:
    """Log what is neither Redis's nor the database's trouble."""
    if not isinstance(error, Unavailable | TimeoutError):
        log.error("what Redis and the database know cannot be shown", exc_info=error)


def _encoded(request: web.Request, collected: list[Family]) -> web.Response:
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    response = web.Response(body=encode(registry_of(collected)), headers={"Content-Type": content_type})
    response.enable_compression()
    return response


def _error(status: int, slug: str, detail: str) -> web.Response:
    return web.json_response({"error": slug, "detail": detail}, status=status)


# --- the process ---


def export(
    behind: Behind,
    sources: Sources,
    address: tuple[str, int],
    token: str | None = None,
    avoid: int | None = None,
) -> None:
    """Serve until asked to stop; behind a parent, at the next free port if this one is taken.

    Args:
        behind: whose figures are shown.
        sources: what is asked besides.
        address: host and port.
        token: what everybody has to bring who wants to see them; None: nothing.
        avoid: a port that is not to be used.

    Raises:
        AddressInUse: another program uses the port, and there is no parent.
        SettingsError: the host is not an address of this machine.
    """
    asyncio.run(_export(Exporter(behind, sources, token).app(), behind, address, avoid))


async def _export(app: web.Application, behind: Behind, address: tuple[str, int], avoid: int | None) -> None:
    loop, stopping = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    follow_parent(partial(loop.call_soon_threadsafe, stopping.set))
    runner = web.AppRunner(
        app,
        access_log=None,
        keepalive_timeout=KEEPALIVE,
        max_line_size=LINE_MAX,
        max_field_size=LINE_MAX,
        max_headers=HEADERS_MAX,
        shutdown_timeout=0.2,
        logger=_request_log(),
    )
    await runner.setup()
    few = _Few(cast(web.Server, runner.server))  # None only before `setup`
    opened = ExitStack()
    try:
        sock = _bind(*address) if behind.board is None else await _find_port(*address, avoid, stopping.wait)
        if sock is not None:
            opened.callback((await loop.create_server(few, sock=sock, backlog=BACKLOG)).close)
            host, port = sock.getsockname()[:2]
            log.info("metrics at http://%s:%d/metrics", f"[{host}]" if ":" in host else host, port)
            await stopping.wait()
    finally:
        opened.close()
        await runner.cleanup()
    os._exit(0)  # a question to Redis or the database may still be under way in a thread: nobody waits for it


class _Few:
    """Makes what serves a connection; the oldest makes way for one too many, so that nobody takes all places."""

    def __init__(self, server: web.Server) -> None:
        self._server = server
        self._latest: deque[web.RequestHandler] = deque()

    def __call__(self) -> asyncio.Protocol:
        if len(self._latest) >= CONNECTIONS_MAX and (transport := self._latest.popleft().transport) is not None:
            transport.abort()
        self._latest.append(self._server())
        return self._latest[-1]


def _request_log() -> logging.Logger:
    """Where aiohttp logs our faults, and not what is wrong with a request: senders would fill the log."""
    requests = logging.getLogger(f"{__name__}.requests")
    requests.addFilter(
        lambda record: not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))
    )
    return requests


async def _find_port(
    host: str, port: int, avoid: int | None, stopped: Callable[[], Awaitable[object]]
) -> socket.socket | None:
    """A socket at the first port that is free, from this one on; None if asked to stop before there is one."""
    said = False
    while True:
        for candidate in range(port, min(port + PORTS, 65536)):
            try:
                if candidate != avoid:
                    return _bind(host, candidate)
            except AddressInUse:
                continue
        if not said:
            log.warning(
                "there are no metrics: other programs use the ports %d to %d; set another INGEST_METRICS_PORT",
                port, min(port + PORTS - 1, 65535),
            )  # fmt: skip
            said = True
        try:
            await asyncio.wait_for(stopped(), PORT_INTERVAL)
        except TimeoutError:
            continue
        return None


def require(host: str, port: int) -> None:
    """Fail at the start on what cannot be listened at, other than because somebody does.

    Raises:
        SettingsError: it is not an address of this machine, or not one that this user may take.
    """
    with suppress(AddressInUse):
        _bind(host, port).close()


def _bind(host: str, port: int) -> socket.socket:
    """A socket at this address.

    Raises:
        AddressInUse: another program uses it.
        SettingsError: it is not an address of this machine, or not one that this user may take.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise SettingsError(f"INGEST_METRICS_HOST={host!r} cannot be used: {error.strerror}.") from None
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen()
    except OSError as error:
        sock.close()
        if error.errno != errno.EADDRINUSE:
            raise SettingsError(
                f"Metrics cannot be shown at {host} port {port} ({error.strerror}): set another "
                "INGEST_METRICS_HOST or INGEST_METRICS_PORT."
            ) from None
        raise AddressInUse(
            f"Cannot show metrics at {host} port {port} ({error.strerror}): stop what uses it, or choose another "
            "INGEST_METRICS_PORT."
        ) from None
    return sock
