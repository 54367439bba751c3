"""The results of reconciliations, kept so that `ingest status` can say through which day nothing is missing."""

import time
from datetime import date, timedelta
from typing import NamedTuple

import orjson
from sqlalchemy import select

from workers.reconcile.report import DayReport, KindReport
from workers.store import tables
from workers.store.rows import clean, stored_time
from workers.store.store import Store

#: Where the files came from: over REST, or from this machine.
API, FILES = "api", "files"
#: What the row of a whole day has instead of a kind.
WHOLE_DAY = ""


class Through(NamedTuple):
    """Days without a gap that are complete: the last, and the first."""

    day: date
    since: date


def save(store: Store, report: DayReport, origin: str) -> None:
    """Keep a day's report, in one transaction, so that half a day cannot be taken for a whole one.

    Raises:
        Unavailable: the database cannot be used now.
    """
    now = stored_time(time.time_ns() // 1000)
    whole = KindReport(
        WHOLE_DAY,
        in_log=report.total("in_log"),
        in_store=report.total("in_store"),
        recovered=report.total("recovered"),
        unmatched=report.unmatched,
        only_in_store=report.total("only_in_store"),
        superseded=report.total("superseded"),
    )
    rows = [_row(report, kind, now, origin) for kind in (whole, *report.kinds)]
    with store.writing() as connection:
        store.insert(connection, tables.reconciliations, rows)


def _row(report: DayReport, kind: KindReport, now: str, origin: str) -> tuple[object, ...]:
    details: dict[str, object] = {
        "files": kind.files,
        "notes": kind.notes,
        "pairs": kind.pairs,
        "suspected": kind.suspected,
    }
    if kind.kind == WHOLE_DAY:
        details = {"underway": report.in_flight, "outages": [outage.as_dict() for outage in report.outages]}
    return (
        report.day.isoformat(),
        kind.kind,
        now,
        origin,
        report.complete,
        kind.in_log,
        kind.in_store,
        kind.recovered,
        kind.only_in_store,
        kind.unmatched,
        kind.superseded,
        kind.offset,
        clean(report.error) if report.error else None,
        clean(orjson.dumps(details).decode()),
    )


def states(store: Store) -> dict[date, bool]:
    """The days that were reconciled, and whether each was ever complete: what is in the store stays there."""
    columns = tables.reconciliations.c
    query = select(columns.day, columns.complete).where(columns.kind == WHOLE_DAY).order_by(columns.complete)
    with store.reading() as connection:
        return {row.day: row.complete for row in connection.execute(query)}


def complete_through(store: Store) -> Through | None:
    """The last complete day, and the first of the complete days before it; None if no day is complete."""
    complete = {day for day, state in states(store).items() if state}
    if not complete:
        return None
    last = first = max(complete)
    while first - timedelta(days=1) in complete:
        first -= timedelta(days=1)
    return Through(last, first)


def incomplete(store: Store) -> list[date]:
    """The days that were reconciled and are not complete."""
    return sorted(day for day, state in states(store).items() if not state)
