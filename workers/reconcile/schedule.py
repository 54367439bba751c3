"""Which days are to be reconciled when: every day that is not complete, for as long as Copernica keeps its files.

Every day is owed from the first one on that was reconciled in time, and each day that was tried in vain. It is
tried again after a pause that doubles with each attempt: an hour at first where something failed, a day where
something is wrong with the files. Where Copernica no longer has the files, a look once a week is enough.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from types import MappingProxyType
from typing import NamedTuple, Self

from workers.reconcile import history
from workers.reconcile.history import Tried
from workers.reconcile.report import days_between
from workers.store.store import Store
from workers.totals.history import AGAIN_FOR, verdicts

#: Days back that are looked at at all: Copernica keeps log files for some months.
KEPT = timedelta(days=400)
#: A day that was reconciled within so long was reconciled in time: from it on, every day is owed.
IN_TIME = timedelta(days=31)
#: First and longest pause after an attempt that failed, and after one in which all went well but the files.
FAILED_PAUSES = timedelta(hours=1), timedelta(days=1)
INCOMPLETE_PAUSES = timedelta(days=1), timedelta(days=7)
#: Pause after Copernica said that it no longer has the files.
GONE_PAUSE = timedelta(days=7)


class Through(NamedTuple):
    """Days without a gap that are complete: the last, and the first."""

    day: date
    since: date


class Schedule:
    """The days before today, and how each of them stands at a moment."""

    def __init__(
        self,
        tried: Mapping[date, Tried],
        today: date,
        now: datetime,
        totals: Mapping[date, bool | None] = MappingProxyType({}),
    ) -> None:
        """`totals` says of days whether Copernica's totals agree with the store; None: nobody knows."""
        self._now = now
        self._totals = totals
        self._yesterday = today - timedelta(days=1)
        earliest = today - KEPT
        # Days that are still to come were noted when the clock was wrong.
        self._tried = {day: one for day, one in tried.items() if day <= self._yesterday}
        in_time = [
            day for day, one in self._tried.items() if one.first_at and one.first_at.date() - day <= IN_TIME
        ]
        first = max(min(in_time, default=self._yesterday), earliest)
        untried = [day for day in days_between(first, self._yesterday) if day not in self._tried]
        unfinished = [day for day, one in self._tried.items() if not one.complete and day >= earliest]
        self._owed = sorted((*unfinished, *untried))

    @classmethod
    def of(cls, store: Store, today: date | None = None, now: datetime | None = None) -> Self:
        """What the store says of them; `today` is in UTC."""
        now = now or datetime.now(UTC)
        today = today or now.date()
        totals = {day: verdict.agrees for day, verdict in verdicts(store).items() if day < today}
        return cls(history.tried(store), today, now, totals)

    def due(self, most: int) -> list[date]:
        """The days to reconcile now, the oldest first: those that Copernica deletes next."""
        return [day for day in self._owed if self._due_at(day) <= self._now][:most]

    def next_due(self) -> datetime | None:
        """When one of the days that are owed is due next; None if none is owed."""
        return min(map(self._due_at, self._owed), default=None)

    def next_try(self, day: date) -> datetime | None:
        """When a day is due next; None if nothing is owed of it."""
        return self._due_at(day) if day in self._owed else None

    def _due_at(self, day: date) -> datetime:
        one = self._tried.get(day)
        if one is None or one.last_at is None or one.last_at > self._now:  # … or the clock was wrong
            return self._now
        first, longest = FAILED_PAUSES if one.failed else INCOMPLETE_PAUSES
        doublings = min(one.attempts - 1, 20)  # more would not fit
        return one.last_at + (GONE_PAUSE if one.gone else min(first * 2**doublings, longest))

    @property
    def incomplete(self) -> list[date]:
        """Days that may lack events: those that were tried, or passed over, and those whose totals differ."""
        tried = [day for day in self._owed if day in self._tried or day < self._yesterday]
        return sorted({*tried, *self.differing})

    @property
    def differing(self) -> list[date]:
        """Days whose log files are complete, but whose totals differ."""
        return sorted(
            day
            for day, agrees in self._totals.items()
            if agrees is False and self._tried.get(day, Tried()).complete
        )

    def log_files(self, day: date) -> bool | None:
        """Whether everything in a day's log files is in the store; None if they were not compared."""
        return self._tried[day].complete if day in self._tried else None

    def is_complete(self, day: date) -> bool | None:
        """Whether a day is complete; None if that is not known yet."""
        if day in self._tried:
            return self._tried[day].complete and self._totals.get(day) is not False
        return False if day in self.incomplete else None

    @property
    def gone(self) -> list[date]:
        """Those of them whose files Copernica no longer has."""
        return [day for day in self._owed if (one := self._tried.get(day)) and one.gone]

    @property
    def through(self) -> Through | None:
        """The last day before the first that is owed, and the first of the complete days before it.

        Days that can never be complete are no reason to wait: what is told then begins after them.
        """
        gone, differing = set(self.gone), self.differing
        compared_again = [day for day in differing if day > self._yesterday - AGAIN_FOR]
        awaited = min((*(day for day in self._owed if day not in gone), *compared_again), default=date.max)
        complete = {day for day, one in self._tried.items() if one.complete} - set(differing)
        reached = [day for day in complete if day < awaited]
        if not reached:
            return None
        last = first = max(reached)
        while first - timedelta(days=1) in complete:
            first -= timedelta(days=1)
        return Through(last, first)
