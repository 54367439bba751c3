"""Mailings: the list, one of them, some beside each other, and tags."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web

from ingest.console.marking import _
from ingest.console.reading import reading_of
from ingest.console.rendering import page
from ingest.copernica.columns import MAX_NUMBER_DIGITS, fitting
from ingest.errors import IngestError
from workers.mailings import listing
from workers.mailings.curves import curve_of, shared
from workers.mailings.figures import COPERNICA, SENT, STORE, figures_of
from workers.mailings.names import Name
from workers.mailings.reading import begin_of

routes = web.RouteTableDef()

#: Mailings that are compared at most: as many as there are colours.
MOST_COMPARED = 4
#: Entries of each list that a page shows before the rest is folded away.
FEW = 10
#: Characters of a tag in an address.
LONGEST_TAG = 200
#: How long after its last event a page of a mailing looks for more by itself.
ALIVE = timedelta(hours=24)
#: What events of each type are called here.
NAMES = {
    "delivery": _("Delivered"),
    "open": _("Opened"),
    "click": _("Clicked"),
    "unsubscribe": _("Unsubscribed"),
    "abuse": _("Complained"),
    "bounce": _("Bounced"),
    "failure": _("Failed"),
}
#: What charts show of each mailing, and of the first one's own page.
CHARTED = ("open", "click", "delivery", "failure")
LISTS = {
    "reasons": _("Why messages failed"),
    "links": _("Links that were clicked"),
    "tags": _("Tags"),
    "clients": _("Read with"),
}
BASES = {
    STORE: _("of messages that were delivered"),
    COPERNICA: _("of messages that were delivered, as Copernica counts them"),
    SENT: _("of messages that were sent, as Copernica counts them"),
}
_COMMON: Mapping[str, Any] = {"kinds": NAMES, "lists": LISTS, "bases": BASES, "few": FEW, "begin_of": begin_of}


def number_from(text: str) -> int | None:
    """The number of a mailing, as a person writes it; None if it is none."""
    plain = text.strip().lstrip("#")
    if not re.fullmatch(f"[0-9]{{1,{MAX_NUMBER_DIGITS}}}", plain):
        return None
    return int(plain) or None


def subject(names: Sequence[Name]) -> str:
    """What people call a mailing; empty if nobody said."""
    return next((name.subject for name in names if name.subject), "")


@routes.get("/mailings")
async def mailings(request: web.Request) -> web.Response:
    """The list, the newest first; a number leads to its mailing."""
    asked = request.query.get("number", "")
    number = number_from(asked) if asked else None
    if number is not None:
        raise web.HTTPSeeOther(f"/mailing/{number}")
    after = listing.Place.read(request.query.get("after", ""))
    common = {"asked": asked[:40], "wrong": bool(asked), "subject": subject, "most": MOST_COMPARED, **_COMMON}
    try:
        found = await reading_of(request).store(lambda store: listing.mailings(store, after))
        tags = await reading_of(request).store(lambda store: listing.tags(store, 24)) if after is None else []
    except IngestError as error:
        return page(request, "mailings.html", status=503, found=None, why=str(error), **common)
    older = f"/mailings?after={found.mailings[-1].place}" if found.more else None
    return page(request, "mailings.html", found=found, tags=tags, older=older, first=after is None, **common)


@routes.get("/mailings/compare")
async def compare(request: web.Request) -> web.Response:
    """Some mailings beside each other, aligned at sending."""
    asked = " ".join(request.query.getall("m", [])[: 2 * MOST_COMPARED])
    numbers = [number for word in re.split(r"[\s,;]+", asked[:400]) if (number := number_from(word)) is not None]
    numbers = list(dict.fromkeys(numbers))
    chosen, left_out = numbers[:MOST_COMPARED], numbers[MOST_COMPARED:]
    common = {"chosen": chosen, "left_out": left_out, "subject": subject, "most": MOST_COMPARED, **_COMMON}
    try:
        found = await reading_of(request).store(lambda store: [figures_of(store, number) for number in chosen])
    except IngestError as error:
        return page(request, "mailings_compare.html", status=503, found=None, why=str(error), **common)
    there = [one for one in found if one is not None]
    unknown = [number for number, one in zip(chosen, found, strict=True) if one is None]
    charts = [(kind, shared([(one.mailing, curve_of(one, kind)) for one in there])) for kind in CHARTED[:2]]
    return page(request, "mailings_compare.html", found=there, unknown=unknown, charts=charts, **common)


@routes.get(r"/mailing/{number:[0-9]{1,18}}")
async def mailing(request: web.Request) -> web.Response:
    """Everything about one mailing."""
    number = int(request.match_info["number"])
    common = {"number": number, "subject": subject, **_COMMON}
    try:
        found = await reading_of(request).store(lambda store: figures_of(store, number))
    except IngestError as error:
        return page(request, "mailing.html", status=503, found=None, why=str(error), **common)
    if found is None:
        return page(request, "mailing.html", status=404, found=None, why="", **common)
    curves = [(kind, curve) for kind in CHARTED if (curve := curve_of(found, kind)).total]
    alive = found.last_hour is not None and datetime.now(UTC) - begin_of(found.last_hour) < ALIVE
    return page(request, "mailing.html", found=found, chart=shared(curves), alive=alive, **common)


@routes.get("/mailings/tag")
async def tag(request: web.Request) -> web.Response:
    """What is known of a tag, over all mailings."""
    name = fitting(request.query.get("name", ""))
    if not name or len(name) > LONGEST_TAG:
        raise web.HTTPNotFound
    try:
        found = await reading_of(request).store(lambda store: listing.tagged(store, name))
    except IngestError as error:
        return page(request, "mailings_tag.html", status=503, name=name, found=None, why=str(error), **_COMMON)
    status = 200 if found.mailings else 404
    return page(request, "mailings_tag.html", status=status, name=name, found=found, subject=subject, **_COMMON)
