"""What Copernica counts: the mailings of the last days, and the statistics of those that are asked about.

One request tells all kinds of a mailing. So a day costs as many requests as mailings had events on it or were sent
on it or the day before, and at most `MOST_REQUESTS`; what that leaves out is said.
"""

import asyncio
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from http import HTTPStatus

from ingest.copernica.api.calls import Calls
from ingest.copernica.api.results import Product
from ingest.copernica.api.statistics import Emailing, Totals, emailings, statistics
from ingest.copernica.event_types import EventType
from ingest.errors import Forbidden, InvalidToken, NotFound, RequestRejected, RestError

#: Days before a day of which all mailings are asked about, whether or not the store has events of them.
SENT_WITHIN = timedelta(days=1)
#: Requests for statistics that one day may take.
MOST_REQUESTS = 20_000
#: Mailings that could not be asked about, after which no others are: each takes minutes of attempts.
MOST_FAILED = 3
#: Requests at a time that wait for the client, which makes some of them at once.
AT_ONCE = 16

#: A mailing: its product and number.
Mailing = tuple[Product, int]


class Theirs:
    """Asks Copernica, within bounds; one for each day."""

    def __init__(self, api: Calls, begin: datetime, end: datetime) -> None:
        """`begin` and `end` are moments of the day by the clock of the statistics, without a zone."""
        self._api = api
        # "After" and "before" are all that is documented; whoever compares allows for the second at either end.
        self._begin, self._end = begin - timedelta(seconds=1), end
        #: What Copernica counts, by mailing and kind.
        self.totals: dict[Mailing, dict[EventType, Totals]] = {}
        #: Mailings that were sent on the day or shortly before.
        self.sent: set[Mailing] = set()
        #: What Copernica told of these, and of others of the days around.
        self.listed: dict[Product, list[Emailing]] = {}
        #: Mailings that Copernica does not know.
        self.unknown: set[Mailing] = set()
        #: Why mailings could not be asked about.
        self.failed: dict[Mailing, str] = {}
        #: Why mailings of a product cannot be listed.
        self.unlisted: dict[Product, str] = {}
        self.requests = 0
        #: Mailings that were left out, since there are too many.
        self.left_out = 0

    async def list_sent(self, day: date) -> None:
        """Find out which mailings were sent on a day or shortly before.

        A product that the account or the token has no right to has none.

        Raises:
            RestError: Copernica does not tell.
        """
        for product in Product:
            pages = 0
            try:
                async for page in emailings(self._api, product, day - SENT_WITHIN, day):
                    pages += 1
                    self.sent |= {(product, one.id) for one in page}
                    self.listed.setdefault(product, []).extend(page)
            except (Forbidden, NotFound, RequestRejected) as refusal:
                self.unlisted[product] = str(refusal)
            self.requests += max(1, pages)

    async def ask(self, mailings: Iterable[Mailing]) -> None:
        """Ask about mailings that were not asked about yet.

        Raises:
            InvalidToken, Forbidden: this token may not ask.
        """
        wanted = sorted(set(mailings) - self.totals.keys() - self.unknown - self.failed.keys())
        room = max(0, MOST_REQUESTS - self.requests)
        self.left_out += len(wanted[room:])
        for at in range(0, len(wanted[:room]), AT_ONCE):
            if len(self.failed) >= MOST_FAILED:
                self.left_out += len(wanted[at:room])
                return
            try:
                async with asyncio.TaskGroup() as group:
                    for mailing in wanted[at : min(room, at + AT_ONCE)]:
                        group.create_task(self._ask(mailing))
            except BaseExceptionGroup as failures:
                raise failures.exceptions[0] from None

    async def _ask(self, mailing: Mailing) -> None:
        self.requests += 1
        try:
            self.totals[mailing] = await statistics(self._api, *mailing, self._begin, self._end)
        except (InvalidToken, Forbidden):
            raise
        except RestError as error:
            refused = isinstance(error, NotFound | RequestRejected)
            if refused and error.status in (HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND):
                self.unknown.add(mailing)
            else:
                self.failed[mailing] = str(error)

    @property
    def problem(self) -> str | None:
        """Why not every mailing could be asked about; None if all were."""
        if self.failed:
            return next(iter(self.failed.values()))
        if self.left_out:
            return f"{self.left_out:,} mailings were left out: a day takes at most {MOST_REQUESTS:,} requests."
        if denied := self.sent & self.unknown:
            product, mailing = min(denied)
            return f"Copernica lists mailing {mailing} ({product}), but does not know it when asked for totals."
        if len(self.unlisted) == len(Product):
            return next(iter(self.unlisted.values()))
        return None
