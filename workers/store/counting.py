"""How many events and calls there are: read from `event_counts` where that can answer, else counted."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, case, func, select

from ingest.copernica.events import LOGFILE, REST, WEBHOOK
from workers.store import event_counts, tables
from workers.store.backend import PERIODS
from workers.store.database import Database
from workers.store.filters import Filter

HOUR = timedelta(hours=1)
#: Where events come from.
SOURCES = (WEBHOOK, LOGFILE, REST)


class Counting(Database):
    """A database whose events and calls can be counted."""

    def count_more(self) -> float:
        """Count some events that were stored before there were numbers; returns which part of all is, up to 1."""
        return event_counts.count_more(self.writing, self._backend)

    def count_anew(self) -> None:
        """Forget the numbers of events, so that `count_more` makes them again."""
        event_counts.begin_anew(self.writing, self._backend)

    def note_change(self, connection: Connection, mailing: int) -> None:
        """Note, within a transaction, that a mailing's figures are out of date: `event_counts.note_change`."""
        event_counts.note_change(connection, self._backend, mailing)

    @property
    def is_counted(self) -> bool:
        """Whether the numbers of events are complete."""
        with self.reading() as connection:
            return event_counts.counted_below(connection) is None

    def stored(self) -> int:
        """How many events there are."""
        if not self.is_counted:
            return self.count_rows(tables.events)
        with self.reading() as connection:
            return int(connection.execute(select(func.sum(tables.event_counts.c.number))).scalar() or 0)

    def quarantined(self) -> int:
        """How many calls are in quarantine."""
        return self.count_rows(tables.quarantine)

    def unverified(self) -> int:
        """How many calls wait to be verified."""
        return self.count_rows(tables.unverified)

    def unverified_bytes(self) -> int:
        """How many bytes those hold, about."""
        columns = tables.unverified.c
        size = func.length(columns.body) + func.length(columns.headers)
        with self.reading() as connection:
            return int(connection.execute(select(func.coalesce(func.sum(size), 0))).scalar_one())

    def count(self, wanted: Filter) -> int:
        """How many events a filter selects."""
        if not _by_more(wanted) and self.is_counted:
            return sum(number for _, _, number in self.counts(wanted, "hour"))
        query = select(func.count()).select_from(tables.events).where(*wanted.conditions(self._backend))
        with self.reading(wanted.by_message) as connection:
            return connection.execute(query).scalar_one()

    def counts(self, wanted: Filter, by: str) -> list[tuple[str, str, int]]:
        """Numbers of events by `hour` or `day` and by type: sorted tuples of period, type and number.

        Whole hours are read from the numbers that are kept, and only what is left of the first and the last hour
        is counted.
        """
        found: Counter[tuple[str, str]] = Counter()
        if _by_more(wanted) or not self.is_counted:
            self._count_events(wanted, by, found)
        else:
            for part, whole in _hours(wanted):
                (self._add_numbers if whole else self._count_events)(part, by, found)
        return [(*names, number) for names, number in sorted(found.items())]

    def sources(self, since: datetime, until: datetime) -> list[tuple[str, str, int]]:
        """How many events of whole days came from where: sorted tuples of day (UTC), source and number."""
        found: Counter[tuple[str, str]] = Counter()
        if self.is_counted:
            for hour, numbers in self.hourly_sources(since, until):
                for source_of, count in numbers.items():
                    found[hour[: PERIODS["day"]], source_of] += count
        else:
            period, source = self._backend.period("day"), tables.events.c.source
            query = select(period, source, func.count()).group_by(period, source)
            conditions = Filter(since=since, until=until).conditions(self._backend)
            with self.reading() as connection:
                for name, source_of, count in connection.execute(query.where(*conditions)):
                    found[name[: PERIODS["day"]], source_of] += int(count)
        return [(*names, count) for names, count in sorted(found.items()) if count]

    def hourly_sources(self, since: datetime, until: datetime) -> list[tuple[str, dict[str, int]]]:
        """How many events of whole hours came from where, by the names of the hours, from the numbers kept.

        By the hour alone the numbers are in order already: grouped by source as well, they take thrice the time.
        And nearly all came by webhook: the others are told apart by a second query, of the hours that have some.
        """
        columns = tables.event_counts.c
        number = func.sum(columns.number)
        others = func.sum(case((columns.source == WEBHOOK, 0), else_=columns.number))
        hours = select(columns.hour, number, others).group_by(columns.hour).order_by(columns.hour)
        apart = select(columns.hour, columns.source, number).group_by(columns.hour, columns.source)
        with self.reading() as connection:
            within = columns.hour >= name_of(since), columns.hour < name_of(until)
            rows = connection.execute(hours.where(*within)).all()
            found = {
                hour: dict.fromkeys(SOURCES, 0) | {WEBHOOK: int(all_) - int(some)} for hour, all_, some in rows
            }
            if mixed := [hour for hour, _, some in rows if some]:
                within = columns.hour.between(mixed[0], mixed[-1]), columns.source != WEBHOOK
                for hour, source, some in connection.execute(apart.where(*within)):
                    if hour in found:
                        found[hour][source] = int(some)
        return list(found.items())

    def by_mailing(
        self, since: datetime, until: datetime, types: Sequence[str]
    ) -> list[tuple[int | None, str, str, int]]:
        """Numbers of events of some types in whole hours: by mailing (None: they name none), type and source."""
        if self.is_counted:
            columns = tables.event_counts.c
            key = columns.mailing, columns.type, columns.source
            number: ColumnElement[Any] = func.sum(columns.number)
            within = [columns.hour >= name_of(since), columns.hour < name_of(until), columns.type.in_(types)]
        else:
            key = tables.events.c.mailing, tables.events.c.type, tables.events.c.source
            number = func.count()
            within = Filter(types, since=since, until=until).conditions(self._backend)
        query = select(*key, number).where(*within).group_by(*key).having(number != 0)
        with self.reading() as connection:
            rows = connection.execute(query).all()
        return [
            (None if mailing == event_counts.NO_MAILING else mailing, kind, source, int(each))
            for mailing, kind, source, each in rows
        ]

    def _add_numbers(self, wanted: Filter, by: str, found: "Counter[tuple[str, str]]") -> None:
        """Of whole hours."""
        columns = tables.event_counts.c
        number = func.sum(columns.number)
        query = select(columns.hour, columns.type, number).group_by(columns.hour, columns.type).having(number != 0)
        if wanted.types:
            query = query.where(columns.type.in_(wanted.types))
        if wanted.since is not None:
            query = query.where(columns.hour >= name_of(wanted.since))
        if wanted.until is not None:
            query = query.where(columns.hour < name_of(wanted.until))
        with self.reading() as connection:
            for hour, kind, count in connection.execute(query):
                found[hour[: PERIODS[by]], kind] += int(count)

    def _count_events(self, wanted: Filter, by: str, found: "Counter[tuple[str, str]]") -> None:
        period, kind = self._backend.period(by), tables.events.c.type
        query = select(period, kind, func.count()).group_by(period, kind)
        for part in self._in_days(wanted):
            with self.reading(part.by_message) as connection:
                for name, event_type, number in connection.execute(query.where(*part.conditions(self._backend))):
                    found[name, event_type] += number

    def _in_days(self, wanted: Filter) -> Iterator[Filter]:
        """Filters that together select the same, each of at most a day, where long reads are in the way."""
        if not self._backend.reads_in_portions or wanted.recipient or wanted.message_id:
            yield wanted
            return
        columns = tables.events.c
        since = wanted.since
        while True:
            bounds = [columns.occurred_at >= since] if since else []
            bounds += [columns.occurred_at < wanted.until] if wanted.until else []
            with self.reading() as connection:
                found = connection.execute(select(func.min(columns.occurred_at)).where(*bounds)).scalar()
            if found is None:
                return
            begin = found.replace(tzinfo=UTC)
            end = min(begin + timedelta(days=1), wanted.until or datetime.max.replace(tzinfo=UTC))
            yield replace(wanted, since=begin, until=end)
            since = end


