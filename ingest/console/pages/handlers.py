"""Handlers and forward targets: what each asks for, how it fares, what waits; pause, resume, retry now."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeVar
from urllib.parse import urlencode

from aiohttp import web
from redis import Redis, RedisError

from ingest import redis_client
from ingest.console import tasks
from ingest.console.acting import act
from ingest.console.marking import _
from ingest.console.reading import reading_of
from ingest.console.rendering import page
from ingest.copernica.columns import MAX_NUMBER_DIGITS, whole
from ingest.copernica.events import MICROS
from ingest.errors import IngestError
from ingest.jobs import HANDLERS_QUEUE
from ingest.settings import Settings
from ingest.stream.clock import redis_time
from ingest.stream.pauses import HANDLER, QUEUE, Pause, Pauses
from workers.handlers import history
from workers.handlers.announced import Announced, announced
from workers.handlers.clock import machine_time
from workers.handlers.history import Attempt
from workers.handlers.names import with_work
from workers.handlers.standing import Standing, put_off, retry_now, standing
from workers.handlers.throttle import Target, target
from workers.handlers.waiting import WaitingWork
from workers.handlers.waking import wake
from workers.store.store import Store

routes = web.RouteTableDef()

T = TypeVar("T")

#: Handlers that are shown in full; nobody has as many.
MOST = 60
#: Groups of calls that are made due while the page waits; more are a task of their own.
MOST_AT_ONCE = 10_000
#: Runs of a page.
RUNS = 25
#: Seconds after which a handler counts as one that no worker has any more, if workers have told of others since.
FRESH = 600.0
#: For how many seconds one can pause; 0 is until somebody resumes it.
PAUSES = {600: _("10 minutes"), 3600: _("1 hour"), 14_400: _("4 hours"), 86_400: _("1 day"), 0: _("until resumed")}
#: What an address says that somebody was led to.
SAID = {
    "paused": _("Paused: workers finish what they are at, and take no more. Calls wait, none is lost."),
    "resumed": _("It goes on."),
    "retried": _("What waited for a later attempt is tried now."),
    "asleep": _("What waited is due now. Redis does not answer, so workers begin with the next event."),
}


@dataclass(frozen=True, slots=True)
class InRedis:
    """What Redis knows: handlers that workers have, what is paused, and targets that fail."""

    known: Mapping[str, Announced]
    pauses: Sequence[Pause]
    targets: Mapping[str, Target]

    def pause_of(self, name: str) -> Pause | None:
        """By which a handler is paused: it, or the queue of all."""
        names = (HANDLER + name, QUEUE + HANDLERS_QUEUE)
        return next((pause for pause in self.pauses if pause.name in names), None)

    def is_gone(self, name: str) -> bool:
        """Whether no worker has it any more, as far as they have told."""
        if name not in self.known:
            return bool(self.known)
        newest = max(one.at for one in self.known.values())
        return self.known[name].at < newest - FRESH


@dataclass(frozen=True, slots=True)
class InStore:
    """What the database knows of the handlers on a page."""

    standings: Mapping[str, Standing]
    waiting: Mapping[str, int]
    failed: Mapping[str, int]
    now: int


@routes.get("/handlers")
async def handlers(request: web.Request) -> web.Response:
    """All of them."""
    reading = reading_of(request)
    in_redis, why_redis = None, ""
    try:
        in_redis = await reading.redis(_in_redis)
    except IngestError as error:
        why_redis = str(error)
    told = list(in_redis.known) if in_redis else []
    in_store, why_store = None, ""
    try:
        in_store = await reading.store(partial(_in_store, told=told))
    except IngestError as error:
        why_store = str(error)
    names = sorted({*told, *(in_store.standings if in_store else ())})
    return page(
        request,
        "handlers.html",
        names=names[:MOST],
        left_out=max(0, len(names) - MOST),
        in_redis=in_redis,
        in_store=in_store,
        why_redis=why_redis,
        why_store=why_store,
        configured=reading.settings.has_handlers,
    )


def _in_redis(client: Redis, *names: str) -> InRedis:
    known = {one.handler.name: one for one in announced(client)}
    found = {name: target(client, name) for name in list({*known, *names})[: 2 * MOST]}
    return InRedis(known, Pauses(client).all(), {name: one for name, one in found.items() if one})


def _in_store(store: Store, told: Sequence[str]) -> InStore:
    work = WaitingWork(store)
    names = sorted({*told, *with_work(store)})[:MOST]
    standings = {name: standing(store, name) for name in names}
    return InStore(standings, work.waiting(), work.failed(), time.time_ns() // 1000)


@routes.get("/handler")
async def handler(request: web.Request) -> web.Response:
    """One of them."""
    name, reading = _name(request.query.get("name", "")), reading_of(request)
    before = whole(request.query.get("before", ""), MAX_NUMBER_DIGITS)
    kind = {"failed": True, "done": False}.get(request.query.get("runs", ""))
    in_redis, why_redis = None, ""
    try:
        in_redis = await reading.redis(lambda client: _in_redis(client, name))
    except IngestError as error:
        why_redis = str(error)
    in_store: InStore | None = None
    runs: list[Attempt] = []
    why_store = ""
    try:
        in_store, runs = await reading.store(lambda store: _one_in_store(store, name, kind, before))
    except IngestError as error:
        why_store = str(error)
    told = in_redis.known.get(name) if in_redis else None
    is_known = told or not in_redis or not in_store or name in in_store.standings
    return page(
        request,
        "handler.html",
        200 if is_known else 404,
        name=name,
        told=told,
        in_redis=in_redis,
        in_store=in_store,
        runs=runs,
        runs_kind=request.query.get("runs", ""),
        older=_older(name, request, runs),
        why_redis=why_redis,
        why_store=why_store,
        pauses=PAUSES,
        said=SAID.get(request.query.get("done", "")),
        number=whole(request.query.get("number", ""), MAX_NUMBER_DIGITS),
    )


def _one_in_store(store: Store, name: str, kind: bool | None, before: int | None) -> tuple[InStore, list[Attempt]]:
    work = WaitingWork(store)
    runs = history.last(store, name, RUNS, failed=kind, before=before)
    waiting, failed = work.waiting(), work.failed()
    standings = {name: standing(store, name)} if runs or name in waiting or name in failed else {}
    return InStore(standings, waiting, failed, time.time_ns() // 1000), runs


def _older(name: str, request: web.Request, runs: Sequence[Attempt]) -> str:
    if len(runs) < RUNS:
        return ""
    query = {"name": name, "runs": request.query.get("runs", "")[:10], "before": runs[-1].number}
    return f"/handler?{urlencode(query)}#runs"


def _name(given: object) -> str:
    """A handler's name.

    Raises:
        HTTPNotFound: it cannot be one.
    """
    if not isinstance(given, str) or not given or len(given) > 1000 or not given.isprintable():
        raise web.HTTPNotFound
    return given


def _back(name: str, done: str, number: int | None = None) -> web.HTTPSeeOther:
    query = {"name": name, "done": done} | ({} if number is None else {"number": str(number)})
    return web.HTTPSeeOther(f"/handler?{urlencode(query)}")


@routes.post("/handler/pause")
async def pause(request: web.Request) -> web.Response:
    """Have its work wait."""
    form = await request.post()
    name, given = _name(form.get("name")), str(form.get("seconds", ""))
    seconds = whole(given, MAX_NUMBER_DIGITS)
    if seconds not in PAUSES:
        raise web.HTTPBadRequest
    reading = reading_of(request)
    if name not in await reading.redis(_told) and name not in await reading.store(with_work):
        raise web.HTTPNotFound

    def begin(client: Redis) -> None:
        Pauses(client).add([HANDLER + name], redis_time(client) + seconds * MICROS if seconds else None)

    what = {"handler": name, "seconds": seconds or None}
    await act(request, "pause", what, lambda _store: with_redis(reading.settings, begin))
    raise _back(name, "paused")


def _told(client: Redis) -> set[str]:
    return {one.handler.name for one in announced(client)}


@routes.post("/handler/resume")
async def resume(request: web.Request) -> web.Response:
    """Let it go on."""
    name, settings = _name((await request.post()).get("name")), reading_of(request).settings

    def end(client: Redis) -> None:
        Pauses(client).remove([HANDLER + name])
        wake(client)

    await act(request, "resume", {"handler": name}, lambda _store: with_redis(settings, end))
    raise _back(name, "resumed")


@routes.post("/handler/retry")
async def retry(request: web.Request) -> web.Response:
    """Try now what waits for a later attempt."""
    name, reading = _name((await request.post()).get("name")), reading_of(request)
    what, clock = {"handler": name}, partial(_clock, reading.settings)
    rows = await reading.store(lambda store: put_off(store, name, clock))
    if len(rows) > MOST_AT_ONCE:
        work = partial(_retry_all, reading.settings, rows)
        back = f"/handler?{urlencode({'name': name})}"
        raise tasks.begun(request, "retry-now", work, title=_("Try again now what waits"), what=what, back=back)
    number = await act(request, "retry-now", what, lambda store: retry_now(store, rows, clock))
    raise _back(name, "retried" if await woken(request) else "asleep", number)


def _retry_all(
    settings: Settings, rows: Sequence[int], report: tasks.Report, stopped: Callable[[], bool]
) -> Mapping[str, int]:
    """The same of very many, beside the pages."""
    done = 0

    def step(more: int) -> None:
        nonlocal done
        done += more
        report(done, len(rows))

    report(0, len(rows))
    try:
        with Store.of(settings) as store:
            clock = partial(_clock, settings)
            return {_("given to their handlers again"): retry_now(store, rows, clock, step, stopped)}
    finally:
        with suppress(IngestError):  # they begin with the next event
            with_redis(settings, wake)


def _clock(settings: Settings) -> int:
    try:
        return with_redis(settings, redis_time)
    except IngestError:
        return machine_time()


async def woken(request: web.Request) -> bool:
    """Have the handlers' workers look what there is to do; False if Redis does not take that."""
    try:
        await reading_of(request).redis(wake)
    except IngestError:
        return False
    return True


def with_redis(settings: Settings, ask: Callable[[Redis], T]) -> T:
    """What a function of a client of Redis returns.

    Raises:
        Unavailable: Redis cannot be used now.
    """
    with redis_client.connect(settings.redis) as client:
        try:
            return ask(client)
        except RedisError as error:
            raise redis_client.unavailable(settings.redis, error) from None
