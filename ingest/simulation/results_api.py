"""The part of the fake API that tells what happened: results, messages, mailings and their totals, from a `Truth`.

Paths, parameters and fields are those of Copernica's articles on REST v4. What these leave open can be chosen in
`Manner`, since a client has to cope with either.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import partial
from typing import Any, Literal

import orjson
from aiohttp import web

from ingest.simulation.api_answers import FAULT, Refused, slice_of
from ingest.simulation.api_faults import Fault, Kind
from ingest.simulation.truth import LISTS, MARKETING_SUITE, PUBLISHER, Truth

#: Whether a period contains its own first and last moment: "after" and "before" are all that is documented.
Edges = Literal["()", "[)", "(]", "[]"]
#: A number that no account has that many results of.
FAR_TOO_MANY = 9_999_999
#: The lists of statistics: one of results has no list of its own.
COUNTED = (*LISTS.values(), "retries")


@dataclass(frozen=True, slots=True)
class Manner:
    """How results are told."""

    #: The time zone of timestamps and of the periods asked for, and by how many seconds their clock is ahead.
    zone: tzinfo = UTC
    offset: int = 0
    edges: Edges = "()"
    #: Numbers as JSON's numbers, or as strings.
    numbers: Literal["numbers", "strings"] = "numbers"
    #: Seconds after which a result of an event, or a message, can be seen.
    late: float = 0.0
    newest_first: bool = False


class ResultsApi:
    """Answers from a truth; `now` is the Unix time, for results that come late."""

    def __init__(self, truth: Truth, manner: Manner, now: Callable[[], float]) -> None:
        self.truth = truth
        self.manner = manner
        self._now = now
        truth.function("wall", self._wall)

    def routes(self) -> list[tuple[Kind, str, Callable[[web.Request], Any]]]:
        """What is answered: the kind of request, the path below the API's, and the handler."""
        lists = "|".join(LISTS.values())
        found: list[tuple[Kind, str, Callable[[web.Request], Any]]] = []
        for product in (MARKETING_SUITE, PUBLISHER):
            at = f"/{product}"
            results = partial(self._results, product)
            found += [
                (Kind.RESULTS, f"{at}/{{list:{lists}}}", results),
                (Kind.RESULTS, f"{at}/emailing/{{mailing:[0-9]+}}/{{list:{lists}}}", results),
                (Kind.RESULTS, f"{at}/destination/{{destination:[^/]+}}/{{list:{lists}}}", results),
                (Kind.DESTINATIONS, f"{at}/destinations", partial(self._destinations, product)),
                (
                    Kind.DESTINATIONS,
                    f"{at}/emailing/{{mailing:[0-9]+}}/destinations",
                    partial(self._destinations, product),
                ),
                (Kind.DESTINATION, f"{at}/destination/{{destination:[^/]+}}", partial(self._one, product)),
                (
                    Kind.STATISTICS,
                    f"{at}/emailing/{{mailing:[0-9]+}}/statistics",
                    partial(self._statistics, product),
                ),
                (Kind.EMAILINGS, f"{at}/emailings", partial(self._emailings, product)),
            ]
        return found

    # Each of them answers with what there is; `answer` below brings it into form.

    async def _results(self, product: str, request: web.Request) -> web.Response:
        kind = request.match_info["list"]
        where = ["r.product = ?", "r.kind = ?"]
        values: list[Any] = [product, kind]
        mailing, destination = request.match_info.get("mailing"), request.match_info.get("destination")
        if mailing:
            self._known("mailings", product, int(mailing))
            where, values = [*where, "r.mailing = ?"], [*values, int(mailing)]
        if destination:
            where, values = [*where, "r.destination = ?"], [*values, self._number(product, destination)]
        asked = self._period(request) if product == MARKETING_SUITE else self._filters(request)
        for condition, value in [*asked, *self._seen("r.second")]:
            where, values = [*where, condition], [*values, value]
        if request.query.get("unique") in ("true", "1"):
            where.append(
                "NOT EXISTS (SELECT 1 FROM results e WHERE e.product = r.product AND e.kind = r.kind "
                "AND e.destination = r.destination AND (e.second, e.id) < (r.second, r.id))"
            )
        told = _told_by_publisher if product == PUBLISHER else _told_by_suite
        tell = partial(told, with_profile=bool(mailing))
        query = (
            "SELECT r.id, r.second, r.destination, r.mailing, r.told, d.profile, d.subprofile FROM results r "  # noqa: S608
            "LEFT JOIN destinations d ON d.product = r.product AND d.id = r.destination "
            f"WHERE {' AND '.join(where)}"
        )
        count = f"SELECT count(*) FROM results r WHERE {' AND '.join(where)}"  # noqa: S608
        order = "r.second {0}, r.id {0}"
        return self._page(request, (query, count, order), values, lambda row: tell(kind, row, self.written))

    async def _destinations(self, product: str, request: web.Request) -> web.Response:
        mailing = request.match_info.get("mailing")
        where = ["product = ?"]
        values: list[Any] = [product]
        order = "second {0}, id {0}"
        if mailing:
            self._known("mailings", product, int(mailing))
            where, values, order = [*where, "mailing = ?"], [*values, int(mailing)], "id {0}"
        for condition, value in [*self._days(request, "from", "to"), *self._seen("second")]:
            where, values = [*where, condition], [*values, value]
        rest = f"FROM destinations WHERE {' AND '.join(where)}"
        query = f"SELECT id, message, second, profile, subprofile, mailing, unsubscribed {rest}"

        def told(row: Any) -> dict[str, Any]:
            number, message, second, profile, subprofile, its_mailing, unsubscribed = row
            names = {"id": number, "messageID": message}
            if product == PUBLISHER:
                names = {"id": message, "internal": number}
            elif mailing:
                names = {"id": number}
            about = {"timestampsent": self.written(second), "profile": profile, "subprofile": subprofile}
            return names | about | {"mailing": its_mailing, "unsubscribed": bool(unsubscribed)}

        return self._page(request, (query, f"SELECT count(*) {rest}", order), values, told)

    async def _one(self, product: str, request: web.Request) -> web.Response:
        number = self._number(product, request.match_info["destination"])
        query = (
            "SELECT message, mailing, second, profile, subprofile FROM destinations WHERE product = ? AND id = ?"
        )
        ((message, mailing, second, profile, subprofile),) = self.truth.read(query, (product, number))
        names = {"ID": number, "messageID": message}
        if product == PUBLISHER:
            names = {"id": message, "internal": number}
        about = {"mailing": mailing, "timestampsent": self.written(second)}
        return self._answer(request, names | about | {"profile": profile, "subprofile": subprofile})

    async def _statistics(self, product: str, request: web.Request) -> web.Response:
        mailing = int(request.match_info["mailing"])
        sent = self._known("mailings", product, mailing)
        where = ["r.product = ?", "r.mailing = ?"]
        values: list[Any] = [product, mailing]
        for condition, value in [*self._period(request), *self._seen("r.second")]:
            where, values = [*where, condition], [*values, value]
        rows = self.truth.read(
            "SELECT r.kind, count(*), count(DISTINCT r.destination) FROM results r "  # noqa: S608
            f"WHERE {' AND '.join(where)} GROUP BY r.kind",
            values,
        )
        counts = {kind: {"total": total, "unique": unique} for kind, total, unique in rows}
        nothing = {"total": 0, "unique": 0}
        answer: dict[str, Any] = {"destinations": sent[0]}
        return self._answer(request, answer | {kind: counts.get(kind, nothing) for kind in COUNTED})

    async def _emailings(self, product: str, request: web.Request) -> web.Response:
        where = ["product = ?"]
        values: list[Any] = [product]
        for condition, value in [*self._days(request, "fromdate", "todate"), *self._seen("second")]:
            where, values = [*where, condition], [*values, value]
        rest = f"FROM mailings WHERE {' AND '.join(where)}"
        queries = f"SELECT id, second, destinations {rest}", f"SELECT count(*) {rest}", "second {0}, id {0}"

        def told(row: Any) -> dict[str, Any]:
            number, second, destinations = row
            about = {"id": number, "timestamp": self.written(second), "template": 1207}
            sender = {"subject": f"Nieuwsbrief {number}", "from_address": "nieuws@example.nl"}
            return about | sender | {"destinations": destinations, "type": "mass", "target": "database:7"}

        return self._page(request, queries, values, told)

    # What is asked for.

    def _known(self, table: str, product: str, number: int) -> Any:
        query = f"SELECT destinations FROM {table} WHERE product = ? AND id = ?"  # noqa: S608
        rows = self.truth.read(query, (product, number))
        if not rows:
            raise Refused("No emailing with supplied ID")
        return rows[0]

    def _number(self, product: str, name: str) -> int:
        """The number of a message that is named by its number or by its hash."""
        rows = self.truth.read(
            "SELECT id FROM destinations WHERE product = ?1 AND message = ?2 UNION ALL "
            "SELECT id FROM destinations WHERE product = ?1 AND id = ?3",
            (product, name, int(name) if name.isdigit() and len(name) < 19 else -1),
        )
        if not rows:
            raise Refused("No destination with supplied ID")
        return int(rows[0][0])

    def _period(self, request: web.Request) -> list[tuple[str, int]]:
        return self._between(request.query.get("begintime"), request.query.get("endtime"), "r.second")

    def _filters(self, request: web.Request) -> list[tuple[str, int]]:
        """Conditions of the Publisher: `fields[]=timestamp>2026-11-20 09:00:00`, `fields[]=id<=7`."""
        found: list[tuple[str, int]] = []
        for text in request.query.getall("fields[]", []):
            name, sign, value = _condition(text)
            if name == "timestamp":
                found += self._compared("r.second", sign, value)
            elif name == "id" and value.isdigit():
                found.append((f"r.id {sign} ?", int(value)))
            else:
                raise Refused(f"Invalid field {text}")
        return found

    def _days(self, request: web.Request, first: str, last: str) -> list[tuple[str, int]]:
        return self._between(request.query.get(first), request.query.get(last), "second")

    def _between(self, begin: str | None, end: str | None, column: str) -> list[tuple[str, int]]:
        first, last = self.manner.edges
        found = self._compared(column, ">=" if first == "[" else ">", begin) if begin else []
        return found + (self._compared(column, "<=" if last == "]" else "<", end) if end else [])

    def _compared(self, column: str, sign: str, text: str) -> list[tuple[str, int]]:
        """Conditions for a time on the results' clock; where clocks go back or forth, what it says is compared."""
        try:
            wall = datetime.fromisoformat(text).replace(tzinfo=None)
        except ValueError:
            raise Refused(f"Invalid time {text}") from None
        wall -= timedelta(seconds=self.manner.offset)
        moments = {int(wall.replace(tzinfo=self.manner.zone, fold=fold).timestamp()) for fold in (0, 1)}
        if len(moments) == 1:
            return [(f"{column} {sign} ?", moments.pop())]
        first, last = min(moments) - 3600, max(moments) + 3600
        rough = (f"{column} >= ?", first) if sign[0] == ">" else (f"{column} <= ?", last)
        return [
            rough,
            (f"wall({column}) {sign} ?", int(wall.replace(tzinfo=UTC).timestamp()) + self.manner.offset),
        ]

    def _seen(self, column: str) -> list[tuple[str, int]]:
        return [(f"{column} <= ?", int(self._now() - self.manner.late))] if self.manner.late else []

    # How it is answered.

    def _wall(self, second: int) -> int:
        """What the results' clock says, as if it were in UTC."""
        shown = datetime.fromtimestamp(second, self.manner.zone).replace(tzinfo=UTC)
        return int(shown.timestamp()) + self.manner.offset

    def written(self, second: int) -> str:
        """A moment as the results' clock writes it."""
        shown = datetime.fromtimestamp(second, self.manner.zone) + timedelta(seconds=self.manner.offset)
        return shown.strftime("%Y-%m-%d %H:%M:%S")

    def _page(
        self,
        request: web.Request,
        queries: tuple[str, str, str],
        values: list[Any],
        told: Callable[[Any], dict[str, Any]],
    ) -> web.Response:
        """A page of a list: a query for its rows, one for their number, and their order."""
        query, count, order = queries
        asked = slice_of(request)
        fault = request[FAULT]
        # A row before the page was removed, or inserted, since the page before it was sent.
        start = max(0, asked.start + {Fault.REMOVED: 1, Fault.INSERTED: -1}.get(fault, 0)) if asked.start else 0
        by = order.format("DESC" if self.manner.newest_first else "ASC")
        rows = self.truth.read(f"{query} ORDER BY {by} LIMIT ? OFFSET ?", (*values, asked.limit, start))
        data = [] if fault is Fault.NO_ROWS else [told(row) for row in rows]
        page: dict[str, Any] = {"start": asked.start, "limit": asked.limit, "count": len(data), "data": data}
        if asked.total:
            page["total"] = self.truth.read(count, values)[0][0]
        if fault is Fault.LIES:
            page |= {"total": FAR_TOO_MANY if len(data) < asked.limit else len(data), "count": 0}
        return self._answer(request, page)

    def _answer(self, request: web.Request, content: dict[str, Any]) -> web.Response:
        fault = request[FAULT]
        if fault in (Fault.NULL, Fault.BLANK):
            content = _emptied(content, kept=_ALWAYS if fault is Fault.BLANK else ())
        if fault is Fault.STRINGS or (self.manner.numbers == "strings" and fault is not Fault.NUMBERS):
            content = _in_strings(content)
        return web.Response(body=orjson.dumps(content), content_type="application/json")


