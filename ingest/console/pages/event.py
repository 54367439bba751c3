"""One event: what it says, its whole way, what is beside it; and handing it to a handler again."""

import asyncio
import json
from collections.abc import AsyncIterator
from functools import partial
from urllib.parse import quote

from aiohttp import web

from ingest.console import event_way, live
from ingest.console.event_fields import fields_of, quoted, tags_of
from ingest.console.reading import reading_of
from ingest.console.rendering import html, page
from ingest.console.seals import SEALS
from ingest.copernica.events import Event
from ingest.errors import Unavailable
from workers.operations.event.beside import Beside, beside
from workers.operations.event.finding import Found, Where, find, parsed
from workers.operations.event.report import Report, report
from workers.operations.event.way import Way, way_of
from workers.records import FORM, record_of
from workers.store.store import Store

routes = web.RouteTableDef()

#: Seconds between two looks at an event that somebody watches, and after which nobody is told any more.
LOOK_EVERY, WATCHED = 1.0, 900.0
#: Bytes of a raw body that a page shows; the rest can be downloaded.
SHOWN_BODY = 4000
#: Bytes of a body up to which its call is offered as a command.
MOST_CURL = 8000
#: What became of an action, by the word in the query: nothing of the query itself is shown.
DONE = frozenset({"handed", "handed-later", "gone", "twice"})


@routes.get("/event/{id}")
async def one(request: web.Request) -> web.Response:
    """What is known of one event."""
    delivery_id = wanted(request)
    if delivery_id is None:
        return page(request, "event_gone.html", 404, found=None, written=request.match_info["id"][:100])
    reading = reading_of(request)
    found = await reading.store(lambda store: find(store, delivery_id, reading.settings.shortest_retention))
    if found.event is None:
        return page(request, "event_gone.html", 404, found=found, where=found.where.value, quoted=quoted)
    event = found.event
    way, neighbours = await asyncio.gather(_way(request, event), _beside(request, event))
    done = request.query.get("done", "")
    return page(
        request,
        "event.html",
        event=event,
        id=event.delivery_id.hex(),
        fields=fields_of(event, request.app[SEALS]),
        tags=tags_of(event),
        raw=(event.raw or b"")[:SHOWN_BODY].decode("utf-8", "replace"),
        raw_size=None if event.raw is None else len(event.raw),
        curl=_curl(event),
        way=way,
        beside=neighbours,
        quoted=quoted,
        done=done if done in DONE else "",
        has_handlers=reading.settings.has_handlers,
    )


@routes.get("/event/{id}/json")
async def as_json(request: web.Request) -> web.Response:
    """The whole of it, for scripts and for the clipboard."""
    known = await _known(request)
    text = json.dumps(known.as_json(), indent=2)
    return _file(text.encode(), "application/json", f"{known.found.delivery_id.hex()}.json")


@routes.get("/event/{id}/body")
async def body(request: web.Request) -> web.Response:
    """The body as it came, where it was kept; else one that says the same."""
    event = (await _found(request)).event
    if event is None:
        raise web.HTTPNotFound
    name = f"{event.delivery_id.hex()}.{'raw' if event.raw is not None else 'form'}"
    return _file(record_of(event).body, "application/octet-stream", name)


@routes.get("/live/event/{id}")
async def watched(request: web.Request) -> web.StreamResponse:
    """Its way, whenever there is something new, until nothing is to happen any more."""
    event = (await _found(request)).event
    if event is None:
        raise web.HTTPNotFound
    return await live.stream(request, _changes(request, event))


async def _changes(request: web.Request, event: Event) -> AsyncIterator[tuple[str, str]]:
    shown: Way | None = None
    until = asyncio.get_running_loop().time() + WATCHED
    while asyncio.get_running_loop().time() < until:
        try:
            way = await reading_of(request).store(lambda store: way_of(store, event))
        except Unavailable:  # it may come back while the page is open
            await asyncio.sleep(LOOK_EVERY)
            continue
        if way != shown:
            shown = way
            yield (
                "way",
                html(request, "event_way.html", {"way": event_way.shown(way), "id": event.delivery_id.hex()}),
            )
        if not way.is_under_way:
            break
        await asyncio.sleep(LOOK_EVERY)
    yield "ended", "ended"


# --- what pages about one event ask ---


def wanted(request: web.Request) -> bytes | None:
    """The delivery id that the path names; None if that is none."""
    return parsed(request.match_info["id"])


async def _found(request: web.Request) -> Found:
    delivery_id = wanted(request)
    if delivery_id is None:
        raise web.HTTPNotFound
    reading = reading_of(request)
    return await reading.store(lambda store: find(store, delivery_id, reading.settings.shortest_retention))


async def _known(request: web.Request) -> Report:
    delivery_id = wanted(request)
    if delivery_id is None:
        raise web.HTTPNotFound
    reading = reading_of(request)
    known = await reading.store(lambda store: report(store, delivery_id, reading.settings.shortest_retention))
    if known.found.where is not Where.STORE:
        raise web.HTTPNotFound
    return known


async def _way(request: web.Request, event: Event) -> event_way.Shown | str:
    """Its way, or why it cannot be told now."""

    def ask(store: Store) -> Way:
        return way_of(store, event)

    try:
        return event_way.shown(await reading_of(request).store(ask))
    except Unavailable as error:
        return str(error)


async def _beside(request: web.Request, event: Event) -> Beside | str:
    """Its neighbours, or why they cannot be told now."""
    try:
        return await reading_of(request).store(partial(_neighbours, event))
    except Unavailable as error:
        return str(error)


def _neighbours(event: Event, store: Store) -> Beside:
    return beside(store, event)


def _curl(event: Event) -> str:
    """A command that sends the same call, unsigned; empty where that is no text of a moderate length."""
    record = record_of(event)
    if record.content_type != FORM or len(record.body) > MOST_CURL or not record.body.isascii():
        return ""
    text = record.body.decode("ascii")
    if not text.isprintable() or "'" in text:
        return ""
    path = quote(event.path or "/copernica", safe="/?&=%:+,;@!~*()-._")
    return f"curl --data-raw '{text}' 'https://YOUR-ENDPOINT{path}'"


def _file(content: bytes, kind: str, name: str) -> web.Response:
    response = web.Response(body=content, headers={"Content-Type": kind})
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response
