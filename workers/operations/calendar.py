"""How each day stands: what the console's calendar shows, and its strip of the last days.

today       it is not over
complete    everything in its log files is in the store, and no totals are known to differ
recovered   the same, but some of it had to be fetched, since its calls did not come
differing   its log files are all in the store, but Copernica's totals say something else
incomplete  events may be missing: of its log files, or of a gap that is not closed
gone        the same, but Copernica no longer has its log files: only an import by hand can help
unknown     its log files were never compared, and no gap is known
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from sqlalchemy import Connection, func, or_, select

from ingest.copernica.events import DAY, LOGFILE, MICROS, REST, WEBHOOK
from workers.gaps.gap import Cut, State, cuts
from workers.reconcile.schedule import Schedule
from workers.store import tables
from workers.store.store import Store
from workers.totals.ours import begin_of

#: Characters of a day, and of a month, in an hour of `event_counts`.
_DAY, _MONTH = len("2026-11-26"), len("2026-11")
#: From here on there is no next month.
_LAST_MONTH = date(9999, 12, 1)
#: Days that are looked at together: those of six months, and a little.
MOST_DAYS = 190


class DayState(StrEnum):
    """What is known of a day."""

    TODAY = "today"
    COMPLETE = "complete"
    RECOVERED = "recovered"
    DIFFERING = "differing"
    INCOMPLETE = "incomplete"
    GONE = "gone"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class DayStanding:
    """One day (UTC), and how many of its events are in the store, by where they came from."""

    day: date
    state: DayState
    webhook: int = 0
    logfile: int = 0
    rest: int = 0
    #: Periods of it in which calls may be missing, and that are not closed.
    gaps: int = 0

    @property
    def events(self) -> int:
        """All of them."""
        return self.webhook + self.logfile + self.rest

    @property
    def recovered(self) -> int:
        """Those whose call has not come, or not yet."""
        return self.logfile + self.rest


def standings(store: Store, first: date, last: date, now: datetime | None = None) -> list[DayStanding]:
    """How each day from one to another stands; days that are still to come are left out.

    Of more than `MOST_DAYS`, the last ones. While an upgrade still counts events, all numbers are 0.

    Raises:
        Unavailable: the database cannot be used now.
    """
    now = now or datetime.now(UTC)
    today = now.date()
    last = min(last, today)
    if first > last:
        return []
    if (last - first).days >= MOST_DAYS:
        first = last - timedelta(days=MOST_DAYS - 1)
    schedule = Schedule.of(store, today, now)
    numbers = _numbers(store, first, last)
    gaps = _unclosed(store, first, last, now)
    known = _Known(schedule, today)
    return [known.standing(day, numbers.get(day, Counter()), gaps[day]) for day in _days(first, last)]


class Span(NamedTuple):
    """A period of which something is known: from its first such day to the end of the last month that has one."""

    first: date
    last: date


def spans(store: Store, now: datetime | None = None) -> list[Span]:
    """The periods of which anything is known, in order; the last one has today.

    Between two of them lies a month at least of which nothing is: an event of years ago that somebody imported, or
    whose call says so, makes a period of its own and not years of days that are unknown.

    Raises:
        Unavailable: the database cannot be used now.
    """
    today = (now or datetime.now(UTC)).date()
    compared, gap = tables.reconciliations.c.day, tables.gaps.c
    known = [today]
    with store.reading() as connection:
        known += connection.execute(select(compared).distinct()).scalars()
        known += _first_days(connection)
        for since, until in connection.execute(select(gap.since, gap.until)):
            first = datetime.fromtimestamp(since // MICROS, UTC).date()
            known += _begins(
                first, today if until is None else datetime.fromtimestamp(until // MICROS, UTC).date()
            )
    found: list[Span] = []
    for day in sorted(one for one in set(known) if one <= today):
        end = min(_next_month(day) - timedelta(days=1), today)
        if found and _follows(day, found[-1].last):
            found[-1] = Span(found[-1].first, max(end, found[-1].last))
        else:
            found.append(Span(day, end))
    return found


def _first_days(connection: Connection) -> Iterator[date]:
    """The first day of each month that has events: from one to the next in the index, past all between."""
    hour = tables.event_counts.c.hour
    query = select(func.min(hour))
    found = connection.execute(query).scalar()
    while found is not None:
        yield date.fromisoformat(found[:_DAY])
        found = connection.execute(query.where(hour > f"{found[:_MONTH]}-99")).scalar()


def _day_of(at: int) -> date:
    return datetime.fromtimestamp(at // MICROS, UTC).date()


def _begins(first: date, last: date) -> Iterator[date]:
    """A day, and the begin of each month from there to another day."""
    while first <= last:
        yield first
        first = _next_month(first)


def _next_month(day: date) -> date:
    return date(day.year + day.month // 12, day.month % 12 + 1, 1) if day < _LAST_MONTH else date.max


def _follows(day: date, last: date) -> bool:
    """Whether a day is in the month of another, or in the one after that."""
    return day < _next_month(_next_month(last))


def _days(first: date, last: date) -> Iterator[date]:
    for number in range((last - first).days + 1):
        yield first + timedelta(days=number)


class _Known:
    """Tells states by what was looked up once."""

    def __init__(self, schedule: Schedule, today: date) -> None:
        self._schedule = schedule
        self._today = today
        self._gone, self._differing = set(schedule.gone), set(schedule.differing)
        self._incomplete = set(schedule.incomplete)

    def standing(self, day: date, numbers: Counter[str], gaps: int) -> DayStanding:
        here = DayStanding(day, DayState.UNKNOWN, numbers[WEBHOOK], numbers[LOGFILE], numbers[REST], gaps)
        return DayStanding(day, self._state(here), here.webhook, here.logfile, here.rest, gaps)

    def _state(self, here: DayStanding) -> DayState:
        if here.day >= self._today:
            return DayState.TODAY
        if here.day in self._gone:
            return DayState.GONE
        if here.day in self._differing:
            return DayState.DIFFERING
        if self._schedule.log_files(here.day):
            return DayState.RECOVERED if here.recovered else DayState.COMPLETE
        if here.day in self._incomplete or here.gaps:
            return DayState.INCOMPLETE
        return DayState.UNKNOWN


def _numbers(store: Store, first: date, last: date) -> dict[date, Counter[str]]:
    found: dict[date, Counter[str]] = {}
    if not store.is_counted:  # counting them here would take too long
        return found
    for name, source, number in store.sources(begin_of(first), begin_of(last + timedelta(days=1))):
        found.setdefault(date.fromisoformat(name), Counter())[source] += number
    return found


def _unclosed(store: Store, first: date, last: date, now: datetime) -> Counter[date]:
    """How many gaps that are not closed each day has."""
    columns = tables.gaps.c
    begin, end = micros_of(first), micros_of(last + timedelta(days=1))
    with store.reading() as connection:
        found = cuts(
            connection,
            columns.state != State.CLOSED.value,
            columns.since < end,
            or_(columns.until.is_(None), columns.until > begin),
        )
    days: Counter[date] = Counter()
    for gap in found:
        days.update(day for day in _touched(gap, now) if first <= day <= last)
    return days


def _touched(gap: Cut, now: datetime) -> Iterator[date]:
    until = gap.until if gap.until is not None else max(int(now.timestamp()) * MICROS, gap.since)
    for number in range(gap.since // (DAY * MICROS), max(until - 1, gap.since) // (DAY * MICROS) + 1):
        yield date(1970, 1, 1) + timedelta(days=number)


def micros_of(day: date) -> int:
    """When a day begins, in µs since 1970."""
    return int(begin_of(day).timestamp()) * MICROS
