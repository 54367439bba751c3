"""The daily reconciliation: what `ingest reconcile` does, once a day and by itself.

It runs on the queue of the drains, so it lets them have their turn: whenever calls wait and no drain is at work on
them, it drains for a slice itself. Asked to stop, it breaks off; another job begins anew then.
"""

import logging
import time
from datetime import UTC, date, datetime, timedelta

import redis

from ingest import redis_client
from ingest.errors import IngestError, Interrupted
from ingest.jobs import JobScheduler
from ingest.settings import Settings
from ingest.stream.consumer import Consumer
from workers.drain import drain
from workers.reconcile import history
from workers.reconcile.report import days_between
from workers.reconcile.run import ReconcileOptions, reconcile
from workers.runtime import stop_flag, unless_refused
from workers.store.store import Store

log = logging.getLogger(__name__)

#: Days that are made up for at the most, after days on which nobody reconciled.
CATCH_UP = 7
#: Seconds between two looks at whether calls wait to be drained.
LOOK_EVERY = 1.0
#: Seconds after which it is tried again: when its worker was stopped, and when something did not answer.
SOON, LATER = 60, 3600


def reconcile_job() -> int:
    """The RQ job; returns how many events were recovered. Outcomes:

    done      every day up to yesterday is complete, or as complete as its log files let it be
    killed    what was recovered is in the store; another job does the rest
    failed    Copernica, Redis or the database did not answer, which is said in one line: it is tried again
    """  # noqa: D415
    settings = Settings.read()
    day = today()
    try:
        return _catch_up(settings, day)
    except (IngestError, redis.RedisError) as error:
        log.error("the daily reconciliation broke off and is tried again later: %s", error)
        _again(settings, day, SOON if isinstance(error, Interrupted) else LATER)
        return 0


def today() -> date:
    """The day that it is, in UTC."""
    return datetime.now(UTC).date()


def _catch_up(settings: Settings, today: date) -> int:
    store = Store.open(settings.database)
    try:
        days = due(store, today)
    finally:
        store.close()
    recovered = 0
    failed = False
    for report in reconcile(settings, days, ReconcileOptions(), _nobody, Turns(settings).take):
        recovered += report.total("recovered")
        failed = failed or report.error is not None
        log.log(
            logging.INFO if report.complete else logging.WARNING,
            "reconciled %s: %d events recovered, %s", report.day, report.total("recovered"),
            "complete" if report.complete else f"not complete: {report.why}",
        )  # fmt: skip
    if failed:  # a damaged line will not be whole in an hour
        _again(settings, today, LATER)
    return recovered


def due(store: Store, today: date) -> list[date]:
    """The days before today that are to be looked at: those after the last complete one, but not all too many."""
    through = history.complete_through(store)
    yesterday = today - timedelta(days=1)
    first = through.day + timedelta(days=1) if through else yesterday
    return days_between(max(first, today - timedelta(days=CATCH_UP)), yesterday)


def _again(settings: Settings, today: date, seconds: int) -> None:
    """Let the job be tried once more before tomorrow."""
    try:
        client = redis_client.connect(settings.redis)
        with unless_refused():
            JobScheduler(client).retry_reconcile(today.isoformat(), seconds)
        client.close()
    except redis.RedisError as error:
        log.warning("nor does Redis answer: %s", error)


class Turns:
    """Lets the drains have their turn."""

    def __init__(self, settings: Settings) -> None:
        self._client = redis_client.connect(settings.redis)
        self._looked_at = 0.0

    def take(self) -> None:
        """Drain for a slice if calls wait and nobody is at work on them.

        Raises:
            Interrupted: this process was asked to stop.
        """
        if stop_flag.requested:
            raise Interrupted("The worker was asked to stop.")
        if time.monotonic() - self._looked_at < LOOK_EVERY:
            return
        backlog = Consumer(self._client)
        if backlog.batches() and not backlog.drains_at_work():
            drain.drain_job()
        self._looked_at = time.monotonic()


def _nobody(_what: str, _done: int, _total: int | None) -> None:
    """A job has nobody to show its progress to."""
