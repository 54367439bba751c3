"""Lists of results on a real socket, as an API might serve them that keeps to nothing but its documentation.

Made for readers of results, which have to find each result exactly once whatever the documentation leaves open:
the order, whether the bounds of a period belong to it, how long a page is, what `total` says.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import cycle
from typing import Any

from aiohttp import web

from tests.support.fake_copernica import serving

#: When the lists begin.
BEGIN = datetime(2026, 11, 20, 9)
#: What is said about how many there are, in turn; none of it is true.
LIES: list[dict[str, Any]] = [
    {"count": 0, "total": 0},
    {"count": "1", "total": "9"},
    {"total": None},
    {},
    {"count": 5000, "total": 1e6},
]


def row(number: int | str, second: int, **others: Any) -> dict[str, Any]:
    """A result `second` seconds after the beginning."""
    time = str(BEGIN + timedelta(seconds=second))
    return {"ID": number, "timestamp": time, "mailing": 7, "destination": number} | others


@dataclass
class Lists:
    """What one list holds, and how it is served."""

    rows: list[dict[str, Any]]
    #: Whether `begintime` and `endtime` themselves belong to a period.
    inclusive: bool = False
    #: Called before each page is taken, with the number of requests so far; may change `rows`.
    change: Callable[["Lists", int], object] = lambda lists, number: None
    #: Makes of a page what is sent, given the number of requests so far.
    disguise: Callable[[list[Any], int], Any] = lambda page, number: page
    #: Numbers of requests that are answered with fewer rows than there are, and with how many.
    short: dict[int, int] = field(default_factory=dict)
    #: Requests so far, and what they asked for, with what times.
    requests: int = 0
    #: The largest `start` so far.
    deepest: int = 0

    def page(self, query: Any) -> list[dict[str, Any]]:
        """A page of the results of a period."""
        begin, end = _bounds(query)
        start, limit = int(query["start"]), min(int(query["limit"]), 1000)
        assert query["total"] == "false"
        self.requests += 1
        self.deepest = max(self.deepest, start)
        self.change(self, self.requests)
        within = [row for row in self.rows if self._is_within(row["timestamp"], begin, end)]
        return within[start : start + min(limit, self.short.get(self.requests, limit))]

    def _is_within(self, time: str, begin: str, end: str) -> bool:
        return begin <= time <= end if self.inclusive else begin < time < end


class ListServer:
    """Serves one list after another at the same address."""

    def __init__(self) -> None:
        self.lists = Lists([])
        self.url = ""
        self._lies = cycle(LIES)

    @property
    def environ(self) -> dict[str, str]:
        """The settings with which it is found."""
        return {"COPERNICA_API_URL": f"{self.url}/v4", "COPERNICA_AUTH_URL": self.url, "COPERNICA_TOKEN": "token"}

    async def answer(self, request: web.Request) -> web.Response:
        """A page of the list, whatever the path."""
        page = self.lists.disguise(self.lists.page(request.query), self.lists.requests)
        return web.json_response({"start": 0, "limit": 1, **next(self._lies), "data": page})

    async def exchange(self, _request: web.Request) -> web.Response:
        """Access for everyone."""
        return web.Response(text="access")


@contextmanager
def list_server() -> Iterator[ListServer]:
    """Serve lists while the block runs."""
    server = ListServer()
    app = web.Application()
    app.router.add_post("/", server.exchange)
    app.router.add_get("/{rest:.+}", server.answer)
    with serving(app) as url:
        server.url = url
        yield server


def _bounds(query: Any) -> tuple[str, str]:
    if "begintime" in query:
        return query["begintime"], query["endtime"]
    after, before = query.getall("fields[]")
    assert after.startswith("timestamp>")
    assert before.startswith("timestamp<=")
    return after.removeprefix("timestamp>"), before.removeprefix("timestamp<=")
