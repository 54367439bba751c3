"""`ingest worker`: a standard RQ worker that stops gracefully, and what keeps it running.

What it does differently from `rq worker`: it enqueues a job for itself if it finds a backlog at its start; it
stops in time (`workers.process.graceful` says how); it starts again when it has lost Redis; when Redis is so full
that RQ cannot enqueue a job, it drains without one; while the server of the queues is away, it drains the other
stream servers, if there are any (`workers.process.queues_watch`); and it runs no jobs but our own
(`workers.process.own_jobs`), and none as root unless told to.
"""

import logging
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from types import FrameType

import redis
from rq import Queue
from rq.exceptions import StopRequested
from rq.serializers import JSONSerializer

from ingest import partitions, processes, redis_client, tracing
from ingest.errors import RedisUnavailable, SchemaMismatch, SettingsError, Unavailable
from ingest.jobs import EVENTS_QUEUE, HANDLERS_QUEUE, JobScheduler
from ingest.lookout import Lookout
from ingest.metrics.board import Board
from ingest.metrics.child import exporting
from ingest.processes import Child, follow_parent, own_command
from ingest.redis_errors import described
from ingest.settings import Settings
from ingest.stops import handled_stops
from ingest.stream.partitions import Partitions
from workers.drain import drain  # noqa: F401  # imported once here, not again in every work-horse
from workers.gaps import lineage
from workers.handlers import configured, jobs  # noqa: F401  # likewise
from workers.handlers.announced import announce
from workers.metrics import figures
from workers.process.graceful import BoundScheduler, GracefulWorker
from workers.process.own_jobs import OwnJob
from workers.process.patience import redis_outage, say_once
from workers.process.queues_watch import watching
from workers.process.rq_compat import use_scheduler
from workers.store.other_release import noted
from workers.store.store import Store

log = logging.getLogger(__name__)

#: Seconds before a worker that ended unasked starts again: soon, but without filling the log. While Redis fails,
#: the pauses are those of `ingest.redis_errors`.
RESTART_DELAY = 2.0
#: Seconds between two looks at a drain that makes room: short against the seconds it takes.
DRAIN_CHECK_INTERVAL = 0.1
#: Seconds that a stream server may take to say, at a worker's start, whether there is a backlog.
WAKE_PATIENCE = 2.0
#: Seconds without a heartbeat after which a worker is no longer listed; with RQ's own 420, `status` would show
#: workers that were killed minutes ago.
WORKER_TTL = 60
#: The same where there are several stream servers: rq sees that a server hangs 5 s before that, each time.
PROMPT_TTL = 25


