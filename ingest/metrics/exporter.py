"""The metrics port: `/metrics` for Prometheus, `/scale` for what decides how many workers there are.

    GET /metrics                 200, in the form that Prometheus asks for
    GET /scale                   200, JSON; 503 if Redis or the database cannot be asked
    GET /hirefire/TOKEN/info     the same as HireFire wants it; only where INGEST_METRICS_TOKEN is set
    GET /healthz                 200

It runs in a process of its own, so nothing that happens at this port concerns the endpoint or a worker. What Redis
and the database know is asked for at most once in `FRESH` seconds, however often somebody looks.
"""

import asyncio
import hmac
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Generic, NamedTuple, TypeVar, cast

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as Family

from ingest import __version__, shown
from ingest.errors import Unavailable
from ingest.listening import url_of
from ingest.metrics import connections, listening
from ingest.metrics.board import Board
from ingest.metrics.connections import refusal
from ingest.metrics.exposition import families, of_processes, registry_of
from ingest.metrics.figures import Figures, total
from ingest.processes import follow_parent
from ingest.stops import handled_stops

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Seconds for which what Redis and the database said is shown again.
FRESH = 2.0
#: Seconds that they have to answer: less than the 10 that Prometheus waits.
PATIENCE = 8.0
#: Seconds after which what a process left is no longer how things are: it has ended, or hangs.
STALE = 10.0
#: What is behind the slots of a worker: its jobs, and what drains beside them while the queues are away.
WORKERS_SLOTS = ("work-horse", "drain")


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
            yield f"web.{slot + 1}" if self.part == "serve" else WORKERS_SLOTS[slot]

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
        app.router.add_get("/metrics", self._metrics, expect_handler=_expect)
        app.router.add_get("/scale", self._scaling, expect_handler=_expect)
        app.router.add_get("/hirefire/{token}/info", self._hirefire, expect_handler=_expect)
        app.router.add_get("/healthz", _healthz, expect_handler=_expect)
        app.router.add_route("*", "/{rest:.*}", _nothing, expect_handler=_expect)
        return app

    @web.middleware
    async def _allowed(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer 401 to who does not bring the token, if there is one."""
        open_to_all = self._token is None or request.match_info.handler in (_healthz, self._hirefire)
        if not (open_to_all or self._is_token(request.headers.get("Authorization", ""), "Bearer ")):
            return refusal(401, "not-allowed", "Send INGEST_METRICS_TOKEN as a Bearer token.")
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
            return await _nothing(request)
        return await self._answer_scale(lambda scale: scale[1])

    async def _answer_scale(self, part: Callable[[tuple[object, object]], object]) -> web.Response:
        try:
            scale = await self._scale.answer()
        except TimeoutError:
            return refusal(503, "unavailable", "Redis or the database takes too long to answer.")
        except Exception as error:  # whatever it is: nobody may take it for "nothing to do"
            _note(error)
            detail = shown.without_secrets(str(error)) if isinstance(error, Unavailable) else "See the log."
            return refusal(503, "unavailable", detail)
        return web.Response(body=orjson.dumps(part(scale)), content_type="application/json")


async def _healthz(_request: web.Request) -> web.Response:
    return web.json_response({"status": "alive"})


async def _nothing(_request: web.Request) -> web.Response:
    return refusal(404, "not-found", "There is nothing here.")


async def _expect(_request: web.Request) -> None:
    """Nobody is asked for the body that they announce: none is read here."""


def _note(error: Exception) -> None:
    """Log what is neither Redis's nor the database's trouble."""
    if not isinstance(error, Unavailable | TimeoutError):
        log.error("what Redis and the database know cannot be shown", exc_info=error)


def _encoded(request: web.Request, collected: list[Family]) -> web.Response:
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    response = web.Response(body=encode(registry_of(collected)), headers={"Content-Type": content_type})
    response.enable_compression()
    return response


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
    for number in handled_stops():
        loop.add_signal_handler(number, stopping.set)
    follow_parent(partial(loop.call_soon_threadsafe, stopping.set))
    runner = web.AppRunner(app, shutdown_timeout=0.2)
    await runner.setup()
    few = connections.Few(cast(web.Server, runner.server))  # None only before `setup`
    opened = ExitStack()
    try:
        sock = (
            listening.bind(*address)
            if behind.board is None
            else await listening.find_port(*address, avoid, stopping.wait)
        )
        if sock is not None:
            opened.callback((await loop.create_server(few, sock=sock, backlog=connections.BACKLOG)).close)
            host, port = sock.getsockname()[:2]
            log.info("metrics at %s/metrics", url_of(host, port))
            await stopping.wait()
    finally:
        opened.close()
        await runner.cleanup()
    os._exit(0)  # a question to Redis or the database may still be under way in a thread: nobody waits for it