#: Fields that results and messages always have.
_ALWAYS = ("ID", "id", "messageID", "internal", "timestamp", "timestampsent", "destination", "mailing", "emailing")


def _told_by_suite(kind: str, row: Any, written: Callable[[int], str], with_profile: bool) -> dict[str, Any]:
    number, second, destination, mailing, told, profile, subprofile = row
    about = {"ID": number, "mailing": mailing, "timestamp": written(second), "destination": destination}
    if with_profile:
        about |= {"profile": profile, "subprofile": subprofile}
    fields = orjson.loads(told)
    return about | {name: fields.get(name) for name in _FIELDS[kind]}


def _told_by_publisher(kind: str, row: Any, written: Callable[[int], str], with_profile: bool) -> dict[str, Any]:
    number, second, destination, mailing, told, profile, subprofile = row
    about = {"ID": number, "timestamp": written(second), "emailing": mailing, "destination": destination}
    fields = orjson.loads(told)
    link = {"link_id": 1, "link_title": ""} if kind == "clicks" else {}
    names = (*_FIELDS[kind], "referer") if kind in ("impressions", "clicks") else _FIELDS[kind]
    return (
        about | {"profile": profile, "subprofile": subprofile} | {name: fields.get(name) for name in names} | link
    )


#: What the results of each kind tell, as section "results" of the articles lists it.
_FIELDS: Mapping[str, tuple[str, ...]] = {
    "impressions": ("ip", "useragent", "device"),
    "clicks": ("link", "ip", "useragent"),
    "deliveries": ("attempts",),
    "errors": ("status", "errorcode", "description", "errortype"),
    "unsubscribes": ("source",),
    "abuses": ("report",),
}


def _condition(text: str) -> tuple[str, str, str]:
    for sign in (">=", "<=", "==", ">", "<", "="):
        name, found, value = text.partition(sign)
        if found:
            return name.strip(), {"==": "="}.get(sign, sign), value.strip()
    raise Refused(f"Invalid field {text}")


def _emptied(content: Any, kept: tuple[str, ...]) -> Any:
    if isinstance(content, dict):
        inner = {name: _emptied(value, kept) for name, value in content.items() if isinstance(value, list | dict)}
        return {name: content[name] if name in (*kept, *_PAGED) else None for name in content} | inner
    return [_emptied(one, kept) for one in content] if isinstance(content, list) else content


#: What a page says of itself.
_PAGED = ("start", "limit", "count", "total")


def _in_strings(content: Any) -> Any:
    if isinstance(content, dict):
        return {name: _in_strings(value) for name, value in content.items()}
    if isinstance(content, list):
        return [_in_strings(one) for one in content]
    return str(int(content)) if isinstance(content, int) else content
