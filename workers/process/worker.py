"""`ingest worker`: a standard RQ worker with manners, and what keeps it going.

What it does differently from `rq worker`: it wakes itself when it starts and finds a backlog; it stops in time
(`workers.process.graceful` says how); it comes back when Redis went away; and when Redis is so full that RQ cannot
put down a job, it makes room by draining without one.
"""

import logging
import os
import signal
import time
from datetime import UTC, datetime
from functools import partial
from types import FrameType

import redis
from rq import Queue
from rq.exceptions import StopRequested
from rq.serializers import JSONSerializer

from ingest import redis_client
from ingest.jobs import EVENTS_QUEUE, HANDLERS_QUEUE, JobScheduler
from ingest.processes import Child, follow_parent, own_command
from ingest.settings import Settings
from ingest.stream.consumer import Consumer
from workers.handlers import configured, jobs  # noqa: F401  # imported once here, not again in every work-horse
from workers.process.graceful import PoliteWorker
from workers.store.store import Store

log = logging.getLogger(__name__)

#: Seconds before a worker that lost Redis begins again.
RESTART_DELAY = 2.0
#: Seconds after which a worker that gave no sign of life is no longer listed; with RQ's own 420, `status` would
#: show workers that were killed minutes ago.
WORKER_TTL = 60


def _catch_signals() -> None:
    """While no RQ worker is there to do so."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise StopRequested

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)


def run(settings: Settings, queue_name: str, burst: bool = False) -> None:
    """Work one queue until asked to stop, or with `burst` until it is empty.

    Raises:
        Unavailable: Redis or the database cannot be used at the start.
        SettingsError: the handlers cannot be imported.
    """
    redis_client.require(redis_client.connect(settings.redis), settings.redis)
    # A database that cannot be used shall be heard of now, not in every job; so shall handlers.
    Store.open(settings.database).close()
    if queue_name == HANDLERS_QUEUE:
        names = (
            ", ".join(configured.known_handlers(settings))
            or "none: neither INGEST_HANDLERS nor INGEST_FORWARD_URL"
        )
        log.info("handlers: %s", names)
    _quieten_rq(settings)
    _catch_signals()
    follow_parent(partial(os.kill, os.getpid(), signal.SIGTERM))
    try:
        while not _work_once(settings, queue_name, burst):
            log.warning("the worker left; it begins again in %.0f s", RESTART_DELAY)
            time.sleep(RESTART_DELAY)
    except StopRequested:  # by our handler, or RQ's at a moment when its loop was not there to catch it
        log.debug("asked to stop while waiting")


def _work_once(settings: Settings, queue_name: str, burst: bool) -> bool:
    """Work until the worker leaves; True if it left because it should."""
    client = redis_client.connect(settings.redis)
    try:
        _wake(settings, client, queue_name)
        queue = Queue(queue_name, connection=client, serializer=JSONSerializer)
        worker = PoliteWorker([queue], connection=client, serializer=JSONSerializer, worker_ttl=WORKER_TTL)
    except redis.ResponseError as error:
        log.error("Redis refuses what a worker needs: %s", error)
        if queue_name == EVENTS_QUEUE and Consumer(client).batches():
            _drain_without_rq()
        return False
    except redis.RedisError as error:
        log.error("Redis does not answer: %s", error)
        return False
    worker.catch_signals()
    try:
        # Retries come back by RQ's scheduler; only handlers have some.
        worker.work(burst=burst, logging_level=None, with_scheduler=queue_name == HANDLERS_QUEUE and not burst)
    except redis.RedisError as error:
        log.error("lost Redis: %s", error)
    finally:
        _catch_signals()
        client.close()
    return burst or worker.asked_to_stop


def _drain_without_rq() -> None:
    """Make room in a Redis that takes no jobs any more; in a process of its own, as every drain is."""
    log.warning("draining without RQ, to make room")
    child = Child("drain", own_command("drain"))
    child.start()
    try:
        while child.alive:
            time.sleep(0.1)
    finally:  # also when asked to stop meanwhile
        child.terminate()


def _wake(settings: Settings, client: redis.Redis, queue_name: str) -> None:
    """See that a backlog is worked on, whatever became of earlier wake-ups: a job too many costs nothing."""
    scheduler = JobScheduler(client)
    if queue_name == HANDLERS_QUEUE:
        scheduler.clear_hand_on()
        scheduler.hand_on()
        return
    scheduler.enqueue_daily()
    if day := settings.reconciles_on(datetime.now(UTC)):
        scheduler.enqueue_reconcile(day)
    if Consumer(client).batches():
        scheduler.wake_drain()


def _quieten_rq(settings: Settings) -> None:
    # RQ tells each job's life in five lines; a drain says what it did in one.
    level = logging.DEBUG if settings.log_level == "debug" else logging.WARNING
    for name in ("rq.worker", "rq.job", "rq.queue"):
        logging.getLogger(name).setLevel(level)
        logging.getLogger(name).addFilter(_without_redis_traceback)


def _without_redis_traceback(record: logging.LogRecord) -> bool:
    """Redis being away is no fault of the program: one line says it, forty would hide what matters."""
    if record.exc_info and isinstance(record.exc_info[1], redis.RedisError):
        record.msg, record.args = "%s (%s)", (record.getMessage(), record.exc_info[1])
        record.exc_info = None
    return True
