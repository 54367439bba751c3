"""Brings the tables `coverage` and `gaps` up to date with what endpoints said, and with what log files closed.

Whoever does this twice, or at the same time, or is killed in the middle of it, does no harm: it is one
transaction, and nothing is forgotten in Redis before that.
"""

import logging
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import redis
from sqlalchemy import Connection, or_

from ingest import partitions, redis_client
from ingest.copernica.events import MICROS
from ingest.errors import IngestError
from ingest.jobs import JobScheduler
from ingest.settings import Settings
from ingest.stream.coverage import Coverage, Statement
from workers.gaps import coverage, lineage, stream_marks
from workers.gaps.filling import AFTER
from workers.gaps.finding import absences, losses
from workers.gaps.gap import FOUND_ONCE, NEAR, TURNS, Cut, State, cuts
from workers.pausing import events_are_paused
from workers.reconcile import history
from workers.reconcile.report import days_between
from workers.runtime import unless_refused
from workers.store import tables
from workers.store.store import Store

log = logging.getLogger(__name__)

#: µs after it was made from which a statement is forgotten: a process that lives makes it again in a few seconds.
FORGET = 600 * MICROS
#: µs for which what was closed may still be touched by what is found: far more than coverage is kept.
SETTLED = 24 * 3600 * MICROS
#: Days after which nothing more is to be had of a gap whose log files are gone.
RESULTS_DAYS = 30


def look_job() -> int:
    """Look for gaps; an RQ job. Returns how many are not closed.

    done      the tables are up to date
    failed    Redis or the database did not answer: logged in one line, and a sweep enqueues another job
    """
    settings = Settings.read()
    if events_are_paused(settings):
        return 0
    try:
        with (
            redis_client.connect(settings.redis) as client,
            partitions.opened(settings, client) as streams,
            Store.of(settings) as store,
        ):
            mark = lineage.compare(store, client, streams)
            if mark is not None and mark.clashed_at != mark.at:
                stream_marks.compare(store, client, streams, mark)
            gaps = look(store, Coverage(client))
            with unless_refused():
                JobScheduler(client).note_gaps(any(gap.state is not State.CANNOT_BE_CLOSED for gap in gaps))
        return len(gaps)
    except (IngestError, redis.RedisError) as error:
        log.error("gaps cannot be looked for: %s", error)
        return 0


def look(store: Store, said: Coverage) -> list[Cut]:
    """Bring the tables up to date; returns the gaps that are not closed.

    Raises:
        redis.RedisError: Redis failed.
        Unavailable: the database cannot be used now.
    """
    now, statements = said.time(), said.statements()
    gaps = update(store, statements, now)
    said.forget(one.name for one in statements if now - one.at > FORGET)
    unclosed = [gap for gap in gaps if gap.state is not State.CLOSED]
    return close_by_log_files(store, unclosed, now)


def update(store: Store, statements: Sequence[Statement], now: int) -> list[Cut]:
    """Take over what processes said; returns the gaps that may still change, `now` being the time by Redis."""
    with store.writing() as connection:
        store.take_turns(connection, TURNS)
        before = coverage.read(connection)
        rows = coverage.merged(before, statements, now)
        known = _known(connection, now)
        found = [*absences(rows, known, now), *losses(statements, known, now)]
        found += [row for row in known if row.cause in FOUND_ONCE]
        _replace(store, connection, known, found)
        coverage.write(store, connection, before, coverage.settled(rows, now))
    _tell(known, found)
    return found


def _known(connection: Connection, now: int) -> list[Cut]:
    columns = tables.gaps.c
    return cuts(connection, or_(columns.state != State.CLOSED.value, columns.until > now - SETTLED))


def _replace(store: Store, connection: Connection, before: Sequence[Cut], rows: Sequence[Cut]) -> None:
    old, new = {row.key: row for row in before}, {row.key: row for row in rows}
    for key in old.keys() - new.keys():
        old[key].delete(connection)
    for key, row in new.items():
        if old.get(key) != row:
            row.put(store, connection)


def _tell(before: Sequence[Cut], rows: Sequence[Cut]) -> None:
    old = {row.key: row for row in before}
    for row in rows:
        if row.state is State.ENDED and (row.key not in old or old[row.key].state is State.OPEN):
            length = ((row.until or row.since) - row.since) / MICROS
            log.warning(
                "calls may be missing: %s for %.0f s from %s, see `ingest gaps`",
                row.cause,
                length,
                _time(row.since),
                extra={"event": "gap-found"},
            )


def _time(moment: int) -> str:
    return datetime.fromtimestamp(moment // MICROS, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# --- what log files say of them ---


def close_by_log_files(store: Store, gaps: Sequence[Cut], now: int) -> list[Cut]:
    """Close the gaps all days of which are complete; returns the others.

    Those of which nothing more is to be had are given up.
    """
    today = datetime.fromtimestamp(now // MICROS, UTC).date()
    waiting = [gap for gap in gaps if gap.state in (State.ENDED, State.CANNOT_BE_CLOSED) and _last(gap) < today]
    if not waiting:
        return list(gaps)
    tried = history.tried(store)
    complete = {day for day, one in tried.items() if one.complete}
    gone = {day for day, one in tried.items() if one.gone and today - day > timedelta(RESULTS_DAYS)}
    changed = {}
    for gap in waiting:
        days = set(days_between(_first(gap), _last(gap)))
        if days <= complete:
            changed[gap.key] = gap.turned(State.CLOSED, now, by="log files", error=None, retry_at=None)
        elif gap.state is State.ENDED and days & gone:
            error = "Copernica no longer has the log files."
            changed[gap.key] = gap.turned(State.CANNOT_BE_CLOSED, now, error=error, retry_at=None)
    if changed:
        with store.writing() as connection:
            store.take_turns(connection, TURNS)
            for row in cuts(connection, tables.gaps.c.since.in_([since for since, _ in changed])):
                if row.key in changed and row.state is not State.CATCHING_UP and row.until is not None:
                    changed[row.key].put(store, connection)
    closed = {key for key, gap in changed.items() if gap.state is State.CLOSED}
    return [changed.get(gap.key, gap) for gap in gaps if gap.key not in closed]


def _first(gap: Cut) -> date:
    """The first day whose log files may have what is missing: an event occurs before its call comes."""
    return datetime.fromtimestamp(gap.since // MICROS - NEAR, UTC).date()


def _last(gap: Cut) -> date:
    return datetime.fromtimestamp(((gap.until or gap.since) // MICROS) + AFTER, UTC).date()
