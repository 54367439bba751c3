"""What is going on now: warnings first, then figures, a chart, and who does what. Live while somebody looks."""

from collections.abc import AsyncIterator, Iterable, Mapping
from itertools import groupby

import orjson
from aiohttp import web

from ingest.console import live
from ingest.console.hub import HUB, Picture, Point, hub_of
from ingest.console.now import Now
from ingest.console.rendering import html, page
from ingest.console.visitor import visitor_of

routes = web.RouteTableDef()

#: The parts of the page that change, by the end of their ids (`now-…`), and what draws each.
PARTS = {
    "warnings": "warnings.html",
    "tiles": "now_tiles.html",
    "days": "now_days.html",
    "workers": "now_workers.html",
    "endpoints": "now_endpoints.html",
    "handlers": "now_handlers.html",
    "refused": "now_refused.html",
}
#: What was drawn last in each language, and of which picture: drawn once for all who look.
_drawn: web.AppKey[dict[str, tuple[int, Mapping[str, str]]]] = web.AppKey("what was drawn of now")


def prepare(app: web.Application) -> None:
    """Have an application remember what it drew."""
    app[_drawn] = {}


@routes.get("/")
async def now(request: web.Request) -> web.Response:
    """What is going on: warnings first."""
    hub = hub_of(request)
    picture = await hub.looked_at()
    return page(request, "now.html", 200, **_context(picture, hub.points), minutes=list(minutes(hub.points)))


@routes.get("/live/now")
async def changing(request: web.Request) -> web.StreamResponse:
    """The parts of the page as they change, and what the chart goes on with."""
    return await live.stream(request, _changes(request))


async def _changes(request: web.Request) -> AsyncIterator[list[live.Event]]:
    hub = request.app[HUB]
    sent: dict[str, str] = {}
    drawn_to = 0.0
    async for picture in hub.changes():
        events: list[live.Event] = []
        parts = _parts(request, picture, hub.points)
        events += [(name, text) for name, text in parts.items() if sent.get(name) != text]
        sent.update(parts)
        if points := [tuple(point) for point in hub.points if point.at > drawn_to]:
            events.append(("points" if drawn_to else "history", orjson.dumps(points).decode()))
            drawn_to = points[-1][0]
        if events:
            yield events


def _parts(request: web.Request, picture: Picture, points: Iterable[Point]) -> Mapping[str, str]:
    language = visitor_of(request).language
    number, parts = request.app[_drawn].get(language, (-1, {}))
    if number != picture.number:
        context = _context(picture, points)
        parts = {name: html(request, template, context) for name, template in PARTS.items()}
        request.app[_drawn][language] = picture.number, parts
    return parts


def _context(picture: Picture, points: Iterable[Point]) -> dict[str, object]:
    seen = Now.of(picture, points)
    return {"now": seen, "warnings": seen.warnings, "parts_of_page": PARTS}


def minutes(points: Iterable[Point]) -> Iterable[tuple[float, float, float, int]]:
    """The history by minutes, the newest first: when, events taken and stored per second, the largest backlog."""
    by_minute = groupby(reversed(list(points)), key=lambda point: point.at // 60 * 60)
    for minute, within in by_minute:
        some = list(within)
        taken, stored = (sum(getattr(one, name) for one in some) / len(some) for name in ("taken", "stored"))
        yield minute, taken, stored, max(one.backlog for one in some)
