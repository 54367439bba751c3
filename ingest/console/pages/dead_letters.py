"""Dead letters: what handlers did not take; looked at, retried, dropped, one by one or all that match."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from ingest.console.acting import act
from ingest.console.dates import time_from, zone_from
from ingest.console.marking import _
from ingest.console.pages.handlers import woken
from ingest.console.reading import reading_of
from ingest.console.rendering import page
from ingest.copernica.columns import MAX_NUMBER_DIGITS, fits_column, whole
from ingest.copernica.event_types import EventType
from ingest.errors import IngestError
from workers.handlers import dead_letters as letters
from workers.handlers import letter_pages
from workers.handlers.dead_letters import Wanted
from workers.handlers.letter_pages import Place
from workers.handlers.names import with_work
from workers.store import tables
from workers.store.store import Store

routes = web.RouteTableDef()

#: Characters of a text to look for, and of the name of a handler.
LONGEST = 1000
#: What an address says that somebody was led to.
SAID = {
    "retried": _("Given to their handlers again:"),
    "dropped": _("Dropped:"),
    "asleep": _("Given to their handlers again. Redis does not answer, so workers begin with the next event:"),
    "none": _("Nothing was selected."),
}


FIELDS = ("handler", "type", "error", "since", "until", "tz")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a form asks for, as it was typed."""

    handler: str = ""
    type: str = ""
    error: str = ""
    since: str = ""
    until: str = ""
    #: The zone of these two: the browser's, which a script tells; empty: that of the settings.
    tz: str = ""
    #: Whether something in it cannot be read. Then nothing is found: what was meant to leave letters out must not
    #: be passed over, least of all by who drops them.
    is_wrong: bool = False

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> "Asked":
        """Read it from an address or a form."""
        given = {name: str(fields.get(name, "")).strip() for name in FIELDS}
        wrong = any(len(text) > LONGEST or not fits_column(text) for text in given.values())
        wrong = wrong or (bool(given["type"]) and given["type"] not in set(EventType))
        wrong = wrong or any(given[name] and time_from(given[name], UTC) is None for name in ("since", "until"))
        wrong = wrong or zone_from(given["tz"], "UTC") is None
        if not given["since"] and not given["until"]:
            given["tz"] = ""
        kept = {name: text[:LONGEST] if fits_column(text) else "" for name, text in given.items()}
        return cls(is_wrong=wrong, **kept)

    def wanted(self, otherwise: str) -> Wanted:
        """The same for the store; times are in this zone where the form does not say."""
        zone = zone_from(self.tz, otherwise) or UTC
        since, until = (time_from(text, zone) for text in (self.since, self.until))
        return Wanted(self.handler or None, self.error or None, self.type or None, since, until)

    def query(self, **more: str) -> str:
        """For an address."""
        fields = {name: getattr(self, name) for name in FIELDS} | more
        return urlencode({name: value for name, value in fields.items() if value})

    @property
    def fields(self) -> dict[str, str]:
        """What is not empty, for the hidden fields of a form."""
        return {name: getattr(self, name) for name in FIELDS if getattr(self, name)}


def zone_of(request: web.Request) -> str:
    """The zone in which people type times whose browser does not say."""
    return reading_of(request).settings.timezone


@routes.get("/dead-letters")
async def several(request: web.Request) -> web.Response:
    """A page of those that match."""
    asked = Asked.of(request.query)
    after = Place.from_text(request.query.get("after", "")[:LONGEST])
    wanted = asked.wanted(zone_of(request))

    def ask(store: Store) -> tuple[letter_pages.Page, list[str]]:
        return letter_pages.page(store, wanted, after), with_work(store, [tables.dead_letters])

    found: letter_pages.Page | None = None
    names: list[str] = []
    why = ""
    try:
        if not asked.is_wrong:
            found, names = await reading_of(request).store(ask)
    except IngestError as error:
        why = str(error)
    following = f"/dead-letters?{asked.query(after=found.next.as_text())}" if found and found.next else ""
    return page(
        request,
        "dead_letters.html",
        asked=asked,
        wanted=wanted,
        found=found,
        names=names,
        types=sorted(EventType),
        why=why,
        first=f"/dead-letters?{asked.query()}" if after else "",
        older=following,
        all_retry=f"/dead-letters/all?{asked.query(do='retry')}",
        all_drop=f"/dead-letters/all?{asked.query(do='drop')}",
        said=SAID.get(request.query.get("done", "")),
        number=whole(request.query.get("number", ""), MAX_NUMBER_DIGITS),
    )


@routes.post("/dead-letters/selected")
async def selected(request: web.Request) -> web.Response:
    """Retry or drop those that were ticked."""
    form = await request.post()
    asked, places = Asked.of(form), [_place(given) for given in form.getall("letter", [])[: letter_pages.SIZE]]
    chosen = [place for place in places if place is not None]
    if not chosen:
        raise web.HTTPSeeOther(f"/dead-letters?{asked.query(done='none')}")
    dropping = form.get("do") == "drop"

    def do(store: Store) -> int:
        found = [letter_pages.one(store, handler, delivery_id) for handler, delivery_id in chosen]
        there = [letter for letter in found if letter is not None]
        return letters.drop(store, there) if dropping else letters.retry(store, there, has_handlers=True)

    what = {"letters": len(chosen), "handlers": sorted({handler for handler, _ in chosen})}
    number = await act(request, "drop" if dropping else "retry", what, do)
    done = "dropped" if dropping else "retried" if await woken(request) else "asleep"
    raise web.HTTPSeeOther(f"/dead-letters?{asked.query(done=done, number=str(number or 0))}")


def _place(given: object) -> tuple[str, bytes] | None:
    """The handler and the delivery id that a ticked box stands for."""
    delivery_id, _, handler = str(given).partition(":")
    try:
        return (handler, bytes.fromhex(delivery_id)) if fits_column(handler) else None
    except ValueError:
        return None
