"""Handing one event to a handler again: which one is chosen here."""

from aiohttp import web
from redis import Redis

from ingest.console.acting import act
from ingest.console.handler_choice import HANDLERS, Handlers, choices
from ingest.console.reading import reading_of
from ingest.console.rendering import page
from ingest.errors import Unavailable
from ingest.jobs import JobScheduler
from workers.operations.event.finding import Found, find, parsed
from workers.operations.event.handing import hand_on
from workers.store.store import Store

routes = web.RouteTableDef()


def prepare(app: web.Application) -> None:
    """Have an application remember what it needs for this."""
    app[HANDLERS] = Handlers()


@routes.get("/event/{id}/hand-on")
async def choose(request: web.Request) -> web.Response:
    """Which handlers there are, and what each would do with it."""
    return await _form(request, await _found(request))


@routes.post("/event/{id}/hand-on")
async def hand(request: web.Request) -> web.Response:
    """Hand it on."""
    found = await _found(request)
    if found.event is None:
        raise web.HTTPNotFound
    form = await request.post()
    name = form.get("handler")
    there = await choices(request, found.delivery_id, found.event.type)
    chosen = next((choice for choice in there.choices if choice.name == name), None)
    if chosen is None:
        return await _form(request, found, 400, "choose")
    if not chosen.takes and "force" not in form:
        return await _form(request, found, 400, "types")
    what = {"handler": chosen.name, "event": found.delivery_id.hex()}

    def do(store: Store) -> int:
        return hand_on(store, chosen.name, found.delivery_id)

    number = await act(request, "hand-on", what, do)
    done = await _woken(request) if number else "gone"
    raise web.HTTPSeeOther(f"/event/{found.delivery_id.hex()}?done={done}")


async def _found(request: web.Request) -> Found:
    delivery_id = parsed(request.match_info["id"])
    if delivery_id is None:
        raise web.HTTPNotFound
    found = await reading_of(request).store(lambda store: find(store, delivery_id))
    if found.event is None:
        raise web.HTTPSeeOther(f"/event/{delivery_id.hex()}")
    return found


async def _form(request: web.Request, found: Found, status: int = 200, wrong: str = "") -> web.Response:
    assert found.event is not None
    kind = found.event.type.value
    context = {"id": found.delivery_id.hex(), "type": kind, "wrong": wrong}
    try:
        there = await choices(request, found.delivery_id, kind)
    except Unavailable as error:
        return page(request, "event_hand_on.html", 503, there=None, why=str(error), **context)
    return page(request, "event_hand_on.html", status, there=there, why="", **context)


async def _woken(request: web.Request) -> str:
    """Wake the handlers' workers; where Redis does not answer, the next event does, or their next start."""

    def wake(client: Redis) -> None:
        scheduler = JobScheduler(client)
        scheduler.note_handoffs(True)
        scheduler.hand_on()

    try:
        await reading_of(request).redis(wake)
    except Unavailable:
        return "handed-later"
    return "handed"
