"""Which message each result is of: results name a destination's number, webhooks and log files a message's id.

What was found out once is kept in the table `destinations`. The rest is asked of Copernica: a list of all
destinations of a day where that takes fewer calls, else one by one. A list has a page for each 950 destinations,
so of a mailing to 1,000,000, of which 300,000 results have to be placed, it takes some 1,060 calls in place of
300,000; where 500 are left of it, those 500 are asked for. Of the days d on which the mailings concerned were
sent,

    calls <= M / 950 + 3 + sum over d of min(unknown(d), destinations(d) / 950 + 3) + what is left after lists

where M are the mailings of the last `REACH` days; and never more than `MOST_CALLS` in one look.
"""

import logging
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from sqlalchemy import select

from ingest.copernica.api import destinations as api_destinations
from ingest.copernica.api.client import Copernica
from ingest.copernica.api.destinations import Destination
from ingest.copernica.api.results import Product
from ingest.copernica.api.statistics import Emailing, emailings
from ingest.copernica.columns import fits_column
from workers.catch_up.fetching import together
from workers.catch_up.shelf import Known, Shelf, parts
from workers.reconcile.logfile import Watch
from workers.store import tables
from workers.store.event_counts import DESTINATIONS
from workers.store.store import Store

log = logging.getLogger(__name__)

#: Messages that are asked for one by one without a look at lists: that alone takes some calls.
FEW = 50
#: Rows that a page of a list brings, beside those that are asked for again; and calls beside its pages.
ROWS_PER_CALL, CALLS_PER_LIST = 950, 3
#: Days back from now of which mailings are listed: results of older ones are few.
REACH = timedelta(days=400)
#: Most calls of one look for messages: some ten minutes. The next look goes on.
MOST_CALLS = 20_000
#: Messages that are asked for at once, and rows that are kept in one transaction.
AT_ONCE, KEPT_TOGETHER = 100, 10_000


@dataclass(frozen=True, slots=True)
class Plan:
    """Days whose destinations are to be listed, in runs of days without one between them."""

    runs: tuple[tuple[date, date], ...]
    #: Calls that it takes, about.
    calls: int


class Messages:
    """Finds out which messages the results on a shelf are of."""

    def __init__(self, api: Copernica, store: Store, shelf: Shelf, watch: Watch, keeps: bool = True) -> None:
        """With `keeps`, what was found out is kept in the store."""
        self._api = api
        self._store = store
        self._shelf = shelf
        self._watch = watch
        self._keeps = keeps
        self._now = int(time.time())
        self._today = datetime.fromtimestamp(self._now, UTC).date()
        self._left = MOST_CALLS

    async def find(self) -> int:
        """Find out as many as can be; returns how many are not known in the end.

        Raises:
            RestError: Copernica does not tell; what it has told is kept.
        """
        self._shelf.seek()
        for product in Product:
            for numbers in self._shelf.unknown_of(product):
                self._shelf.know(cached(self._store, product, numbers))
        for product in Product:
            unknown = {mailing: number for (of, mailing), number in self._shelf.unknown().items() if of is product}
            if sum(unknown.values()) > FEW:
                await self._by_lists(product, unknown)
            await self._one_by_one(product)
        return sum(self._shelf.unknown().values())

    # --- lists ---

    async def _by_lists(self, product: Product, unknown: Mapping[int | None, int]) -> None:
        mailings: list[Emailing] = []
        async for page in emailings(self._api, product, self._today - REACH, self._today):
            mailings += page
        plan = planned(mailings, unknown)
        self._left -= plan.calls
        for first, last in plan.runs:
            await self._listed(product, first, last, frozenset(unknown))

    async def _listed(self, product: Product, first: date, last: date, wanted: frozenset[int | None]) -> None:
        kept: list[Known] = []
        number = 0
        label = f"fetching destinations of {first}" + (f" to {last}" if last > first else "")
        async for page in api_destinations.destinations(self._api, product, first, last):
            messages = [known for one in page if (known := _known(product, one)) and known.mailing in wanted]
            self._shelf.know(messages)
            kept += messages
            number += len(page)
            self._watch(label, number, None)
            if len(kept) >= KEPT_TOGETHER:
                self._keep(kept)
                kept = []
        self._keep(kept)
        self._watch(label, number, number)

    # --- one by one ---

    async def _one_by_one(self, product: Product) -> None:
        label, done = "fetching destinations", 0
        found: list[Known] = []

        async def one(number: int) -> None:
            if self._left <= 0:
                return
            self._left -= 1
            answer = await api_destinations.destination(self._api, product, number)
            if answer is not None and answer.id == number and (known := _known(product, answer)):
                found.append(known)

        for numbers in self._shelf.unknown_of(product):
            for some in parts(numbers, AT_ONCE):
                if self._left <= 0:
                    log.warning("messages are looked up by %d calls at most: the next look goes on", MOST_CALLS)
                    return
                try:
                    await together(map(one, some))
                finally:  # what was found out counts, whatever became of the others
                    self._shelf.know(found)
                    self._keep(found)
                    found.clear()
                done += len(some)
                self._watch(label, done, None)
        self._watch(label, done, done)

    def _keep(self, messages: Sequence[Known]) -> None:
        if not self._keeps:
            return
        for some in parts(messages, KEPT_TOGETHER):
            with self._store.writing() as connection:
                self._store.insert(connection, tables.destinations, [(*one, self._now) for one in some])
                self._store.note_change(connection, DESTINATIONS)


def _known(product: Product, one: Destination) -> Known | None:
    """A destination, if it tells which message it is."""
    if not one.message or not fits_column(one.message):
        return None
    return Known(product.value, one.id, one.message, one.mailing, one.profile, one.subprofile)


def cached(store: Store, product: Product, numbers: Sequence[int]) -> list[Known]:
    """Those of some destinations that are in the table."""
    columns = tables.destinations.c
    query = select(
        columns.product,
        columns.destination,
        columns.message_id,
        columns.mailing,
        columns.profile,
        columns.subprofile,
    ).where(columns.product == product.value, columns.destination.in_(numbers))
    with store.reading() as connection:
        return [Known._make(row) for row in connection.execute(query)]


def planned(mailings: Iterable[Emailing], unknown: Mapping[int | None, int]) -> Plan:
    """For which days a list takes fewer calls than asking for each message; `unknown` are those by mailing."""
    sought: defaultdict[date, int] = defaultdict(int)
    sent: defaultdict[date, int] = defaultdict(int)
    for one in mailings:
        if (day := _day(one.timestamp)) is not None:
            sent[day] += one.destinations or 0
            sought[day] += unknown.get(one.id, 0)
    chosen: list[date] = []
    calls = 0
    for day in sorted(sought):
        listed = (sent[day] + sent.get(day + timedelta(days=1), 0)) // ROWS_PER_CALL + CALLS_PER_LIST
        if listed < sought[day] and calls + listed <= MOST_CALLS:
            chosen.append(day)
            calls += listed
    return Plan(tuple(_runs(chosen)), calls)


def _runs(days: Sequence[date]) -> Iterator[tuple[date, date]]:
    first: date | None = None
    for place, day in enumerate(days):
        first = first or day
        if place + 1 == len(days) or days[place + 1] > day + timedelta(days=1):
            yield first, day
            first = None


def _day(timestamp: str | None) -> date | None:
    try:
        return datetime.fromisoformat(timestamp or "").date()
    except ValueError:
        return None
