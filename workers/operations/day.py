"""Everything that is known of one day: what the console shows of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, case, func, or_, select

from ingest.copernica.event_types import EventType
from ingest.copernica.events import DAY, MICROS
from ingest.shown import counted
from workers.gaps.gap import Cut, cuts
from workers.operations.calendar import DayStanding, DayState, micros_of, standings
from workers.reconcile.history import CUT_SHORT, WHOLE_DAY
from workers.reconcile.report import DayCause
from workers.reconcile.schedule import Schedule
from workers.store import tables
from workers.store.rows import load
from workers.store.store import Store
from workers.totals.history import Verdict, verdicts
from workers.totals.ours import begin_of
from workers.totals.report import Cause, Line, Number

#: Runs that are shown of a day, the newest first: a day is tried again once a week for as long as a year.
MOST_RUNS = 50
#: Totals of mailings that are shown, those that differ first: 6 kinds of 30 mailings.
MOST_TOTALS = 180
#: Days whose reasons are told together.
MOST_REASONS = 31
#: Gaps that are shown of a day.
MOST_GAPS = 100
#: Outages that a run has found, and notes on a kind, that are shown.
MOST_OUTAGES, MOST_NOTES = 50, 20


class Run(NamedTuple):
    """One comparison of a day with its log files, over REST (`api`) or with `files` of this machine."""

    finished_at: datetime
    origin: str
    complete: bool
    in_log: int
    in_store: int
    recovered: int
    only_in_store: int
    unmatched: int
    superseded: int
    error: str | None
    details: Mapping[str, Any]

    @property
    def key(self) -> str:
        """What tells it from the others of its day."""
        return self.finished_at.strftime("%Y%m%dT%H%M%S%f")

    @property
    def cause(self) -> DayCause | None:
        """Why it is not complete, where that is known by more than a sentence."""
        return _cause(self.error, self.unmatched, self.details)

    @property
    def outages(self) -> Sequence[Mapping[str, Any]]:
        """Periods in which Copernica could not reach the endpoint, by its log, as `Outage.as_dict` has them."""
        found = self.details.get("outages") or ()
        return found[:MOST_OUTAGES] if isinstance(found, list) else ()

    @property
    def underway(self) -> int | None:
        """Calls that were still on their way to the store; None: Redis did not answer."""
        found = self.details.get("underway")
        return found if isinstance(found, int) else None


class KindLine(NamedTuple):
    """What a run found of one kind of event; the figures are those of `KindReport`."""

    kind: str
    in_log: int
    in_store: int
    recovered: int
    only_in_store: int
    unmatched: int
    superseded: int
    offset: int
    details: Mapping[str, Any]

    @property
    def notes(self) -> Sequence[str]:
        """What a person should read."""
        found = self.details.get("notes") or ()
        return [str(note) for note in found[:MOST_NOTES]] if isinstance(found, list) else ()

    def number(self, name: str) -> int:
        """A figure that has no column: `erased`, `suspected`, `pairs`."""
        found = self.details.get(name, 0)
        return found if isinstance(found, int) else 0


@dataclass(slots=True)
class DayDetail:
    """One day (UTC)."""

    standing: DayStanding
    #: Events by hour of the day: how many came by webhook, from log files and over REST.
    hours: list[dict[str, int]]
    runs: list[Run] = field(default_factory=list)
    #: The run whose kinds are shown, and those.
    run: Run | None = None
    kinds: list[KindLine] = field(default_factory=list)
    verdict: Verdict | None = None
    totals: list[Line] = field(default_factory=list)
    gaps: list[Cut] = field(default_factory=list)
    #: When it is tried again by itself; None if it is not.
    next_at: datetime | None = None

    @property
    def day(self) -> date:
        """Which one it is."""
        return self.standing.day

    @property
    def measured(self) -> KindLine | None:
        """The kind on whose events the clocks were compared best."""
        return max(self.kinds, key=lambda kind: kind.number("pairs"), default=None)

    @property
    def differing(self) -> list[Line]:
        """Totals that differ and are not accounted for."""
        return [line for line in self.totals if line.agrees is False]


def look(store: Store, day: date, run: str = "", now: datetime | None = None) -> DayDetail:
    """Everything that is known of a day that has begun; `run` is the key of the run to show, else the last.

    Raises:
        Unavailable: the database cannot be used now.
    """
    now = now or datetime.now(UTC)
    (standing,) = standings(store, day, day, now)
    detail = DayDetail(standing, _hours(store, day))
    detail.next_at = Schedule.of(store, now.date(), now).next_try(day)
    detail.verdict = verdicts(store, day).get(day)
    with store.reading() as connection:
        detail.runs = _runs(connection, day)
        detail.run = next((one for one in detail.runs if one.key == run), detail.runs[0] if detail.runs else None)
        if detail.run is not None:
            detail.kinds = _kinds(connection, day, detail.run)
        detail.totals = _totals(connection, day)
        detail.gaps = _gaps(connection, day)
    return detail


def _runs(connection: Connection, day: date) -> list[Run]:
    columns = tables.reconciliations.c
    query = (
        select(
            columns.finished_at, columns.origin, columns.complete, columns.in_log, columns.in_store,
            columns.recovered, columns.only_in_store, columns.unmatched, columns.superseded, columns.error,
            columns.details,
        )
        .where(columns.day == day, columns.kind == WHOLE_DAY)
        .order_by(columns.finished_at.desc())
        .limit(MOST_RUNS)
    )  # fmt: skip  # a list to be read across
    return [
        Run._make((finished_at.replace(tzinfo=UTC), *rest, load(details)))
        for finished_at, *rest, details in connection.execute(query)
    ]


def _kinds(connection: Connection, day: date, run: Run) -> list[KindLine]:
    columns = tables.reconciliations.c
    query = select(
        columns.kind, columns.in_log, columns.in_store, columns.recovered, columns.only_in_store,
        columns.unmatched, columns.superseded, columns.clock_offset, columns.details,
    ).where(
        columns.day == day, columns.kind != WHOLE_DAY, columns.finished_at == run.finished_at
    )  # fmt: skip  # a list to be read across
    rows = [KindLine._make((*rest, load(details))) for *rest, details in connection.execute(query)]
    return sorted(rows, key=lambda row: (-row.in_log, row.kind))


def _totals(connection: Connection, day: date) -> list[Line]:
    """Totals beside each other: those that differ first, then what is accounted for or unknown, then the rest."""
    columns = tables.mailing_totals.c
    rank = case((columns.agrees.is_(False), 0), (columns.agrees.is_(None), 1), else_=2)
    larger = func.coalesce(columns.theirs, columns.ours)
    query = (
        select(tables.mailing_totals)
        .where(columns.day == day)
        .order_by(rank, larger.desc(), columns.mailing, columns.kind)
        .limit(MOST_TOTALS)
    )
    return [
        Line(
            row.product,
            row.mailing,
            EventType(row.kind),
            Number(row.theirs, row.theirs_unique),
            Number(row.ours, row.ours_unique),
            _causes(load(row.details)),
        )
        for row in connection.execute(query)
    ]


def _causes(details: Mapping[str, Any]) -> list[Cause]:
    known = {cause.value: cause for cause in Cause}
    return [known[name] for name in details.get("causes") or () if name in known]


def _gaps(connection: Connection, day: date) -> list[Cut]:
    columns = tables.gaps.c
    begin = micros_of(day)
    within = columns.since < begin + DAY * MICROS, or_(columns.until.is_(None), columns.until > begin)
    return cuts(connection, *within)[:MOST_GAPS]


def _hours(store: Store, day: date) -> list[dict[str, int]]:
    """Events of each hour by source, from the numbers that are kept; empty while an upgrade still makes them."""
    found: list[dict[str, int]] = [{} for _ in range(24)]
    if not store.is_counted:
        return found
    begin = begin_of(day)
    for hour, numbers in store.hourly_sources(begin, begin + timedelta(days=1)):
        found[int(hour[-2:])] = numbers
    return found


# --- days that somebody should look at ---


class Reason(NamedTuple):
    """Why a day is not complete, and when it is tried again by itself (None: it is not)."""

    standing: DayStanding
    #: In words of the runbook; empty where its log files were never compared.
    why: str
    #: The same by its kind; None where that is not known.
    cause: DayCause | None
    next_at: datetime | None


def reasons(store: Store, found: Sequence[DayStanding], now: datetime | None = None) -> list[Reason]:
    """Those of these days that lack something, the newest first, and why; at most `MOST_REASONS`.

    Raises:
        Unavailable: the database cannot be used now.
    """
    now = now or datetime.now(UTC)
    lacking = (DayState.INCOMPLETE, DayState.GONE, DayState.DIFFERING)
    wanted = [one for one in reversed(found) if one.state in lacking][:MOST_REASONS]
    if not wanted:
        return []
    schedule, differ = Schedule.of(store, now.date(), now), verdicts(store)
    errors = _errors(store, [one.day for one in wanted])
    return [
        Reason(
            one,
            *((differ[one.day].why, None) if one.state is DayState.DIFFERING else errors.get(one.day, ("", None))),
            schedule.next_try(one.day),
        )
        for one in wanted
    ]


def _errors(store: Store, days: Sequence[date]) -> dict[date, tuple[str, DayCause | None]]:
    """Why the last run of each day did not find it complete."""
    columns = tables.reconciliations.c
    query = select(columns.day, columns.error, columns.unmatched, columns.details).where(
        columns.kind == WHOLE_DAY, columns.day.in_(days)
    )
    with store.reading() as connection:
        rows = connection.execute(query.order_by(columns.finished_at)).all()
    return {
        day: (
            error
            or f"{counted(unmatched, 'line was', 'lines were')} neither found nor recovered" * bool(unmatched),
            _cause(error, unmatched, load(details)),
        )
        for day, error, unmatched, details in rows
    }


def _cause(error: str | None, unmatched: int, details: Mapping[str, Any]) -> DayCause | None:
    """What kept a day from being complete; rows of release 0.2 and before do not name it."""
    if error == CUT_SHORT:
        return DayCause.CUT_SHORT
    if details.get("gone"):
        return DayCause.GONE
    if error is None:
        return DayCause.UNMATCHED if unmatched else None
    named = details.get("cause")
    return next((one for one in DayCause if one == named), None)
