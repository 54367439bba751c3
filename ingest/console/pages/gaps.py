"""Gaps: periods in which calls may be missing, what became of each, and how to fill one by hand."""

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from aiohttp import web

from ingest.console import completeness, tasks
from ingest.console.dates import time_from, zone_from
from ingest.console.marking import _
from ingest.console.reading import reading_of
from ingest.console.rendering import page
from ingest.copernica.events import MICROS
from ingest.errors import IngestError
from ingest.settings import Settings
from workers.catch_up.by_hand import LONGEST
from workers.gaps import listing
from workers.gaps.gap import Cause, State
from workers.reconcile import in_flight
from workers.store.store import Store

routes = web.RouteTableDef()

#: Gaps on one page.
GAPS = 50
#: Seconds between two looks at what endpoints have said since a worker noted it: that takes a lock for a moment.
LOOK_EVERY = 10.0
#: Seconds that a page waits for it, and for Redis to say what is in flight.
PATIENCE = 3.0

CAUSES = {
    Cause.NO_ENDPOINT: _("no endpoint took calls"),
    Cause.ANSWERED_503: _("calls were answered 503"),
    Cause.SPOOL_DAMAGED: _("the spool was damaged"),
    Cause.STORE_OLDER: _("the database was older than it had been"),
    Cause.REDIS_OLDER: _("Redis lacked what it had had"),
    Cause.UNREACHABLE: _("Copernica could not reach the endpoint"),
}
STATES = {
    State.OPEN: _("lasts"),
    State.ENDED: _("to be filled"),
    State.CATCHING_UP: _("being filled"),
    State.CLOSED: _("closed"),
    State.CANNOT_BE_CLOSED: _("cannot be filled"),
}
TONES = {
    State.OPEN: "bad",
    State.ENDED: "warn",
    State.CATCHING_UP: "warn",
    State.CLOSED: "good",
    State.CANNOT_BE_CLOSED: "bad",
}

_KEY = re.compile(r"([0-9]{1,18})\.([a-z0-9-]{1,30})")
_looked_at = web.AppKey("gaps looked for", dict[str, float])


class Found(NamedTuple):
    """What the database knows; `outdated` is why it is not of this moment."""

    page: listing.Page
    outdated: str | None


def texts(settings: Settings) -> dict[str, Any]:
    """What templates need that show gaps."""
    zone = ZoneInfo(settings.timezone)

    def written(micros: int, end: bool = False) -> str:
        """A time as a form has it, in whole seconds: before a begin, after an end."""
        second = -(-micros // MICROS) if end else micros // MICROS
        return datetime.fromtimestamp(second, zone).strftime("%Y-%m-%dT%H:%M:%S")

    return {"causes": CAUSES, "states": STATES, "tones": TONES, "written": written, "now": time.time_ns() // 1000}


def prepare(app: web.Application) -> None:
    """Have an application remember when it looked last."""
    app[_looked_at] = {}


@routes.get("/gaps")
async def gaps(request: web.Request) -> web.Response:
    """All gaps, the newest first, and what is under way."""
    reading, unclosed = reading_of(request), "unclosed" in request.query
    before = _key(request.query.get("before", ""))
    found, why, flight = None, "", None
    try:
        found = await reading.store(_asking(request, before, unclosed))
        flight = await reading.store(lambda store: in_flight.look(reading.settings, store), PATIENCE)
    except IngestError as error:
        why = str(error)
    older = found.page.older if found else None
    settings = reading.settings
    return page(
        request,
        "gaps.html",
        status=200 if found else 503,
        found=found,
        why=why,
        flight=flight,
        unclosed=unclosed,
        under_way=completeness.under_way(request),
        filtered=before is not None,
        older=f"/gaps?before={older[0]}.{older[1]}{'&unclosed=1' if unclosed else ''}" if older else None,
        newest=f"/gaps{'?unclosed=1' if unclosed else ''}" if before else None,
        has_token=settings.copernica_token is not None,
        catch_up=settings.catch_up == "on",
        said=completeness.SAID.get(request.query.get("said", "")),
        **{name: _echoed(request, name) for name in ("since", "until")},
        seen="seen" in request.query,
        **texts(settings),
    )


def _asking(request: web.Request, before: tuple[int, str] | None, unclosed: bool) -> Callable[[Store], Found]:
    settings, looked = reading_of(request).settings, request.app.get(_looked_at, {})

    def ask(store: Store) -> Found:
        outdated = None
        if time.monotonic() - looked.get("at", -LOOK_EVERY) >= LOOK_EVERY:
            looked["at"] = time.monotonic()
            outdated = listing.look_first(settings, store)
            if outdated is not None:
                looked.clear()
        return Found(listing.page(store, GAPS, before, unclosed), outdated)

    return ask


def _key(text: str) -> tuple[int, str] | None:
    found = _KEY.fullmatch(text)
    return (int(found[1]), found[2]) if found else None


def _echoed(request: web.Request, name: str) -> tuple[str, str]:
    """A time of the query as a form has it, and in UTC; what is no time is not shown again."""
    zone = ZoneInfo(reading_of(request).settings.timezone)
    given = time_from(request.query.get(name, ""), zone)
    return ("", "") if given is None else (f"{given.astimezone(zone):%Y-%m-%dT%H:%M:%S}", given.isoformat())


@routes.post("/gaps/period")
async def period(request: web.Request) -> web.Response:
    """Ask Copernica for the results of a period: to see what is missing, or to store it as well."""
    settings, form = reading_of(request).settings, await request.post()
    if settings.copernica_token is None:
        raise web.HTTPSeeOther("/gaps?said=no-token#by-hand")
    zone = zone_from(str(form.get("tz", "")), settings.timezone)
    if zone is None:
        raise web.HTTPSeeOther("/gaps?said=period#by-hand")
    since, until = (time_from(str(form.get(name, "")), zone) for name in ("since", "until"))
    now = datetime.now(UTC)
    if since is None or until is None or not since < until or since >= now:
        raise web.HTTPSeeOther("/gaps?said=period#by-hand")
    until = min(until, now)
    if until - since > LONGEST:
        raise web.HTTPSeeOther("/gaps?said=long#by-hand")
    store_it, handlers = form.get("store") == "1", "handlers" in form
    zone = ZoneInfo(settings.timezone)
    named = "&".join(
        f"{name}={each.astimezone(zone):%Y-%m-%dT%H:%M:%S}" for name, each in (("since", since), ("until", until))
    )
    raise tasks.begun(
        request,
        "catch-up",
        completeness.catching_up(settings, (since, until), not store_it, handlers),
        title=_("Fetch what is missing of a period") if store_it else _("See what is missing of a period"),
        what={
            "since": since.isoformat(),
            "until": until.isoformat(),
            "dry_run": not store_it,
            "handlers": handlers,
        },
        back="/gaps" if store_it else f"/gaps?seen=1&{named}#by-hand",
    )


@routes.post("/gaps/fill")
async def fill(request: web.Request) -> web.Response:
    """Fill the gaps that are due now, rather than when a worker comes to it."""
    settings = reading_of(request).settings
    if settings.copernica_token is None:
        raise web.HTTPSeeOther("/gaps?said=no-token")
    work = completeness.catching_up(settings, None, dry_run=False, handlers=True)
    raise tasks.begun(request, "catch-up", work, title=_("Fill the gaps that are due"), back="/gaps")
