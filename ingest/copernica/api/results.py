"""Results: what became of mail, as Copernica lists it for any period, with an ID of its own for each.

The facts come from the articles of REST v4 on `/ms/impressions`, `/publisher/impressions` and their like. Pages
far from the beginning of a list are slow, so a long list is not read to its end: its period is halved. A second
more is requested on both sides, since it is not documented whether the ends of a period belong to it; what comes
twice for that, where two halves meet, is told once.

A list that changes while it is read is read again. What was in the period when reading began is found, once each;
what is added meanwhile may be. Of a period of S seconds with P pages of new results,

    requests <= (P + 1) * (4 * log2(S) + 48)

is enforced. While the server does as documented it takes about one for each 950 results, and 3 more for each part
of at most `MAX_START` results into which the period is divided.
"""

import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from typing import Any, NamedTuple

from ingest.copernica.api.calls import Calls
from ingest.copernica.api.paging import PAGE_SIZE, Key, Reading, Row, Unsettled, row
from ingest.copernica.api.request import Params, shifted
from ingest.copernica.api.values import entity, rest, taken, text
from ingest.copernica.event_types import EventType
from ingest.errors import AnswerTooLarge, Unreachable

log = logging.getLogger(__name__)

#: The kinds of results, and what their lists are called.
LISTS: Mapping[EventType, str] = {
    EventType.OPEN: "impressions",
    EventType.CLICK: "clicks",
    EventType.DELIVERY: "deliveries",
    EventType.FAILURE: "errors",
    EventType.UNSUBSCRIBE: "unsubscribes",
    EventType.ABUSE: "abuses",
}
#: Results in a list that are read by `start`; the period of a longer one is halved, down to a second.
MAX_START = 10_000
#: Results in one second, after which its list counts as never ending: far more than Copernica can send.
MAX_IN_A_SECOND = 10_000_000
#: Times that a list is read because it changed meanwhile.
MAX_READINGS = 3
#: Requests that are allowed for each page of new results, and at first: so many for each halving, and these.
PER_HALVING, PER_PAGE = 4, 48

SECOND = timedelta(seconds=1)
_ID = ("ID", "id")
_MAILING = ("mailing", "emailing")
_NAMED = (*_ID, "timestamp", "destination", *_MAILING, "profile", "subprofile")


class Product(StrEnum):
    """Where a mailing was made; the value is the first part of the paths about it."""

    #: Marketing Suite.
    MARKETING_SUITE = "ms"
    #: The older Publisher.
    PUBLISHER = "publisher"


class Result(NamedTuple):
    """What became of a message, once: opened, clicked, delivered and so on."""

    product: Product
    kind: EventType
    #: Unique among the results of its product and kind.
    id: int
    #: As Copernica writes it, `YYYY-MM-DD HH:MM:SS`, in a zone that is not documented.
    timestamp: str | None
    #: The number of the destination, which is the message to one recipient.
    destination: int | None
    mailing: int | None
    profile: int | None
    subprofile: int | None
    #: All other fields, under Copernica's names.
    fields: dict[str, Any]


class Period(NamedTuple):
    """Whole seconds, from the first to the last."""

    first: datetime
    last: datetime

    @property
    def halves(self) -> tuple["Period", "Period"]:
        """Both halves, the earlier one first."""
        seconds = (self.last - self.first) // SECOND
        middle = self.first + seconds // 2 * SECOND
        return Period(self.first, middle), Period(middle + SECOND, self.last)


async def results(
    api: Calls,
    product: Product,
    kind: EventType,
    begin: datetime,
    end: datetime,
    unreadable: Callable[[int], object] | None = None,
) -> AsyncIterator[list[Result]]:
    """The results of one kind in a period, in pages of at most 1000, in the order of time by and large.

    `begin` and `end` belong to it, and results of a second before and after may come as well. They are sent as
    their clocks show them, without their zones: in which zone Copernica reads them is for the caller to know.
    `unreadable` is called with the number of entries in a page that are no results, because they have no ID.

    Raises:
        RestError: the list cannot be read to its end; there may be more results than those that came.
    """
    first, last = begin.replace(tzinfo=None, microsecond=0), end.replace(tzinfo=None)
    if last.microsecond:
        last = shifted(last.replace(microsecond=0), SECOND)
    if first > last:
        return
    reader = _Reader(api, product, kind, Period(first, last), unreadable)
    async for page in reader.pages():
        yield page


def result(product: Product, kind: EventType, values: Any) -> Result | None:
    """A result from its JSON; None if it is none, or has no ID."""
    if not isinstance(values, dict):
        return None
    number = entity(taken(values, _ID))
    if number is None:
        return None
    return Result(
        product=product,
        kind=kind,
        id=number,
        timestamp=text(values.get("timestamp")),
        destination=entity(values.get("destination")),
        mailing=entity(taken(values, _MAILING)),
        profile=entity(values.get("profile")),
        subprofile=entity(values.get("subprofile")),
        fields=rest(values, _NAMED),
    )


