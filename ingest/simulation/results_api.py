"""The part of the fake API that tells what happened: results, messages, mailings and their totals, from a `Truth`.

Paths, parameters and fields are those of Copernica's articles on REST v4. What these leave open can be chosen in
`Manner`, since a client has to cope with either.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import orjson
from aiohttp import web

from ingest.simulation.api_answers import Handler, Refused, answer, page_of, slice_of
from ingest.simulation.api_faults import Kind
from ingest.simulation.calls import MARKETING_SUITE, PRODUCTS, PUBLISHER
from ingest.simulation.results_clock import Condition, Manner, between, filters, number
from ingest.simulation.truth import LISTS, Truth

#: The lists of statistics: one of results has no list of its own.
COUNTED = (*LISTS.values(), "retries")
#: What the results of each kind tell, as the articles list it.
FIELDS: Mapping[str, tuple[str, ...]] = {
    "impressions": ("ip", "useragent", "device"),
    "clicks": ("link", "ip", "useragent"),
    "deliveries": ("attempts",),
    "errors": ("status", "errorcode", "description", "errortype"),
    "unsubscribes": ("source",),
    "abuses": ("report",),
}
#: What the Publisher's tell beside that.
MORE_FIELDS: Mapping[str, tuple[str, ...]] = {
    "impressions": ("referer",),
    "clicks": ("referer", "link_id", "link_title"),
}


class Table(NamedTuple):
    """What a list is made of: a table `t` and others, its key, and the columns to tell of."""

    name: str
    key: str
    columns: str
    joined: str = ""


_RESULTS = Table("results", "product, kind, id", "t.id, t.second, t.destination, t.mailing, t.told, NULL, NULL")
_RESULTS_OF_PROFILES = Table(
    "results",
    "product, kind, id",
    "t.id, t.second, t.destination, t.mailing, t.told, d.profile, d.subprofile",
    "LEFT JOIN destinations d ON d.product = t.product AND d.id = t.destination",
)
_DESTINATIONS = Table(
    "destinations",
    "product, id",
    "t.id, t.message, t.second, t.profile, t.subprofile, t.mailing, t.unsubscribed",
)
_MAILINGS = Table("mailings", "product, id", "t.id, t.second, t.destinations")
#: Only the first result of its kind of each message.
_UNIQUE = (
    "NOT EXISTS (SELECT 1 FROM results e WHERE e.product = t.product AND e.kind = t.kind "
    "AND e.destination = t.destination AND (e.second, e.id) < (t.second, t.id))"
)


class ResultsApi:
    """Answers from a truth; `now` is the Unix time, for results that come late."""

    def __init__(self, truth: Truth, manner: Manner, now: Callable[[], float]) -> None:
        self.truth = truth
        self.manner = manner
        self._now = now
        truth.function("wall", lambda second: self.manner.wall(second))  # noqa: PLW0108  # it may be changed

    def routes(self) -> list[tuple[Kind, str, str, Handler]]:
        """What is answered: the kind of request, its method, the path below the API's, and the handler."""
        results = "{list:" + "|".join(LISTS.values()) + "}"
        of_mailing, of_message = "/emailing/{mailing:[0-9]+}", "/destination/{destination:[^/]+}"
        paths: list[tuple[Kind, str, Callable[[str, web.Request], Any]]] = [
            (Kind.RESULTS, f"/{results}", self._results),
            (Kind.RESULTS, f"{of_mailing}/{results}", self._results),
            (Kind.RESULTS, f"{of_message}/{results}", self._results),
            (Kind.DESTINATIONS, "/destinations", self._destinations),
            (Kind.DESTINATIONS, f"{of_mailing}/destinations", self._destinations),
            (Kind.DESTINATION, of_message, self._destination),
            (Kind.STATISTICS, f"{of_mailing}/statistics", self._statistics),
            (Kind.EMAILINGS, "/emailings", self._emailings),
        ]
        return [
            (kind, "GET", f"/{product}{path}", partial(handler, product))
            for product in PRODUCTS
            for kind, path, handler in paths
        ]

    async def _results(self, product: str, request: web.Request) -> web.Response:
        kind = request.match_info["list"]
        conditions = [Condition("t.product = ?", product), Condition("t.kind = ?", kind)]
        mailing, message = request.match_info.get("mailing"), request.match_info.get("destination")
        if mailing:
            self._size(product, mailing)
            conditions.append(Condition("t.mailing = ?", number(mailing)))
        if message:
            conditions.append(Condition("t.destination = ?", self._number(product, message)))
        conditions += (
            between(self.manner, request.query.get("begintime"), request.query.get("endtime"))
            if product == MARKETING_SUITE
            else filters(self.manner, request.query.getall("fields[]", []))
        )
        more = (_UNIQUE,) if request.query.get("unique") in ("true", "1") else ()
        told = _told_by_publisher if product == PUBLISHER else _told_by_suite
        table = _RESULTS_OF_PROFILES if mailing or product == PUBLISHER else _RESULTS
        tell = partial(told, kind, self.manner.written, bool(mailing))
        return self._page(request, table, conditions, "t.second {0}, t.id {0}", tell, more)

    async def _destinations(self, product: str, request: web.Request) -> web.Response:
        mailing = request.match_info.get("mailing")
        conditions = [Condition("t.product = ?", product)]
        if mailing:
            self._size(product, mailing)
            conditions.append(Condition("t.mailing = ?", number(mailing)))
        conditions += between(self.manner, request.query.get("from"), request.query.get("to"))

        def told(row: Any) -> dict[str, Any]:
            its, message, second, profile, subprofile, its_mailing, unsubscribed = row
            # One mailing's list names no message ids.
            names = {"id": its} if mailing else {"id": its, "messageID": message}
            if product == PUBLISHER:
                names = {"id": message, "internal": its}
            about = {"timestampsent": self.manner.written(second), "profile": profile, "subprofile": subprofile}
            return names | about | {"mailing": its_mailing, "unsubscribed": bool(unsubscribed)}

        order = "t.id {0}" if mailing else "t.second {0}, t.id {0}"
        return self._page(request, _DESTINATIONS, conditions, order, told)

    async def _destination(self, product: str, request: web.Request) -> web.Response:
        its = self._number(product, request.match_info["destination"])
        query = f"SELECT {_DESTINATIONS.columns} FROM destinations t WHERE product = ? AND id = ?"  # noqa: S608
        ((_, message, second, profile, subprofile, mailing, _unsubscribed),) = self.truth.read(
            query, (product, its)
        )
        names = {"ID": its, "messageID": message}
        if product == PUBLISHER:
            names = {"id": message, "internal": its}
        about = {"mailing": mailing, "timestampsent": self.manner.written(second)}
        return answer(request, self.manner.strings, names | about | {"profile": profile, "subprofile": subprofile})

    async def _statistics(self, product: str, request: web.Request) -> web.Response:
        mailing = request.match_info["mailing"]
        told: dict[str, Any] = {"destinations": self._size(product, mailing)}
        conditions = [Condition("t.product = ?", product), Condition("t.mailing = ?", number(mailing))]
        conditions += between(self.manner, request.query.get("begintime"), request.query.get("endtime"))
        where, values = self._where(conditions)
        counted = "t.kind, count(*), count(DISTINCT t.destination)"
        query = f"SELECT {counted} FROM results t WHERE {where} GROUP BY t.kind"  # noqa: S608
        told |= {kind: {"total": 0, "unique": 0} for kind in COUNTED}
        told |= {kind: {"total": all_, "unique": unique} for kind, all_, unique in self.truth.read(query, values)}
        return answer(request, self.manner.strings, told)

    async def _emailings(self, product: str, request: web.Request) -> web.Response:
        conditions = [Condition("t.product = ?", product)]
        conditions += between(self.manner, request.query.get("fromdate"), request.query.get("todate"))

        def told(row: Any) -> dict[str, Any]:
            its, second, destinations = row
            about = {"id": its, "timestamp": self.manner.written(second), "template": 1207}
            sender = {"subject": f"Nieuwsbrief {its}", "from_address": "nieuws@example.nl"}
            return about | sender | {"destinations": destinations, "type": "mass", "target": "database:7"}

        return self._page(request, _MAILINGS, conditions, "t.second {0}, t.id {0}", told)

    def _size(self, product: str, mailing: str) -> int:
        """How many messages a mailing has; it is refused if there is none of that number."""
        query = "SELECT destinations FROM mailings WHERE product = ? AND id = ?"
        rows = self.truth.read(query, (product, number(mailing)))
        if not rows:
            raise Refused("No emailing with supplied ID")
        return int(rows[0][0])

    def _number(self, product: str, name: str) -> int:
        """The number of a message that is named by its number or by its hash."""
        rows = self.truth.read(
            "SELECT id FROM destinations WHERE product = ? AND message = ? UNION ALL "
            "SELECT id FROM destinations WHERE product = ? AND id = ?",
            (product, name, product, number(name) if name.isdecimal() else -1),
        )
        if not rows:
            raise Refused("No destination with supplied ID")
        return int(rows[0][0])

    def _where(self, conditions: list[Condition], more: tuple[str, ...] = ()) -> tuple[str, list[Any]]:
        """Conditions as the text of one, and its values; what happened just now may not be seen yet."""
        if self.manner.late:
            conditions = [*conditions, Condition("t.second <= ?", int(self._now() - self.manner.late))]
        texts = [condition.text for condition in conditions]
        return " AND ".join([*texts, *more]), [condition.value for condition in conditions]

    def _page(
        self,
        request: web.Request,
        table: Table,
        conditions: list[Condition],
        order: str,
        told: Callable[[Any], dict[str, Any]],
        more: tuple[str, ...] = (),
    ) -> web.Response:
        """A page of a list. Rows before it are counted in an index, and not read."""
        asked = slice_of(request)
        where, values = self._where(conditions, more)
        by = order.format("DESC" if self.manner.newest_first else "ASC")
        keys = f"SELECT {table.key} FROM {table.name} t WHERE {where} ORDER BY {by} LIMIT ? OFFSET ?"  # noqa: S608
        rows = self.truth.read(
            f"SELECT {table.columns} FROM ({keys}) JOIN {table.name} t USING ({table.key}) "  # noqa: S608
            f"{table.joined} ORDER BY {by}",
            [*values, asked.limit, asked.start_now(request)],
        )
        total = None
        if asked.total:
            total = self.truth.read(f"SELECT count(*) FROM {table.name} t WHERE {where}", values)[0][0]  # noqa: S608
        return page_of(request, self.manner.strings, [told(row) for row in rows], total)


def _told_by_suite(kind: str, written: Callable[[int], str], with_profile: bool, row: Any) -> dict[str, Any]:
    its, second, destination, mailing, told, profile, subprofile = row
    about = {"ID": its, "mailing": mailing, "timestamp": written(second), "destination": destination}
    if with_profile:
        about |= {"profile": profile, "subprofile": subprofile}
    fields = orjson.loads(told)
    for name in FIELDS[kind]:
        about[name] = fields.get(name)
    return about


def _told_by_publisher(kind: str, written: Callable[[int], str], _of_mailing: bool, row: Any) -> dict[str, Any]:
    its, second, destination, mailing, told, profile, subprofile = row
    about = {"ID": its, "timestamp": written(second), "emailing": mailing, "destination": destination}
    fields = orjson.loads(told)
    names = (*FIELDS[kind], *MORE_FIELDS.get(kind, ()))
    return about | {"profile": profile, "subprofile": subprofile} | {name: fields.get(name) for name in names}
