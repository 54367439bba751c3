"""What is done once a day: delete what is too old, and make room for what is to come."""

import logging
import time

import redis

from ingest import redis_client
from ingest.errors import IngestError
from ingest.jobs import JobScheduler
from ingest.settings import Settings
from workers.runtime import unless_refused
from workers.store.store import Store

log = logging.getLogger(__name__)

DAY = 86_400


def daily_job() -> int:
    """The RQ job; returns how many events and calls were deleted for their age. Outcomes:

    done      everything older than `INGEST_RETENTION_DAYS` is gone
    killed    what was deleted is; the rest follows tomorrow
    failed    the database did not answer, which is said in one line: another job tries it in ten minutes
    """  # noqa: D415
    settings = Settings.read()
    try:
        return clean_up(settings)
    except IngestError as error:
        log.error("the daily clean-up failed and is tried again soon: %s", error)
        client = redis_client.connect(settings.redis)
        try:
            with unless_refused():
                JobScheduler(client).retry_daily()
        except redis.RedisError as gone:
            log.warning("nor does Redis answer: %s", gone)
        finally:
            client.close()
        return 0


def clean_up(settings: Settings) -> int:
    """Delete what is older than the retention, if there is one; returns how much that was.

    The age is that of the call, not of what it tells of: the delivery id begins with it.

    Raises:
        Unavailable: the database does not answer.
    """
    store = Store.open(settings.database)
    try:
        store.tidy()
        if not settings.retention_days:
            return 0
        gone = store.expire(int(time.time()) - settings.retention_days * DAY)
    finally:
        store.close()
    log.info("deleted %d events and calls older than %d days", gone, settings.retention_days)
    return gone