def _catch_signals() -> None:
    """Handle signals while no RQ worker does."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise StopRequested

    for number in handled_stops():
        signal.signal(number, stop)


def require_user(settings: Settings) -> None:
    """Refuse to run as root.

    Raises:
        SettingsError: the user is root, and nothing says that this is meant.
    """
    if os.geteuid() == 0 and not settings.allow_root:
        raise SettingsError(
            "Workers do not run as root, because handlers would as well: start this one as another user, or set "
            "INGEST_ALLOW_ROOT=1."
        )


def run(settings: Settings, queue_name: str, burst: bool = False) -> None:
    """Work one queue until asked to stop, or with `burst` until it is empty.

    Raises:
        Unavailable: Redis or the database cannot be used at the start.
        SchemaMismatch: the tables became those of another release.
        SettingsError: the handlers cannot be imported, or the user is root.
    """
    require_user(settings)
    if settings.metrics_port is not None:
        processes.aside(partial(_require, settings.metrics_host, settings.metrics_port))
    with redis_client.connect(settings.redis) as client:
        has_queues = _require_redis(settings, client, queue_name)
    if tracing.of(settings) is not None:  # imports what it needs, once
        processes.aside(partial(tracing.try_out, settings))
    # Likewise handlers.
    if queue_name == HANDLERS_QUEUE:
        names = (
            ", ".join(configured.known_handlers(settings))
            or "none: neither INGEST_HANDLERS nor INGEST_FORWARD_URL"
        )
        log.info("handlers: %s", names)
    log.info("working on the queue %s (process %d)", queue_name, os.getpid())
    _quieten_rq(settings)
    use_scheduler(BoundScheduler)
    _catch_signals()
    follow_parent(partial(os.kill, os.getpid(), signal.SIGTERM))
    try:
        with _metrics(settings), watching(settings, queue_name, is_away=not has_queues):
            while not _work_once(settings, queue_name, burst):
                _require_own_tables(settings)
                if not redis_outage.is_on:
                    log.warning("the worker ended; it starts again in %.0f s", RESTART_DELAY)
                time.sleep(redis_outage.pause if redis_outage.is_on else RESTART_DELAY)
    except StopRequested:  # from our handler, or from RQ's while its loop was not there to catch it
        log.debug("asked to stop while waiting")
    log.info("stopped working on the queue %s", queue_name)


def _require_redis(settings: Settings, client: redis.Redis, queue_name: str) -> bool:
    """A Redis or a database that cannot be used, or is another's: fail at startup, not in every job.

    Where there are other stream servers to drain, the one with the queues may be away; whether it is
    there is returned.
    """
    try:
        redis_client.require(client, settings.redis)
    except RedisUnavailable as error:
        if queue_name != EVENTS_QUEUE or len(settings.stream_servers) == 1:
            raise
        log.warning("the worker drains the other stream servers until it can get jobs: %s", error)
        with Store.of(settings) as store:
            store.require_key()
        return False
    _require_database(settings, client)
    return True


def _require_database(settings: Settings, client: redis.Redis) -> None:
    try:
        with lineage.opened(settings, client) as store:
            store.require_key()
    except redis.RedisError as error:
        raise redis_client.unavailable(settings.redis, error) from None


def _require_own_tables(settings: Settings) -> None:
    """If a job met tables of another release, and those are still there: end as if this were the start.

    Whatever starts workers then starts the release that is installed by now.
    """
    if not noted:
        return
    noted.forget()
    try:
        Store.of(settings).close()
    except SchemaMismatch:
        raise
    except Unavailable as error:
        log.warning("%s", error)


def _require(host: str, port: int) -> None:
    from ingest.metrics.listening import require  # noqa: PLC0415

    require(host, port)


@contextmanager
def _metrics(settings: Settings) -> Iterator[None]:
    """In this block the figures of jobs are shown at the metrics port, if there is one."""
    if settings.metrics_port is None:
        yield
        return
    board = Board.create(2)  # a drain without RQ may run beside the jobs
    figures.leave_on(board)
    with exporting(board, "worker"):
        yield


def _work_once(settings: Settings, queue_name: str, burst: bool) -> bool:
    """Work until the worker ends; True if it was asked to, or had nothing left to do."""
    with redis_client.connect(settings.redis) as client:
        try:
            worker = _new_worker(settings, client, queue_name)
            if worker is None:
                return False
            try:
                _work(worker, burst, with_scheduler=queue_name == HANDLERS_QUEUE and not burst)
            finally:
                worker.end()
                _catch_signals()
        except StopRequested:
            raise
        except Exception:  # a worker must not end for good, whatever it met
            log.exception("the worker broke off")
            return False
    return worker.asked_to_stop or (burst and not noted)


def _work(worker: GracefulWorker, burst: bool, with_scheduler: bool) -> None:
    worker.catch_signals()
    try:
        # Retries are enqueued by RQ's scheduler; only handlers have any.
        worker.work(burst=burst, logging_level=None, with_scheduler=with_scheduler)
    except redis.RedisError as error:
        redis_outage.failed(error)


def _new_worker(settings: Settings, client: redis.Redis, queue_name: str) -> GracefulWorker | None:
    """A worker, with a job enqueued for it if there is work; None if Redis is unavailable or too full for that."""
    try:
        with partitions.opened(settings, client, WAKE_PATIENCE) as streams:
            _wake(settings, client, queue_name, streams)
        queue = Queue(queue_name, connection=client, serializer=JSONSerializer, job_class=OwnJob)
        ttl = WORKER_TTL if len(settings.stream_servers) == 1 else PROMPT_TTL
        worker = GracefulWorker(
            [queue], connection=client, serializer=JSONSerializer, job_class=OwnJob, worker_ttl=ttl
        )
        worker.lookout = Lookout(settings, client, is_worker=True)
        return worker
    except redis.RedisError as error:
        redis_outage.failed(error)
        if queue_name == EVENTS_QUEUE and "OOM" in described(error):
            _drain_if_there_is_any(settings, client)
    return None


def _drain_if_there_is_any(settings: Settings, client: redis.Redis) -> None:
    try:
        with partitions.opened(settings, client) as streams:
            waits = streams.batches()
    except redis.RedisError as error:
        redis_outage.failed(error)
        return
    if waits:
        _drain_without_rq()


def _drain_without_rq() -> None:
    """Drain where no job can be had, to make room in a Redis that is too full for one.

    In a process of its own, like every drain. It ends when all is drained.
    """
    log.warning("draining without RQ")
    board = figures.board
    shared = [] if board is None else ["--board", str(board.fd)]
    child = Child("drain", own_command("drain", *shared), pass_fds=[] if board is None else [board.fd])
    child.start()
    try:
        while child.alive:
            time.sleep(DRAIN_CHECK_INTERVAL)
    finally:  # also when asked to stop meanwhile
        child.terminate()


def _wake(settings: Settings, client: redis.Redis, queue_name: str, streams: Partitions) -> None:
    """Enqueue what there is to do, whether or not earlier wake-ups were lost: a superfluous job costs nothing."""
    scheduler = JobScheduler(client, streams)
    if queue_name == HANDLERS_QUEUE:
        announce(client, configured.known_handlers(settings).values(), at_once=True)
        scheduler.clear_hand_on()
        scheduler.hand_on()
        return
    scheduler.sweep_coverage()
    scheduler.enqueue_daily()
    if day := settings.reconciles_on(datetime.now(UTC)):
        scheduler.enqueue_reconcile(day)
    scheduler.sweep_unverified()
    if streams.batches():
        scheduler.wake_drain()


def _quieten_rq(settings: Settings) -> None:
    # RQ logs five lines for each job; a drain says what it did in one.
    level = logging.DEBUG if settings.log_level == "debug" else logging.WARNING
    for name in ("rq.worker", "rq.job", "rq.queue"):
        logging.getLogger(name).setLevel(level)
        logging.getLogger(name).addFilter(say_once)
