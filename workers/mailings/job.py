"""The job that keeps the figures of mailings up to date: soon after events were stored, in a part of the time."""

import logging
import time

import redis

from ingest import redis_client
from ingest.errors import IngestError, Interrupted
from ingest.jobs import JobScheduler
from ingest.settings import Settings
from ingest.shown import counted
from workers.mailings.refresh import refresh
from workers.pausing import events_are_paused
from workers.runtime import stop_flag, unless_refused
from workers.store.store import Store

log = logging.getLogger(__name__)

#: Seconds that one job takes, about.
SLICE = 1.0
#: The part of the time that these jobs may take of one worker: drains share it.
SHARE = 0.04


def mailings_job() -> int:
    """Bring the figures of mailings up to date; an RQ job. Returns how many mailings that were.

    Outcomes: see `workers.jobs.mailings`.
    """
    settings = Settings.read()
    if events_are_paused(settings):
        return 0
    began = time.monotonic()
    try:
        with Store.open(settings.database) as store:
            done = refresh(store, SLICE, _breathe)
    except Interrupted:
        return 0
    except IngestError as error:
        log.error("the figures of mailings could not be made and will be tried again: %s", error)
        return 0
    took = time.monotonic() - began
    if done.mailings:
        made = counted(done.mailings, "mailing")
        log.debug("made the figures of %s in %.1f s", made, took, extra={"event": "mailings"})
    try:
        with redis_client.connect(settings.redis) as client, unless_refused():
            JobScheduler(client).rest_mailings(took * (1 / SHARE - 1), more=bool(done.left))
    except redis.RedisError as error:
        log.debug("the next job comes by itself: %s", error)
    return done.mailings


def _breathe() -> None:
    """Raise Interrupted once this worker was asked to stop."""
    if stop_flag.requested:
        raise Interrupted("the worker stops")
