"""The results of reconciliations, kept so that `ingest status` can say through which day nothing is missing."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import NamedTuple

from sqlalchemy import Connection, select

from ingest.errors import Interrupted, InvalidToken
from workers.reconcile.basis import MIN_UNANIMOUS, Basis
from workers.reconcile.report import DayCause, DayReport, KindReport
from workers.store import tables
from workers.store.rows import clean, json_text, load, stored_time
from workers.store.store import Store

#: Where the files came from: over REST, or from this machine.
API, FILES = "api", "files"
#: What the row of a whole day has instead of a kind.
WHOLE_DAY = ""


#: Results of kinds that are looked through for one that measured the clocks: those of a month of days.
RECENT = 400

#: The error of an attempt that has begun; it stays where the attempt's process is killed.
CUT_SHORT = "The attempt was cut short: its process was killed, or lost the database."


class Tried(NamedTuple):
    """What became of a day so far.

    `attempts` are those over REST, the first and last of which ended at `first_at` and `last_at`. The last one
    `failed`, or found the files `gone`. Once a day is complete it stays so, as what is in the store does.
    """

    complete: bool = False
    attempts: int = 0
    failed: bool = False
    gone: bool = False
    first_at: datetime | None = None
    last_at: datetime | None = None


@contextmanager
def attempt(store: Store, day: date) -> Iterator[str]:
    """Note that a day is being reconciled, so that a day which kills its worker counts as tried; for `save`.

    Nothing is noted of an attempt that ends for a reason that has nothing to do with the day.
    """
    began = stored_time(time.time_ns() // 1000)
    with store.writing() as connection:
        note = _row(DayReport(day, error=CUT_SHORT, cause=DayCause.CUT_SHORT), KindReport(WHOLE_DAY), began, API)
        store.insert(connection, tables.reconciliations, [note])
    try:
        yield began
    except (Interrupted, InvalidToken, KeyboardInterrupt):
        with store.writing() as connection:
            _forget(connection, day, began)
        raise


def _forget(connection: Connection, day: date, began: str) -> None:
    columns = tables.reconciliations.c
    noted = (
        columns.day == day,
        columns.kind == WHOLE_DAY,
        columns.finished_at == datetime.fromisoformat(f"{began}Z"),
    )
    connection.execute(tables.reconciliations.delete().where(*noted))


def save(store: Store, report: DayReport, origin: str, began: str | None = None) -> None:
    """Keep a day's report, in one transaction, so that half a day cannot be taken for a whole one.

    It replaces the note that `attempt` made when it `began`.

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
        if began is not None:
            _forget(connection, report.day, began)
        store.insert(connection, tables.reconciliations, rows)


def _row(report: DayReport, kind: KindReport, now: str, origin: str) -> tuple[object, ...]:
    details: dict[str, object] = {
        "files": kind.files,
        "notes": kind.notes,
        "pairs": kind.pairs,
        "suspected": kind.suspected,
        "erased": kind.erased,
        "expired": kind.expired,
    }
    if kind.kind == WHOLE_DAY:
        outages = [outage.as_dict() for outage in report.outages]
        details = {"underway": report.in_flight, "outages": outages, "gone": report.gone}
        details |= {"cause": report.cause} if report.cause else {}
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
        json_text(details),
    )


def tried(store: Store) -> dict[date, Tried]:
    """Every day that was ever reconciled, and what became of it."""
    columns = tables.reconciliations.c
    query = select(
        columns.day, columns.finished_at, columns.origin, columns.complete, columns.error, columns.details
    )
    days: dict[date, Tried] = {}
    with store.reading() as connection:
        rows = connection.execute(query.where(columns.kind == WHOLE_DAY).order_by(columns.finished_at))
        for day, finished_at, origin, complete, error, details in rows:
            before = days.get(day, Tried())
            after = before._replace(complete=before.complete or complete)
            if origin == API:
                at = finished_at.replace(tzinfo=UTC)
                after = after._replace(
                    attempts=before.attempts + 1,
                    failed=error is not None,
                    gone=bool(load(details).get("gone")),
                    first_at=before.first_at or at,
                    last_at=at,
                )
            days[day] = after
    return days


def clocks(store: Store) -> Basis:
    """By how much the clocks differ, as it was measured last; no difference if it never was."""
    columns = tables.reconciliations.c
    query = select(columns.clock_offset, columns.details).where(columns.kind != WHOLE_DAY)
    with store.reading() as connection:
        for offset, details in connection.execute(query.order_by(columns.finished_at.desc()).limit(RECENT)):
            if (pairs := int(load(details).get("pairs") or 0)) >= MIN_UNANIMOUS:
                return Basis(offset, pairs)
    return Basis()
