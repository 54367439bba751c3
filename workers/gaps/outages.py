"""What Copernica's log file says of calls that did not reach the endpoint: gaps, unless the day is complete."""

import time

from ingest.copernica.events import MICROS
from workers.gaps.gap import FOLLOWING, TURNS, Cause, Cut, State, cuts
from workers.gaps.intervals import Interval, fewest, union
from workers.reconcile.report import DayReport, Outage
from workers.store import tables
from workers.store.store import Store

#: Gaps of one day that are told apart; of more, those become one that are nearest to each other.
MOST = 50


def note(store: Store, report: DayReport, now: int | None = None) -> None:
    """Take over the outages of a day that was reconciled, in place of those of an earlier attempt.

    Raises:
        Unavailable: the database cannot be used now.
    """
    if not report.outages:
        return
    now = time.time_ns() // 1000 if now is None else now
    periods = fewest((_interval(one) for one in report.outages), MOST)
    columns = tables.gaps.c
    with store.writing() as connection:
        store.take_turns(connection, TURNS)
        known = cuts(
            connection,
            columns.cause == Cause.UNREACHABLE.value,
            columns.since >= periods[0][0],
            columns.since <= periods[-1][1],
        )
        taken = {row.key for row in known if row.state not in FOLLOWING}
        for row in known:
            if row.key not in taken:
                row.delete(connection)
        for row in (_cut(period, report, now) for period in periods):
            if row.key not in taken:
                row.put(store, connection)


def _interval(outage: Outage) -> Interval:
    return outage.since * MICROS, (outage.until + 1) * MICROS


def _cut(period: Interval, report: DayReport, now: int) -> Cut:
    within = [one for one in report.outages if union([period, _interval(one)]) == [period]]
    details: dict[str, object] = {"calls": {"": sum(one.calls for one in within)}}
    if report.complete:
        details["by"] = "log files"
    state = State.CLOSED if report.complete else State.ENDED
    return Cut(period[0], Cause.UNREACHABLE, period[1], state, now, details)
