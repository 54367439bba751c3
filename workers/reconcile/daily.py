"""The daily reconciliation: what `ingest reconcile` does, by itself, once a day and until every day is complete.

It shares the queue of the drains, so it gives them their turn: whenever calls wait and no drain works on them, it
drains for a slice itself. Asked to stop, it stops in the middle; another job starts over then.
"""

import logging
import math
from datetime import UTC, date, datetime

import redis

from ingest import partitions, redis_client, shown
from ingest.copernica.events import DAY
from ingest.errors import IngestError, Interrupted
from ingest.jobs import JobScheduler
from ingest.settings import Settings
from workers.drain.turns import Turns
from workers.pausing import events_are_paused
from workers.reconcile.report import DayReport
from workers.reconcile.run import ReconcileOptions, reconcile
from workers.reconcile.schedule import Schedule
from workers.runtime import unless_refused
from workers.store.store import Store
from workers.totals import daily as totals

log = logging.getLogger(__name__)

#: Most days of one job: then it lets another begin, so that no job runs into its time limit.
MOST_DAYS = 31
#: Seconds until the next job: after its worker was stopped or more is due, and after a server was unavailable.
SOON, LATER = 60, 3600


def reconcile_job() -> int:
    """Reconcile what is due; an RQ job.

    Returns how many events were recovered. Outcomes:

    done      every day that was due is complete, or will be tried again when the schedule says so
    killed    what was recovered is in the store; another job does the rest
    failed    Copernica, Redis or the database did not answer: logged in one line, tried again later
    """
    settings = Settings.read()
    day = today()
    if events_are_paused(settings, lambda scheduler: scheduler.retry_reconcile(day.isoformat(), SOON)):
        return 0
    try:
        return _catch_up(settings, day)
    except (IngestError, redis.RedisError) as error:
        log.error("the daily reconciliation stopped early and will be tried again later: %s", error)
        _retry_in(settings, day, SOON if isinstance(error, Interrupted) else LATER)
        return 0


def today() -> date:
    """Today's date in UTC."""
    return datetime.now(UTC).date()


def _catch_up(settings: Settings, today: date) -> int:
    with Store.of(settings) as store:
        days = due(store, today)
    recovered = 0
    with partitions.opened(settings) as streams:
        for report in reconcile(settings, days, ReconcileOptions(), no_progress, Turns(streams).take):
            recovered += report.total("recovered")
            _log(report)
        totals.compare_due(settings, today, Turns(streams).take)
    with Store.of(settings) as store:
        next_due = Schedule.of(store, today).next_due()
    if next_due is not None:
        _retry_in(settings, today, max(SOON, math.ceil((next_due - datetime.now(UTC)).total_seconds())))
    return recovered


def due(store: Store, today: date) -> list[date]:
    """The days before today to reconcile now."""
    return Schedule.of(store, today).due(MOST_DAYS)


def _log(report: DayReport) -> None:
    level = logging.INFO if report.complete else logging.WARNING
    outcome = "complete" if report.complete else f"not complete: {report.why}"
    recovered = shown.counted(report.total("recovered"), "event")
    log.log(level, "reconciled %s: %s recovered, %s", report.day, recovered, outcome)


def _retry_in(settings: Settings, today: date, seconds: int) -> None:
    """Let the job be enqueued once more, before tomorrow if that is sooner."""
    if seconds >= DAY:
        return  # by then it is tomorrow
    try:
        with redis_client.connect(settings.redis) as client, unless_refused():
            JobScheduler(client).retry_reconcile(today.isoformat(), seconds)
    except redis.RedisError as error:
        log.warning("Redis is unreachable too: %s", error)


def no_progress(_what: str, _done: int, _total: int | None) -> None:
    """A job has no one to show its progress to."""
