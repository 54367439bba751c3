"""Lists of results on a real socket, as an API might serve them that keeps to nothing but its documentation.

Made for readers of results, which have to find each result exactly once whatever the documentation leaves open:
the order, whether the bounds of a period belong to it, how long a page is, what `total` says.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from aiohttp import web

#: When the lists begin.
BEGIN = datetime(2026, 11, 20, 9)


def row(number: int, second: int) -> dict[str, Any]:
    """A result `second` seconds after the beginning."""
    return {"ID": number, "timestamp": str(BEGIN + timedelta(seconds=second)), "mailing": 7, "destination": number}


@dataclass
class Lists:
    """What one list holds, and how it is served."""

    rows: list[dict[str, Any]]
    #: Whether `begintime` and `endtime` themselves belong to a period.
    inclusive: bool = False
    #: Called before each page is taken, with the number of requests so far; may change `rows`.
    change: Callable[["Lists", int], object] = lambda lists, number: None
    #: Makes of a page what is sent.
    disguise: Callable[[list[dict[str, Any]]], Any] = lambda page: page
    #: Numbers of requests that are answered with fewer rows than there are, and with how many.
    short: dict[int, int] = field(default_factory=dict)
    requests: int = 0
    #: The largest `start` so far.
    deepest: int = 0

    async def answer(self, request: web.Request) -> web.Response:
        """A page of the results of a period."""
        self.requests += 1
        self.change(self, self.requests)
        query = request.query
        begin, end = self._bounds(query)
        within = [row for row in self.rows if self._is_within(str(row["timestamp"]), begin, end)]
        start, limit = int(query["start"]), min(int(query["limit"]), 1000)
        assert query["total"] == "false"
        self.deepest = max(self.deepest, start)
        page = within[start : start + self.short.get(self.requests, limit)]
        lies = {"start": 0, "limit": 1, "count": random.choice([0, 1]), "total": random.choice([0, "9", None])}
        return web.json_response(lies | {"data": self.disguise(page)})

    def _bounds(self, query: Any) -> tuple[str, str]:
        if "begintime" in query:
            return query["begintime"], query["endtime"]
        after, before = query.getall("fields[]")
        assert after.startswith("timestamp>")
        assert before.startswith("timestamp<=")
        return after.removeprefix("timestamp>"), before.removeprefix("timestamp<=")

    def _is_within(self, time: str, begin: str, end: str) -> bool:
        return begin <= time <= end if self.inclusive else begin < time < end

    async def exchange(self, _request: web.Request) -> web.Response:
        """Access for everyone."""
        return web.Response(text="access")

    def app(self) -> web.Application:
        """The list, under every path, and the exchange of tokens."""
        app = web.Application()
        app.router.add_post("/", self.exchange)
        app.router.add_get("/{rest:.+}", self.answer)
        return app
