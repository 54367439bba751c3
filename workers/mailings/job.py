"""The job that keeps the figures of mailings up to date: soon after events were stored, in a part of the time."""

import logging
import time

import redis

from ingest import partitions, redis_client
from ingest.errors import IngestError, Interrupted
from ingest.jobs import JobScheduler
from ingest.settings import Settings
from ingest.shown import counted
from ingest.stream.partitions import Partitions
from workers.drain.turns import Turns
from workers.mailings.refresh import refresh
from workers.pausing import events_are_paused
from workers.runtime import unless_refused
from workers.store.store import Store

log = logging.getLogger(__name__)

#: Seconds that one job takes, about, beside the turns of drains in it.
SLICE = 1.0
#: The part of the time that these jobs may take of one worker: drains share it.
SHARE = 0.04
#: The same where what is left is of days before, as when an upgrade has made the tables, or log files were
#: imported: that has an end, which somebody waits for.
SLICE_OLD, SHARE_OLD = 5.0, 0.3


def mailings_job() -> int:
    """Bring the figures of mailings up to date; an RQ job. Returns how many mailings that were.

    Outcomes: see `workers.jobs.mailings`.
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
            return _refresh(client, store, streams)
    except Interrupted:
        return 0
    except (IngestError, redis.RedisError) as error:
        log.error("the figures of mailings could not be made and will be tried again: %s", error)
        return 0


def _refresh(client: redis.Redis, store: Store, streams: Partitions) -> int:
    """Make figures for a slice, then rest for as long as the share of the time demands; returns of how many."""
    turns, began = Turns(streams), time.monotonic()
    done = refresh(store, SLICE, turns.take)
    old = done.is_old(time.time())
    if old:
        rest = refresh(store, SLICE_OLD - SLICE, turns.take)
        done = rest._replace(mailings=done.mailings + rest.mailings)
    took = time.monotonic() - began - turns.seconds
    made, left = counted(done.mailings, "mailing"), counted(done.left, "mailing")
    if done.left_from is not None and old:
        said = "made the figures of %s, and of others back to %s; %s left"
        log.info(said, made, done.left_from, left, extra={"event": "mailings"})
    elif done.mailings:
        log.debug("made the figures of %s in %.1f s", made, took, extra={"event": "mailings"})
    with unless_refused():
        share = SHARE_OLD if old else SHARE
        JobScheduler(client).rest_mailings(took * (1 / share - 1), more=bool(done.left))
    return done.mailings
