"""Lists that come in pages, read from one `start` to the next while they may change.

A page that is empty or shorter than asked for need not be the last, and `count` and `total` are not always true.
So each page begins with some rows of the page before: where they are gone, rows before them were removed and
others have moved up, and reading goes back a page. The list ends where what was read is still there and nothing
follows. While nothing changes and pages are full, that takes 3 requests, and one more for each `limit - OVERLAP`
rows; whatever the server does, it takes at most `MAX_FRUITLESS` for each that brings a new row, and as many more.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple

import orjson

from ingest.copernica.api.values import entity, is_deep, taken

#: Rows in a page: at most 1000, by default 100.
PAGE_SIZE = 1000
#: Rows of a page that are asked for again with the next; as many may be removed meanwhile without going back.
OVERLAP = 50
#: Requests in a row that bring nothing new, and times to go back without getting any further, after which a list
#: counts as never ending.
MAX_FRUITLESS = 10
#: Empty answers after which a list counts as empty.
EMPTY_ANSWERS = 2
#: Rows that are remembered to tell those that come again.
REMEMBERED = 20 * PAGE_SIZE

#: What tells a row from others: its ID, or (as bytes) all of it.
Key = int | str | bytes


class Row(NamedTuple):
    """An entry of a list."""

    key: Key
    value: Any

    @property
    def has_id(self) -> bool:
        """Whether the key is an ID."""
        return not isinstance(self.key, bytes)


#: Asks for the rows from `start` on, a page of them.
Ask = Callable[[int], Awaitable[list[Row]]]


class Unsettled(Exception):
    """A list changes faster than it can be read, or repeats itself without end."""


def row(value: Any) -> Row:
    """An entry with its key."""
    given = taken(value, ("ID", "id")) if isinstance(value, dict) else None
    if (number := entity(given)) is not None:
        return Row(number, value)
    if isinstance(given, str) and given.strip(" 0"):
        return Row(given, value)
    whole = None if is_deep(value) else value
    return Row(orjson.dumps(whole, option=orjson.OPT_SORT_KEYS), value)


class Reading:
    """One reading of a list; `limit` is how many rows a page may have."""

    def __init__(self, ask: Ask, limit: int = PAGE_SIZE) -> None:
        self._ask = ask
        self._overlap = min(OVERLAP, limit // 2)
        self._limit = limit
        self._known: dict[Key, None] = {}
        self._fruitless = 0
        self._went_back = 0
        self._furthest = 0
        #: Rows from the beginning up to which it was read.
        self.position = 0
        #: Different rows so far. Fewer than `position` means that some came twice, so that others may be missing.
        self.different = 0
        #: The same for two readings to which all pages were the same.
        self.fingerprint = 0

    async def pages(self) -> AsyncIterator[list[Row]]:
        """The rows that did not come before, page by page.

        Raises:
            Unsettled: it does not come to an end.
        """
        empty = 0
        while True:
            start = max(0, self.position - self._overlap)
            page = await self._page(start)
            if not page:
                empty += 1
                if empty >= EMPTY_ANSWERS:
                    if not start:
                        return
                    self._go_back()
                    empty = 0
                continue
            empty = 0
            if 0 < start < self.position and page[0].key not in self._known:
                self._go_back()
                continue
            fresh = self._taken_in(start, page)
            if not fresh:
                start = self.position
                page = await self._page(start)
                if not page or self._is_whole(page):
                    return
                fresh = self._taken_in(start, page)
            if fresh:
                yield fresh

    async def _page(self, start: int) -> list[Row]:
        if self._fruitless >= MAX_FRUITLESS:
            raise Unsettled
        self._fruitless += 1
        page = await self._ask(start)
        self.fingerprint = hash((self.fingerprint, start, *(one.key for one in page)))
        return page

    def _is_whole(self, page: list[Row]) -> bool:
        """Whether a page from beyond the end is the list from its beginning: it then comes whole, not in pages."""
        return len(page) == len(self._known) != self._limit and page[0].key == next(iter(self._known))

    def _go_back(self) -> None:
        self._went_back += 1
        if self._went_back > MAX_FRUITLESS:
            raise Unsettled
        self.position = max(0, self.position - self._limit)

    def _taken_in(self, start: int, page: list[Row]) -> list[Row]:
        fresh = []
        for one in page:
            if one.key not in self._known:
                self._known[one.key] = None
                fresh.append(one)
        while len(self._known) > REMEMBERED:
            del self._known[next(iter(self._known))]
        self.different += len(fresh)
        self.position = max(self.position, start + len(page))
        if self.position > self._furthest:
            self._furthest, self._went_back = self.position, 0
        if fresh:
            self._fruitless = 0
        return fresh
