"""What was found out about totals, kept in `mailing_totals` and `day_totals`; and what else is known of a day."""

import time
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

import orjson
from sqlalchemy import Connection, or_, select

from ingest.copernica.events import DAY, MICROS
from workers.gaps.gap import State
from workers.reconcile.basis import MIN_UNANIMOUS
from workers.reconcile.history import WHOLE_DAY
from workers.store import tables
from workers.store.rows import clean, json_text, load, micros, stored_time
from workers.store.store import Store
from workers.totals.ours import begin_of
from workers.totals.report import KINDS, Cause, Circumstances, DayTotals

#: Time for which a day whose totals differ is compared again, and waited for.
AGAIN_FOR = timedelta(days=14)
#: Days for which the totals of single mailings are kept, and those for which the result of a day is.
MAILINGS_KEPT = timedelta(days=62)
DAYS_KEPT = timedelta(days=400)


class Verdict(NamedTuple):
    """What was found out about a day: whether all totals agree; None if that could not be told.

    Once they agree that stays so: what the day had is in the store, whatever is deleted later.
    """

    agrees: bool | None
    #: What differs, or why that is not known.
    why: str
    attempts: int
    first_at: datetime
    last_at: datetime


def save(store: Store, found: DayTotals) -> Verdict:
    """Keep what was found out about a day, in one transaction; returns the verdict that counts from now on.

    Raises:
        Unavailable: the database cannot be used now.
    """
    now = stored_time(time.time_ns() // 1000)
    rows = [
        (
            found.day.isoformat(),
            line.product,
            line.mailing,
            line.kind.value,
            now,
            line.theirs.total,
            line.theirs.unique,
            line.ours.total or 0,
            line.ours.unique,
            line.agrees,
            orjson.dumps({"causes": line.causes}).decode(),
        )
        for line in found.lines
    ]
    days, mailings = tables.day_totals, tables.mailing_totals
    with store.writing() as connection:
        before = _verdicts(connection, found.day).get(found.day)
        agrees = True if before is not None and before.agrees else found.agrees
        details = {"notes": found.notes, "mailings": found.mailings, "requests": found.requests}
        whole = (
            found.day.isoformat(),
            stored_time(micros(before.first_at)) if before else now,
            now,
            1 + (before.attempts if before else 0),
            agrees,
            "" if agrees else clean(found.why),
            json_text(details),
        )
        connection.execute(days.delete().where(days.c.day == found.day))
        store.insert(connection, days, [whole])
        if found.error is None:
            connection.execute(mailings.delete().where(mailings.c.day == found.day))
            store.insert(connection, mailings, rows)
        return _verdicts(connection, found.day)[found.day]


def verdicts(store: Store, day: date | None = None) -> dict[date, Verdict]:
    """Every day whose totals were ever compared, or this one, and what was found out."""
    with store.reading() as connection:
        return _verdicts(connection, day)


def _verdicts(connection: Connection, day: date | None = None) -> dict[date, Verdict]:
    columns = tables.day_totals.c
    query = select(
        columns.day, columns.agrees, columns.why, columns.attempts, columns.first_at, columns.checked_at
    )
    return {
        row.day: Verdict(
            row.agrees,
            row.why,
            row.attempts,
            row.first_at.replace(tzinfo=UTC),
            row.checked_at.replace(tzinfo=UTC),
        )
        for row in connection.execute(query if day is None else query.where(columns.day == day))
    }


def expire(store: Store, today: date, retention_days: int) -> int:
    """Delete what is older than the retention, if there is one, or than is of use; returns how many rows."""
    deleted = 0
    for table, kept in ((tables.mailing_totals, MAILINGS_KEPT), (tables.day_totals, DAYS_KEPT)):
        age = min(kept, timedelta(days=retention_days)) if retention_days else kept
        with store.writing() as connection:
            deleted += connection.execute(table.delete().where(table.c.day < today - age)).rowcount
    return deleted


# --- what else is known of a day ---


def circumstances(store: Store, day: date) -> Circumstances:
    """What the log files, the gaps and the erasures of a day say."""
    known = Circumstances()
    with store.reading() as connection:
        _of_log_files(connection, day, known)
        suspicions = [] if _is_complete(connection, day) else [Cause.LOG_FILES]
        if _has_open_gap(connection, day):
            suspicions.append(Cause.GAP)
        erased = select(tables.tombstones.c.digest).where(
            tables.tombstones.c.erased_at >= int(begin_of(day).timestamp())
        )
        if connection.execute(erased.limit(1)).first() is not None:
            suspicions.append(Cause.ERASURE)
    known.suspicions = tuple(suspicions)
    return known


def _of_log_files(connection: Connection, day: date, known: Circumstances) -> None:
    """What the last comparison of each kind with its log files found."""
    columns = tables.reconciliations.c
    query = select(
        columns.kind, columns.only_in_store, columns.clock_offset, columns.details, columns.finished_at
    ).where(columns.day == day, columns.kind != WHOLE_DAY)
    last: dict[str, tuple[int, int, dict[str, object]]] = {}
    for kind, only_here, offset, details, _ in connection.execute(query.order_by(columns.finished_at)):
        last[kind] = only_here, offset, load(details)
    kinds = {kind.value: kind for kind in KINDS}
    most = MIN_UNANIMOUS - 1
    for name, (only_here, offset, details) in last.items():
        if (kind := kinds.get(name)) is not None:
            known.only_here[kind] += only_here + _number(details, "suspected")
            known.erased[kind] += _number(details, "erased")
        if (pairs := _number(details, "pairs")) > most:
            most, known.offset = pairs, offset


def _number(details: dict[str, object], name: str) -> int:
    value = details.get(name, 0)  # a release before 0.5 did not note all of them
    return value if isinstance(value, int) else 0


def _is_complete(connection: Connection, day: date) -> bool:
    columns = tables.reconciliations.c
    complete = select(columns.day).where(columns.day == day, columns.kind == WHOLE_DAY, columns.complete)
    return connection.execute(complete.limit(1)).first() is not None


def _has_open_gap(connection: Connection, day: date) -> bool:
    columns = tables.gaps.c
    begin = int(begin_of(day).timestamp()) * MICROS
    ended = or_(columns.until.is_(None), columns.until > begin)
    query = select(columns.since).where(
        columns.since < begin + DAY * MICROS, ended, columns.state != State.CLOSED.value
    )
    return connection.execute(query.limit(1)).first() is not None