def _by_more(wanted: Filter) -> bool:
    """Whether a filter selects by something that the numbers do not tell apart."""
    others = wanted.mailing, wanted.profile, wanted.tag, wanted.source, wanted.text
    return wanted.is_pointed or any(one is not None for one in others)


def _hours(wanted: Filter) -> Iterator[tuple[Filter, bool]]:
    """Filters that together select the same; with each, whether it is about whole hours."""
    since, until = wanted.since, wanted.until
    try:
        begin = since and _hour_from(since)
    except OverflowError:  # in the last hour of all
        yield wanted, False
        return
    end = until and hour_of(until)
    if begin is not None and end is not None and begin >= end:
        yield wanted, False
        return
    if begin is not None and begin != since:
        yield replace(wanted, until=begin), False
    yield replace(wanted, since=begin, until=end), True
    if end is not None and end != until:
        yield replace(wanted, since=end), False


def hour_of(moment: datetime) -> datetime:
    """The beginning of the hour (UTC) that a moment is in."""
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def _hour_from(moment: datetime) -> datetime:
    """The first whole hour that does not begin earlier."""
    begin = hour_of(moment)
    return begin if begin == moment else begin + HOUR


def name_of(hour: datetime) -> str:
    """An hour as the numbers name it."""
    return hour.isoformat(" ")[: PERIODS["hour"]]
