"""Events: searched by anything, exported, and watched as they come."""

import json
from collections import defaultdict
from collections.abc import AsyncIterator
from functools import partial
from urllib.parse import quote

from aiohttp import web
from multidict import MultiDict

from ingest.console import exporting, live, tail
from ingest.console.kinds import KINDS
from ingest.console.links import message_path, recipient_path
from ingest.console.reading import reading_of
from ingest.console.rendering import html, page
from ingest.console.seals import SEALS
from ingest.console.wanted import COLUMNS, Wanted, sealed_query, wanted_of
from ingest.copernica.columns import MAX_NUMBER_DIGITS, fitting, whole
from ingest.errors import Unavailable
from workers.store import search
from workers.store.filters import Filter
from workers.store.hours import counted_mailing
from workers.store.lines import Line, with_ids
from workers.store.search import Found, Place
from workers.store.store import Store

routes = web.RouteTableDef()

#: Events of one page.
SIZE = 50
#: Seconds for a page whose reader asked to search further.
FURTHER_BUDGET = 1.0
#: Hexadecimal digits of a delivery id.
ID_DIGITS = 24
#: Characters of what is looked for from the header.
LONGEST = 1000


@routes.get("/events")
async def events(request: web.Request) -> web.Response:
    """What fits, the newest first. An address in a link of others does not stay in the browser's history."""
    if (sealed := sealed_query(request)) is not None:
        raise web.HTTPSeeOther(f"/events?{sealed}")
    wanted = wanted_of(request)
    budget = FURTHER_BUDGET if "further" in request.query else search.BUDGET
    found, why = Found(), ""
    try:
        found = await reading_of(request).store(
            lambda store: search.search(store, wanted.filter, wanted.place, SIZE, wanted.older, budget)
        )
    except Unavailable as error:
        why = str(error)
    return page(
        request,
        "events.html",
        503 if why and "HX-Request" not in request.headers else 200,
        wanted=wanted,
        given=defaultdict(str, wanted.given),
        found=found,
        why=why,
        kinds=KINDS,
        columns=COLUMNS,
        **_neighbours(wanted, found),
    )


@routes.post("/events")
async def searched(request: web.Request) -> web.Response:
    """To the page of what was typed, whose address does not tell whom it is about."""
    form = await request.post()
    typed = MultiDict((name, value) for name, value in form.items() if isinstance(value, str))
    wanted = wanted_of(request, typed)
    raise web.HTTPSeeOther(f"/events?{wanted.query()}")


def _neighbours(wanted: Wanted, found: Found) -> dict[str, str | None]:
    """The addresses of the newer and the older page; None where there is none."""
    lines, further = found.lines, found.further if found.reached is None else None
    newer: dict[str, object] | None = None
    older: dict[str, object] | None = None
    if wanted.older:
        older = None if further is None else {"before": further}
        if wanted.place is not None:
            newer = {"after": _place(lines[0])} if lines else {}
    else:
        older = {"before": _place(lines[-1])} if lines else {}
        newer = None if further is None else {"after": further}
    return {
        "newer": None if newer is None else f"/events?{wanted.query(**newer)}",
        "older": None if older is None else f"/events?{wanted.query(**older)}",
    }


def _place(line: Line) -> Place:
    return Place(line.occurred_at, line.delivery_id)


@routes.get("/events/export", allow_head=False)
async def exported(request: web.Request) -> web.StreamResponse:
    """All that fits, as a file."""
    return await exporting.export(request, wanted_of(request))


@routes.get("/live/events")
async def tailed(request: web.Request) -> web.StreamResponse:
    """What fits as it is stored, as rows of the list."""
    return await live.stream(request, _news(request))


async def _news(request: web.Request) -> AsyncIterator[tuple[str, str]]:
    wanted = wanted_of(request)
    async for news in tail.tail_of(request.app).watched(wanted.filter):
        rows = html(request, "events_rows.html", {"lines": news.lines, "wanted": wanted}) if news.lines else ""
        said = html(request, "events_tail.html", {"news": news})
        yield "rows", json.dumps({"rows": rows, "said": said, "state": news.state})


@routes.post("/find")
async def find(request: web.Request) -> web.Response:
    """To the page of what was typed in the header: a recipient, event, message or mailing; or a search."""
    typed, seals = (await request.post()).get("q"), request.app[SEALS]
    text = fitting(typed[:LONGEST]).strip() if isinstance(typed, str) else ""
    if not text:
        raise web.HTTPSeeOther("/events")
    if "@" in text and " " not in text:
        raise web.HTTPSeeOther(recipient_path(text, seals))
    if "@" in text:
        raise web.HTTPSeeOther(f"/events?text={quote(seals.closed(text))}")
    raise web.HTTPSeeOther(await reading_of(request).store(partial(_place_of, text=text)))


def _place_of(store: Store, text: str) -> str:
    """The page of something that has no @ in it."""
    hexadecimal = text.lower()
    is_id = len(text) == ID_DIGITS and set(hexadecimal) <= set("0123456789abcdef")
    if is_id and with_ids(store, [bytes.fromhex(hexadecimal)]):
        return f"/event/{hexadecimal}"
    number = whole(text, MAX_NUMBER_DIGITS)
    if number is not None and counted_mailing(store, number):
        return f"/mailing/{number}"
    if search.search(store, Filter(message_id=text), None, 1).lines:
        return message_path(text)
    if number is not None:
        return f"/events?profile={number}"
    return f"/events?text={quote(text, safe='')}"


def prepare(app: web.Application) -> None:
    """Have an application tell of new events, and export."""
    tail.prepare(app)
    exporting.prepare(app)
