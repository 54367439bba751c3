"""Windows of time in which to look for events, each of some thousand rows, by the numbers of `event_counts`."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from sqlalchemy import ColumnElement, func, select

from ingest.copernica.events import EPOCH, LAST_SECOND, MICROS
from workers.store.event_counts import counted_below
from workers.store.filters import Filter
from workers.store.rows import micros
from workers.store.store import Store
from workers.store.tables import event_counts

#: Microseconds in an hour.
HOUR = 3600 * MICROS
#: Rows of the first window; each further one has twice as many, up to the most.
FIRST_ROWS, MOST_ROWS = 1000, 64_000
#: Spans of time in one window: many of them are dear to plan, and one query for each is dearer.
MOST_SPANS = 16
#: Hours that are looked up at once.
HOURS = 100
#: Microseconds below which a window is not cut any more.
SMALLEST = MICROS // 1000
#: Where the numbers are not complete, after an upgrade: µs of the first window; each further one is twice as long.
UNCOUNTED = 600 * MICROS
#: After all events: the time of one that is no later than the last credible second.
END = (LAST_SECOND + 1) * MICROS
_COUNTS = event_counts.c
_HOUR_TEXT = "%Y-%m-%d %H"

#: From a time to one after it, in µs since 1970; the second is not part of it.
Span = tuple[int, int]


class _Hour(NamedTuple):
    """Where an hour begins, and how many events it has in all; None if nobody knows."""

    low: int
    high: int
    rows: int | None


class Windows:
    """Windows in which events may be that a filter selects, in one direction from a time on."""

    def __init__(self, store: Store, wanted: Filter, at: int | None, older: bool) -> None:
        """`at` is in µs since 1970; None means from the end, or the beginning, of all time."""
        self._store = store
        self._wanted = wanted
        self._older = older
        # No event is of a time outside; and years of less than four digits are in no order.
        self._low = 0 if wanted.since is None else max(0, micros(wanted.since))
        self._high = END if wanted.until is None else min(END, micros(wanted.until))
        if at is not None and older:
            self._high = min(self._high, at + 1)  # there may be others of the same moment
        elif at is not None:
            self._low = max(self._low, at)
        #: The most rows of the next window, and of the one before.
        self._rows = self._last = FIRST_ROWS
        #: The next hours; those behind are looked up when these are used up.
        self._hours: list[_Hour] = []
        self._behind: int | None = self._high if older else self._low
        #: Up to which time everything was in a window.
        self.reached: int | None = None

    def following(self) -> list[Span]:
        """The next window, as spans from the nearest to the farthest; empty if there is none."""
        spans: list[Span] = []
        rows = 0.0
        while rows < self._rows and len(spans) < MOST_SPANS and (hour := self._next_hour()):
            low, high, share = self._part(hour, self._rows - rows)
            rows += share
            _join(spans, (low, high))
            self.reached = low if self._older else high
        self._last, self._rows = self._rows, min(2 * self._rows, MOST_ROWS)
        return spans

    def shrink(self, share: float) -> None:
        """Have the next window be of no more rows than this share of the one before had."""
        self._rows = max(FIRST_ROWS, min(self._rows, int(self._last * share)))

    def has_more(self) -> bool:
        """Whether there is another window."""
        return self._next_hour() is not None

    def halve(self, window: Sequence[Span]) -> bool:
        """Have a window that took too long come again, in smaller ones; returns whether it can be made smaller."""
        lows, highs = zip(*window, strict=True)
        low, high = min(lows), max(highs)
        if high - low <= SMALLEST:
            return False
        middle = (low + high) // 2
        near, far = _Hour(middle, high, None), _Hour(low, middle, None)
        self._hours[:0] = [near, far] if self._older else [far, near]
        self._rows = FIRST_ROWS
        self.reached = high if self._older else low
        return True

    def _next_hour(self) -> _Hour | None:
        """The hour that is to be looked through next, or what is left of it."""
        if not self._hours and self._behind is not None:
            self._look_up()
        return self._hours[0] if self._hours else None

    def _part(self, hour: _Hour, wanted: float) -> tuple[int, int, float]:
        """Take the nearest part of the first hour that has as many rows as are wanted; returns how many it has."""
        low, high, rows = hour
        length = high - low
        if rows is None or rows <= wanted:
            self._hours.pop(0)
            return low, high, wanted if rows is None else rows
        taken = max(SMALLEST, int(length * wanted / rows))
        if taken >= length:
            self._hours.pop(0)
            return low, high, rows
        left = round(rows * (length - taken) / length)
        if self._older:
            self._hours[0] = _Hour(low, high - taken, left)
            return high - taken, high, wanted
        self._hours[0] = _Hour(low + taken, high, left)
        return low, low + taken, wanted

    def _look_up(self) -> None:
        """Add the next hours that have events of the kinds that are wanted."""
        begin = self._behind
        assert begin is not None
        low, high = (self._low, begin) if self._older else (begin, self._high)
        if low >= high:
            self._behind = None
            return
        with self._store.reading() as connection:
            if counted_below(connection) is not None:
                self._hours, self._behind = _doubling(low, high, self._older), None
                return
            hour = _COUNTS.hour
            within = [hour >= _text(low), hour <= _text(high - 1)]
            query = select(hour).where(*within, *self._kinds()).group_by(hour).having(func.sum(_COUNTS.number) > 0)
            found = connection.execute(query.order_by(hour.desc() if self._older else hour).limit(HOURS)).scalars()
            hours = list(found)
            all_rows = select(hour, func.sum(_COUNTS.number)).where(hour.in_(hours)).group_by(hour)
            numbers = {name: int(number) for name, number in connection.execute(all_rows)} if hours else {}
        self._behind = None
        for name in hours:
            begins = _begin(name)
            whole = _Hour(max(begins, low), min(begins + HOUR, high), None)
            rows = numbers[name] * (whole.high - whole.low) / HOUR
            self._hours.append(whole._replace(rows=max(1, round(rows))))
        if len(hours) == HOURS:
            self._behind = self._hours[-1].low if self._older else self._hours[-1].high

    def _kinds(self) -> list[ColumnElement[bool]]:
        wanted = self._wanted
        conditions: list[ColumnElement[bool]] = []
        if wanted.types:
            conditions.append(_COUNTS.type.in_(wanted.types))
        if wanted.mailing is not None:
            conditions.append(_COUNTS.mailing == wanted.mailing)
        if wanted.source is not None:
            conditions.append(_COUNTS.source == wanted.source)
        return conditions


def _join(spans: list[Span], span: Span) -> None:
    """Add a span, as a part of the one before if that is its neighbour."""
    if spans and spans[-1][0] == span[1]:
        spans[-1] = (span[0], spans[-1][1])
    elif spans and spans[-1][1] == span[0]:
        spans[-1] = (spans[-1][0], span[1])
    else:
        spans.append(span)


def _doubling(low: int, high: int, older: bool) -> list[_Hour]:
    """All of a span in parts that grow, where nobody knows how many events it has."""
    parts = []
    length = UNCOUNTED
    if older:  # from now on: what is later still is one part
        now = micros(datetime.now(UTC))
        if low < now < high:
            parts.append(_Hour(now, high, None))
            high = now
    while low < high:
        part = _Hour(max(low, high - length), high, None) if older else _Hour(low, min(high, low + length), None)
        parts.append(part)
        low, high = (low, part.low) if older else (part.high, high)
        length *= 2
    return parts


def _begin(hour: str) -> int:
    """When an hour begins, in µs since 1970."""
    return micros(datetime.strptime(hour, _HOUR_TEXT).replace(tzinfo=UTC))


def _text(at: int) -> str:
    """The hour in which a time is."""
    return (EPOCH + timedelta(microseconds=at)).strftime(_HOUR_TEXT)


def counted_mailing(store: Store, mailing: int) -> bool:
    """Whether there are events of a mailing."""
    query = select(_COUNTS.mailing).where(_COUNTS.mailing == mailing, _COUNTS.number > 0).limit(1)
    with store.reading() as connection:
        return connection.execute(query).first() is not None
