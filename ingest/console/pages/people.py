"""One message, and one recipient: everything that is known of them, in the order of time."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

from aiohttp import web

from ingest.console.kinds import KINDS
from ingest.console.links import recipient_path
from ingest.console.reading import reading_of
from ingest.console.rendering import page
from ingest.console.seals import SEALS, Broken
from ingest.copernica.addresses import folded
from ingest.copernica.columns import fitting
from ingest.copernica.event_types import EventType
from ingest.errors import TookTooLong, Unavailable
from workers.store import search
from workers.store.filters import Filter
from workers.store.lines import Line
from workers.store.search import SUMMED, Found, Kinds, Place
from workers.store.store import Store

T = TypeVar("T")

routes = web.RouteTableDef()

#: Events of a timeline on one page: hardly any message has more.
SIZE = 100
#: Characters of an address or a message id that is looked for.
LONGEST = 8000
#: Seconds for which a database that is too busy for its index is looked through for them.
LOOKS = 4.0
#: Links, and mailings, that are named beside a timeline.
NAMED = 10


@dataclass(frozen=True, slots=True)
class Step:
    """An event of a timeline."""

    line: Line
    #: µs since the event that came before it on the page; None for the first.
    after: int | None


@dataclass(frozen=True, slots=True)
class Known:
    """What the events of a page have in common, each in the order in which it came first."""

    recipients: list[str]
    mailings: list[int]
    profiles: list[int]
    subprofiles: list[int]
    databases: list[int]
    tags: list[str]
    links: list[tuple[str, int]]


@dataclass(frozen=True, slots=True)
class Summary:
    """What the newest events of a recipient, `SUMMED` at most, add up to. Times are µs since 1970."""

    numbers: list[tuple[EventType, int]]
    mailings: list[tuple[int, int]]
    first: int
    last: int
    is_all: bool


@routes.get("/message")
@routes.get("/message/{id:.+}")
async def message(request: web.Request) -> web.Response:
    """A message, from its delivery on."""
    message_id = _given(request.match_info.get("id") or request.query.get("id", ""))
    after = Place.read(request.query.get("after", ""))
    found, why = Found(), ""
    if message_id:
        wanted = Filter(message_id=message_id)
        try:
            found = await reading_of(request).store(
                lambda store: search.search(store, wanted, after or Place(0), SIZE, older=False, budget=LOOKS)
            )
        except Unavailable as error:
            why = str(error)
    lines = found.lines[::-1]  # from the first to the last
    return page(
        request,
        "message.html",
        _status(why, bool(found.lines) or found.reached is not None, bool(message_id)),
        id=message_id,
        why=why,
        steps=_steps(lines),
        known=_known(lines),
        counts=_in_order(Counter(line.type for line in lines)),
        first=lines[0].occurred_at if lines else None,
        last=lines[-1].occurred_at if lines else None,
        is_first=after is None,
        further=found.further,
        reached=found.reached,
    )


@routes.get("/recipient")
async def recipient(request: web.Request) -> web.Response:
    """A recipient: what there is in all, and their events, the newest first."""
    seals, given, is_broken = request.app[SEALS], request.query.get("address", ""), False
    try:
        address = _given(seals.opened(given))
    except Broken:
        address, is_broken = "", True
    if address and address == _given(given):  # a link of others: the browser's history is to have no address
        raise web.HTTPSeeOther(recipient_path(address, seals))
    before = Place.read(request.query.get("before", ""))
    found, summary, why = Found(), None, ""
    if address:
        wanted = Filter(recipient=address)

        def both(store: Store) -> tuple[Found, Summary | None]:
            lines = search.search(store, wanted, before, SIZE // 2, budget=LOOKS)
            try:
                return lines, _summary(search.kinds(store, wanted))
            except TookTooLong:  # the timeline is worth more than what it adds up to
                return lines, None

        try:
            found, summary = await reading_of(request).store(both)
        except Unavailable as error:
            why = str(error)
    return page(
        request,
        "recipient.html",
        404
        if is_broken
        else _status(why, summary is not None or bool(found.lines) or found.reached is not None, bool(address)),
        address=address,
        is_broken=is_broken,
        folded=folded(address),
        why=why,
        found=found,
        steps=_steps(found.lines),
        known=_known(found.lines),
        summary=summary,
        summed=SUMMED,
        is_newest=before is None,
    )


def _given(text: str) -> str:
    return fitting(text[:LONGEST])


def _status(why: str, is_known: bool, is_asked: bool) -> int:
    if why:
        return 503
    return 200 if is_known or not is_asked else 404


def _steps(lines: Sequence[Line]) -> list[Step]:
    """With how long each came after the one beside it, in whichever order they are."""
    spans = [abs(one.occurred_at - other.occurred_at) for one, other in pairwise(lines)]
    return [Step(line, span) for line, span in zip(lines, [None, *spans], strict=False)]


def _known(lines: Sequence[Line]) -> Known:
    links = Counter(line.url for line in lines if line.type == EventType.CLICK and line.url)
    return Known(
        _distinct(line.recipient for line in lines),
        _distinct(line.mailing for line in lines),
        _distinct(line.profile for line in lines),
        _distinct(line.subprofile for line in lines),
        _distinct(line.database for line in lines),
        _distinct(tag for line in lines for tag in line.tags)[: 2 * NAMED],
        links.most_common(NAMED),
    )


def _distinct(values: Iterable[T | None]) -> list[T]:
    return [value for value in dict.fromkeys(values) if value is not None]


def _in_order(numbers: Counter[EventType]) -> list[tuple[EventType, int]]:
    return [(kind, numbers[kind]) for kind in KINDS if numbers[kind]]


def _summary(known: Kinds | None) -> Summary | None:
    if known is None:
        return None
    mailings = Counter(mailing for _, mailing in known.events if mailing is not None)  # the latest come first
    return Summary(
        _in_order(Counter(EventType(kind) for kind, _ in known.events)),
        list(mailings.items())[:NAMED],
        known.first,
        known.last,
        len(known.events) < SUMMED,
    )
