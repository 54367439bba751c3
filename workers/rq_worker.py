"""`ingest worker`: a standard RQ worker with manners.

Three differences from `rq worker`: it wakes itself when it starts and finds a backlog; it tells a running job that
it should come to an end (SIGTERM) instead of letting the host kill it; and it comes back when Redis went away.
"""

import logging
import os
import signal
import time
from datetime import UTC, datetime
from functools import partial
from types import FrameType

import redis
import rq.worker.base
from rq import Queue, Worker
from rq.exceptions import StopRequested
from rq.scheduler import RQScheduler
from rq.serializers import JSONSerializer

from ingest import connections
from ingest.buffer import HANDLERS_QUEUE, Backlog
from ingest.settings import Settings
from ingest.supervise import follow_parent
from workers import drain, handling  # imported here, once, and not by every work-horse anew
from workers.store import Store

log = logging.getLogger(__name__)

#: Seconds before a worker that lost Redis begins again.
RESTART_DELAY = 2.0
#: Seconds after which a worker that gave no sign of life is no longer listed; with RQ's own 420, `status` would
#: show workers that were killed minutes ago.
WORKER_TTL = 60


class FaithfulScheduler(RQScheduler):
    """RQ's scheduler, which lives in a process of its own, and leaves with its worker however that ends."""

    _parent = 0

    def work(self) -> None:
        """In the new process: remember whose child it is."""
        self._parent = os.getppid()
        super().work()  # type: ignore[no-untyped-call]

    def heartbeat(self) -> None:
        """Once a second: see whether the worker is still there."""
        if os.getppid() != self._parent:
            self._stop_requested = True
        super().heartbeat()  # type: ignore[no-untyped-call]


# RQ has no other place to say which scheduler a worker starts.
rq.worker.base.RQScheduler = FaithfulScheduler  # type: ignore[attr-defined]


class PoliteWorker(Worker):
    """An RQ worker that asks its work-horse to finish early when it is asked to stop itself."""

    asked_to_stop = False
    #: Seconds between two attempts to reach a Redis that is away; RQ's own 60 would outlast most outages.
    max_connection_wait_time = 5.0

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        """First SIGINT or SIGTERM: let the job end, then leave."""
        self.asked_to_stop = True
        super().request_stop(signum, frame)  # type: ignore[no-untyped-call]

    def handle_warm_shutdown_request(self) -> None:
        """Pass the request on to the job that runs."""
        super().handle_warm_shutdown_request()  # type: ignore[no-untyped-call]
        if self.horse_pid:
            try:
                os.kill(self.horse_pid, signal.SIGTERM)
            except ProcessLookupError:
                log.debug("the job had ended already")

    def setup_work_horse_signals(self) -> None:
        """In the work-horse SIGTERM asks the job to come to an end; SIGINT is the worker's business."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, _finish_early)


def _finish_early(_signal: int, _frame: FrameType | None) -> None:
    drain.stopping.asked = True


def run(settings: Settings, queue_name: str, burst: bool = False) -> None:
    """Work one queue until asked to stop, or with `burst` until it is empty.

    Raises:
        Unavailable: Redis or the database cannot be used at the start.
        SettingsError: the handlers cannot be imported.
    """
    url = settings.redis
    connections.require(connections.connect(url), url)
    # A database that cannot be used shall be heard of now, not in every job; so shall handlers.
    Store.open(settings.database).close()
    if queue_name == HANDLERS_QUEUE:
        names = (
            ", ".join(handling.known_handlers(settings)) or "none: neither INGEST_HANDLERS nor INGEST_FORWARD_URL"
        )
        log.info("handlers: %s", names)
    _quieten_rq(settings)
    follow_parent(partial(os.kill, os.getpid(), signal.SIGTERM))
    try:
        while not _work_once(settings, queue_name, burst):
            log.warning("the worker left; it begins again in %.0f s", RESTART_DELAY)
            time.sleep(RESTART_DELAY)
    except StopRequested:  # RQ's signal handler, at a moment when its loop was not there to catch it
        log.debug("asked to stop while waiting")


def _work_once(settings: Settings, queue_name: str, burst: bool) -> bool:
    """Work until the worker leaves; True if it left because it should."""
    client = connections.connect(settings.redis)
    try:
        _wake(settings, Backlog(client), queue_name)
        queue = Queue(queue_name, connection=client, serializer=JSONSerializer)
        worker = PoliteWorker([queue], connection=client, serializer=JSONSerializer, worker_ttl=WORKER_TTL)
    except redis.RedisError as error:
        log.error("Redis does not answer: %s", error)
        return False
    try:
        # Retries come back by RQ's scheduler; only handlers have some.
        worker.work(burst=burst, logging_level=None, with_scheduler=queue_name == HANDLERS_QUEUE and not burst)
    except redis.RedisError as error:
        log.error("lost Redis: %s", error)
    finally:
        client.close()
    return burst or worker.asked_to_stop


def _wake(settings: Settings, backlog: Backlog, queue_name: str) -> None:
    """See that a backlog is worked on, whatever became of earlier wake-ups: a job too many costs nothing."""
    if queue_name == HANDLERS_QUEUE:
        backlog.clear_hand_on()
        backlog.hand_on()
        return
    backlog.daily()
    if day := settings.reconciles_on(datetime.now(UTC)):
        backlog.reconcile(day)
    if backlog.batches():
        backlog.wake_another()


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
