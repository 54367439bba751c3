"""Which events somebody asks for, as the address of a page has it, and addresses that ask for the same."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from aiohttp import web
from multidict import MultiMapping

from ingest.console.dates import time_from
from ingest.console.kinds import KINDS
from ingest.console.reading import reading_of
from ingest.console.seals import SEALS, Broken, Seals
from ingest.copernica.columns import MAX_NUMBER_DIGITS, fitting, whole
from ingest.copernica.events import LOGFILE, REST, WEBHOOK
from workers.store.filters import Filter
from workers.store.search import Place

#: Characters of a text that is searched for; the line of a request is hardly longer.
LONGEST = 2000
#: Types, and columns, of one question.
MOST_CHOSEN = 30
#: Where an event may come from.
SOURCES = (WEBHOOK, LOGFILE, REST)
#: How far back the form offers to look, by what stands in the address.
SPANS = {
    "1h": timedelta(hours=1),
    "24h": timedelta(days=1),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
}
#: Columns of the list behind time and type, in their order, and those that are shown unless somebody chose.
COLUMNS = (
    "ago", "recipient", "detail", "mailing", "tags", "message", "profile", "url", "answer", "ip", "agent",
    "source", "received",
)  # fmt: skip  # a list to be read across
DEFAULT_COLUMNS = ("ago", "recipient", "detail", "mailing", "tags")
#: Fields of the form that hold a text as it is.
TEXTS = ("recipient", "message", "tag", "text")
NUMBERS = ("mailing", "profile")
#: Those that may say who somebody is: in addresses of ours they are sealed.
SEALED = ("recipient", "text")
_FIELDS = (*TEXTS, *NUMBERS, "source", "last", "since", "until", "tz")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for."""

    filter: Filter
    #: What the form held, by field; without those that were empty.
    given: dict[str, str]
    types: Sequence[str]
    columns: Sequence[str]
    #: Fields whose text is none that they can hold; they are left out of the filter.
    wrong: list[str] = field(default_factory=list)
    #: From where the page goes on; None is the newest.
    place: Place | None = None
    older: bool = True
    #: Closes what says who somebody is, for addresses.
    sealed: Callable[[str], str] = str

    @property
    def is_newest(self) -> bool:
        """Whether the page begins with what came last."""
        return self.place is None

    @property
    def is_all(self) -> bool:
        """Whether it asks for everything."""
        return self.filter == Filter()

    def query(self, **changed: object) -> str:
        """The part of an address behind `?` that asks for the same, from the newest on unless `changed` says so.

        What is changed to None is left out.
        """
        pairs = [
            (name, self.sealed(value) if _is_personal(name, value) else value)
            for name, value in self.given.items()
            if name not in changed
        ]
        if "type" not in changed:
            pairs += [("type", kind) for kind in self.types]
        if tuple(self.columns) != DEFAULT_COLUMNS:
            pairs += [("col", column) for column in self.columns or ("",)]  # none of them is a choice, too
        pairs += [(name, str(value)) for name, value in changed.items() if value is not None]
        return urlencode(pairs)

    @property
    def noted(self) -> dict[str, object]:
        """The same for the audit: of a person only that one was named, as the audit outlives them."""
        personal = ("recipient", "message", "profile", "text")
        noted: dict[str, object] = {
            name: "(a person)" if name in personal else value for name, value in self.given.items() if name != "tz"
        }
        return noted | ({"types": list(self.types)} if self.types else {})


def sealed_query(request: web.Request) -> str | None:
    """The query of a request, with what says who somebody is sealed; None if nothing in it is open to read."""
    query = request.query
    readable = [name for name in SEALED if not query.get(name, "~").startswith("~")]
    changed = {
        name: request.app[SEALS].closed(query[name]) for name in readable if _is_personal(name, query[name])
    }
    return request.rel_url.update_query(changed).raw_query_string if changed else None


def _is_personal(name: str, value: str) -> bool:
    """Whether a field says who somebody is: a text that is searched for may be anything, but for an address."""
    return name == "recipient" or (name == "text" and "@" in value)


def wanted_of(request: web.Request, form: MultiMapping[str] | None = None) -> Wanted:
    """What the address of a request asks for, or a form that it brought."""
    query, seals = request.query if form is None else form, request.app[SEALS]
    wrong: list[str] = []
    given = {name: text for name in _FIELDS if (text := _given(query, name, seals, wrong))}
    numbers = {name: whole(given[name], MAX_NUMBER_DIGITS) for name in NUMBERS if name in given}
    wrong += [name for name, number in numbers.items() if number is None]
    source = given.get("source")
    if source not in (None, *SOURCES):
        wrong.append("source")
        source = None
    zone = _zone(given, reading_of(request).settings.timezone)
    since, until = _moment(given, "since", zone, wrong), _moment(given, "until", zone, wrong)
    if (span := SPANS.get(given.get("last", ""))) is not None:
        since, until = datetime.now(UTC) - span, None
    elif "last" in given:
        wrong.append("last")
    if since is not None and until is not None and until <= since:
        wrong.append("until")
        until = None
    kinds = [kind for kind in dict.fromkeys(query.getall("type", [])[:MOST_CHOSEN]) if kind in set(KINDS)]
    places = {name: Place.read(query.get(name, "")) for name in ("before", "after")}
    wanted = Filter(
        tuple(kinds),
        given.get("recipient"),
        given.get("message"),
        since,
        until,
        numbers.get("mailing"),
        numbers.get("profile"),
        given.get("tag"),
        source,
        given.get("text"),
    )
    place = places["before"] or places["after"]
    older = place is None or bool(places["before"])
    return Wanted(wanted, given, kinds, _columns(query), wrong, place, older, seals.closed)


def _given(query: MultiMapping[str], name: str, seals: Seals, wrong: list[str]) -> str:
    """What stands in a field; nothing where it was sealed with a secret that is gone."""
    text = query.get(name, "")
    if name in SEALED:
        try:
            text = seals.opened(text)
        except Broken:
            wrong.append(name)
            return ""
    return fitting(text[:LONGEST]).strip()


def _columns(query: MultiMapping[str]) -> Sequence[str]:
    chosen = query.getall("col", [])[:MOST_CHOSEN]
    return tuple(column for column in COLUMNS if column in chosen) if chosen else DEFAULT_COLUMNS


def _zone(given: dict[str, str], otherwise: str) -> ZoneInfo:
    """The zone of the times in the form: the browser's, which a script tells, or ours."""
    try:
        return ZoneInfo(given.get("tz") or otherwise)
    except (KeyError, ValueError, OSError):
        given.pop("tz")
        return ZoneInfo(otherwise)


def _moment(given: dict[str, str], name: str, zone: ZoneInfo, wrong: list[str]) -> datetime | None:
    if name not in given:
        return None
    if (at := time_from(given[name], zone)) is None:
        wrong.append(name)
    return at
