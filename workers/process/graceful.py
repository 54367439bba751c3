"""The RQ worker behind `ingest worker`: how it stops, and how it is found again by a Redis that has forgotten it.

RQ raises an exception out of its signal handler, wherever the process happens to be: in the middle of a fork, or
with a lock held, that has it hang or miss the request. Here the handler only notes what was asked for:

    waiting for a job          the wait is broken off: the one place where raising is safe
    a job is at work           it is told to come to an end (SIGTERM), then the worker leaves
    it does not, or Redis      after `STOP_SECONDS` the job is killed and the process ends; what the job was at is
    does not answer            done again by another
    asked a second time        the same at once
"""

import logging
import os
import signal
import threading
import time
from contextlib import suppress
from types import FrameType
from typing import Any

import redis
import rq.worker.base
from redis.client import Pipeline
from rq import Queue, Worker
from rq.exceptions import InvalidJobOperation, NoSuchJobError, StopRequested
from rq.job import Job
from rq.scheduler import RQScheduler

from workers.runtime import stop_flag

log = logging.getLogger(__name__)

#: Seconds after which a worker that was asked to stop does so whatever its job and Redis do; hosts kill after 10.
STOP_SECONDS = 8.0
#: Seconds in which a second signal counts as the first: some hosts send it to the whole group, and once more.
SAME_SIGNAL = 1.0
#: Seconds that Redis may take over each word of the farewell.
FAREWELL_TIMEOUT = 1.5
#: Seconds between two looks at whether it is time to leave.
LOOK_EVERY = 0.2


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
    """An RQ worker that stops in time, and asks its work-horse to finish early when it is asked to stop itself."""

    #: Seconds between two attempts to reach a Redis that is away; RQ's own 60 would outlast most outages.
    max_connection_wait_time = 5.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        #: When it was asked to stop (monotonic seconds).
        self.asked_at: float | None = None
        self._asked_again = False
        self._waiting = False
        self._leaving = False
        threading.Thread(target=self._see_that_it_ends, name="see-that-it-ends", daemon=True).start()

    @property
    def asked_to_stop(self) -> bool:
        """Whether it leaves because it should."""
        return self.asked_at is not None

    # --- signals ---

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        """SIGINT or SIGTERM. In a work-horse that was forked a moment ago as well, with its parent's handlers."""
        stop_flag.request()  # also for a job that is about to begin
        if os.getpid() != self.pid:
            return
        now = time.monotonic()
        if self.asked_at is None:
            self.asked_at = now
        elif now - self.asked_at >= SAME_SIGNAL:
            self._asked_again = True
        self._stop_requested = True
        self._tell_horse()
        if self._waiting:
            raise StopRequested

    def catch_signals(self) -> None:
        """Before RQ does: what comes in while it starts shall wait until it has."""
        self._install_signal_handlers()  # type: ignore[no-untyped-call]

    def setup_work_horse_signals(self) -> None:
        """In the work-horse SIGTERM asks the job to come to an end; SIGINT is the worker's business."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, _finish_early)

    def _tell_horse(self) -> None:
        if self.horse_pid:
            with suppress(ProcessLookupError):  # it has ended already
                os.kill(self.horse_pid, signal.SIGTERM)

    def _kill_horse_and_its_children(self) -> None:
        horse = self.horse_pid
        with suppress(ProcessLookupError):
            if horse and os.getpgid(horse) == horse:
                os.killpg(horse, signal.SIGKILL)
            elif horse:  # it has not made its own process group yet
                os.kill(horse, signal.SIGKILL)

    def _see_that_it_ends(self) -> None:
        """In a thread, until there is no time left. It logs nothing: the log's lock may be what all hangs on."""
        while not self._leaving or self.asked_to_stop:
            time.sleep(LOOK_EVERY)
            if self.asked_at is None:
                continue
            if self._asked_again or time.monotonic() - self.asked_at > STOP_SECONDS:
                self._kill_horse_and_its_children()
                time.sleep(LOOK_EVERY)  # to say farewell, if Redis listens
                os.write(2, b"the worker did not come to its end in time; its job is done again by another\n")
                os._exit(0)

    # --- RQ's loop ---

    def dequeue_job_and_maintain_ttl(
        self, timeout: int | None, max_idle_time: int | None = None
    ) -> tuple[Job, Queue] | None:
        """Wait for a job; the place where a request to stop breaks in."""
        self._waiting = True
        try:
            if self._stop_requested:
                raise StopRequested
            return super().dequeue_job_and_maintain_ttl(timeout, max_idle_time)
        finally:
            self._waiting = False

    def monitor_work_horse(self, job: Job, queue: Queue, execution: Any) -> None:
        """Wait for the job; one that was begun while a request to stop came in has not heard of it."""
        if self.asked_to_stop:
            self._tell_horse()
        super().monitor_work_horse(job, queue, execution)

    def heartbeat(self, timeout: int | None = None, pipeline: Pipeline | None = None) -> None:
        """A sign of life; register anew if Redis was flushed, or is another that knows nothing of us."""
        if pipeline is None and not self.connection.sismember(self.redis_workers_keys, self.key):
            self.connection.delete(self.key)
            self.register_birth()  # type: ignore[no-untyped-call]
        super().heartbeat(timeout, pipeline)

    def handle_exception(self, job: Job, *exc_info: Any) -> None:
        """A job failed; it is no fault of it if a Redis that was flushed knows nothing of it any more."""
        if isinstance(exc_info[1], NoSuchJobError | InvalidJobOperation):
            log.warning("Redis has forgotten what it knew of a job, which is done: %s", job.id)
        elif isinstance(exc_info[1], redis.RedisError):  # RQ would put forty lines of traceback into its message
            log.warning(
                "Redis went away while a job was at work, which is done again: %s (%s)", job.id, exc_info[1]
            )
        else:
            super().handle_exception(job, *exc_info)

    def teardown(self) -> None:
        """Say farewell, if Redis listens: RQ would wait for it for a minute."""
        self._leaving = True
        pool = self.connection.connection_pool
        pool.connection_kwargs["socket_timeout"] = FAREWELL_TIMEOUT
        pool.disconnect(inuse_connections=False)
        super().teardown()  # type: ignore[no-untyped-call]

    def _pubsub_exception_handler(self, exc: Exception, pubsub: Any, pubsub_thread: Any) -> None:
        """Of the thread that listens for commands: what it meets while everything is closed is no news."""
        if self._leaving or self.asked_to_stop:
            pubsub_thread.stop()
        elif isinstance(exc, redis.RedisError):
            super()._pubsub_exception_handler(exc, pubsub, pubsub_thread)
        elif isinstance(exc, TypeError | ValueError | OSError):  # its socket was closed while it was being read
            super()._pubsub_exception_handler(redis.ConnectionError(str(exc)), pubsub, pubsub_thread)
        else:
            raise exc


def _finish_early(_signal: int, _frame: FrameType | None) -> None:
    stop_flag.request()