class _Reader:
    """Reads the results of one period."""

    def __init__(
        self,
        api: Calls,
        product: Product,
        kind: EventType,
        period: Period,
        unreadable: Callable[[int], object] | None,
    ) -> None:
        self._api = api
        self._product = product
        self._kind = kind
        self._path = f"/{product}/{LISTS[kind]}"
        self._unreadable = unreadable
        #: What is still to be read, the earliest last.
        self._periods = [period]
        #: What came, by the last second of the period in which it did: as long as it may come again.
        self._came: deque[tuple[datetime, set[Key]]] = deque()
        self._limit = PAGE_SIZE
        seconds = (period.last - period.first) // SECOND + 1
        self._per_page = PER_HALVING * seconds.bit_length() + PER_PAGE
        self._requests = 0
        self._allowed = self._per_page

    async def pages(self) -> AsyncIterator[list[Result]]:
        while self._periods:
            period = self._periods.pop()
            while self._came and shifted(self._came[0][0], SECOND) < shifted(period.first, -SECOND):
                self._came.popleft()
            async for rows in self._read(period):
                if page := self._results(rows):
                    yield page

    async def _read(self, period: Period) -> AsyncIterator[list[Row]]:
        """What is new in a period, or in as much of it as is read before it is halved."""
        divisible = period.first < period.last
        came: set[Key] = set()
        self._remember(period, came)
        fingerprint = 0
        for _ in range(MAX_READINGS):
            probed = False
            reading = Reading(partial(self._ask, period), self._limit)
            try:
                async for rows in reading.pages():
                    if new := [one for one in rows if not any(one.key in ids for _, ids in self._came)]:
                        came.update(one.key for one in new)
                        self._allowed += self._per_page
                        yield new
                    if divisible and await self._is_long(period, reading, probed):
                        self._periods += reversed(period.halves)
                        return
                    probed = True
                    if reading.position > MAX_IN_A_SECOND:
                        raise self._endless()
            except Unsettled:
                continue
            # A list that holds rows twice, and is the same the second time, is what it is.
            if reading.different >= reading.position or reading.fingerprint == fingerprint:
                return
            fingerprint = reading.fingerprint
        if not divisible:
            raise self._endless()
        self._periods += reversed(period.halves)

    def _remember(self, period: Period, came: set[Key]) -> None:
        """Keep what comes in a period, in the order in which periods end."""
        place = next((at for at, (last, _) in enumerate(self._came) if last > period.last), len(self._came))
        self._came.insert(place, (period.last, came))

    async def _is_long(self, period: Period, reading: Reading, probed: bool) -> bool:
        """Whether a list is too long to be read to its end: Copernica is asked once, after a first page."""
        if reading.position >= MAX_START:
            return True
        return not probed and reading.position >= self._limit and bool(await self._ask(period, MAX_START))

    async def _ask(self, period: Period, start: int) -> list[Row]:
        page = await self._page(period, start)
        if any(not one.has_id for one in page):
            page = await self._page(period, start)  # which may be as it should, if that was a mishap
        return page

    async def _page(self, period: Period, start: int) -> list[Row]:
        params = self._params(shifted(period.first, -SECOND), shifted(period.last, SECOND))
        while True:
            if self._requests >= self._allowed:
                raise self._endless()
            self._requests += 1
            try:
                page = await self._api.page(self._path, params, start, self._limit, self._about)
            except AnswerTooLarge:
                if self._limit == 1:
                    raise
                self._limit = max(1, self._limit // 4)
            else:
                return [row(entry) for entry in page]

    def _params(self, after: datetime, before: datetime) -> Params:
        if self._product is Product.PUBLISHER:
            return {"fields[]": [f"timestamp>{after}", f"timestamp<={before}"]}
        return {"begintime": after, "endtime": before}

    @property
    def _about(self) -> str:
        return f"list {LISTS[self._kind]} ({self._product})"

    def _endless(self) -> Unreachable:
        return Unreachable(
            f"Copernica was asked to {self._about} {self._requests} times, and they change or repeat themselves "
            "without coming to an end: try again later."
        )

    def _results(self, rows: list[Row]) -> list[Result]:
        page = [one for entry in rows if (one := result(self._product, self._kind, entry.value))]
        if without := len(rows) - len(page):
            log.warning("%d entries have no ID in Copernica's answer when asked to %s", without, self._about)
            if self._unreadable is not None:
                self._unreadable(without)
        return page
