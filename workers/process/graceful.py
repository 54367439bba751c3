"""The RQ worker behind `ingest worker`: how it stops, and how it registers again with a Redis that was emptied.

RQ raises an exception in its signal handler, wherever the process happens to be: in the middle of a fork, or while
it holds a lock. The worker may then hang, or miss the request. Here the handler only records the request:

    waiting for a job            the wait is interrupted: the one place where raising is safe
    a job is running             it is asked to finish early (SIGTERM), then the worker leaves
    it does not, or Redis        after `STOP_SECONDS` the job is killed and the process ends; another worker does
    does not answer              the job's work again
    asked a second time          the same at once
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from resource import struct_rusage
from types import FrameType
from typing import Any

import redis
from redis.client import Pipeline
from rq import Queue
from rq.exceptions import InvalidJobOperation, NoSuchJobError, StopRequested
from rq.job import Job
from rq.scheduler import RQScheduler

from ingest import sentry
from ingest.lookout import Lookout
from ingest.redis_client import ANSWER_TIMEOUT
from ingest.redis_errors import Outage
from ingest.stops import SAME_SIGNAL, handled_stops
from workers.metrics import figures
from workers.process.own_jobs import JobRefused
from workers.process.patience import PatientWorker
from workers.runtime import stop_flag
from workers.store.other_release import Noted, noted

log = logging.getLogger(__name__)

#: Seconds after which a worker that was asked to stop ends whatever its job and Redis do; hosts kill after 10.
STOP_SECONDS = 8.0
#: Seconds that Redis may take for each command of signing off: several of them must fit into `STOP_SECONDS`.
SIGN_OFF_TIMEOUT = 1.5
#: Seconds until a worker listens for rq's commands again after that failed: nobody waits for it.
LISTEN_AGAIN = 2.0
#: What a process that ended with exit code 1 leaves for whoever waits for it.
FAILED = 1 << 8
#: What the thread that ends a worker after its time is told: that the time runs, and that there is no more need.
_STOP, _END = b"s", b"e"
#: Seconds between two checks whether the time to stop is over, once it runs: short against `STOP_SECONDS`.
DEADLINE_CHECK_INTERVAL = 0.2


class BoundScheduler(RQScheduler):
    """RQ's scheduler, a process of its own, which ends with its worker however that ends."""

    _parent = 0
    _leaving = False
    _outage: Outage

    def work(self) -> None:
        """In the new process: schedule until asked to stop, whatever Redis does meanwhile."""
        self._parent = os.getppid()
        self._outage = Outage(log, "retries of handlers wait for Redis")
        if signal.SIGHUP in handled_stops():  # which RQ does not know
            signal.signal(signal.SIGHUP, self.request_stop)
        while True:
            try:
                super().work()  # type: ignore[no-untyped-call]
                return
            except redis.RedisError as error:
                self._outage.failed(error)
            until = time.monotonic() + self._outage.pause
            while time.monotonic() < until:
                if self._leaving or os.getppid() != self._parent:
                    return
                time.sleep(DEADLINE_CHECK_INTERVAL)

    def request_stop(self, signum: int | None = None, frame: FrameType | None = None) -> None:
        """A signal asks for it, or its worker is gone."""
        self._leaving = True
        super().request_stop(signum, frame)  # type: ignore[no-untyped-call]

    def heartbeat(self) -> None:
        """Once a second: check whether the worker is still there."""
        if os.getppid() != self._parent:
            self.request_stop()
        super().heartbeat()  # type: ignore[no-untyped-call]
        self._outage.served()


class GracefulWorker(PatientWorker):
    """An RQ worker that stops in time, and asks its work-horse to finish early when it is asked to stop itself."""

    #: Seconds between two attempts to reach a Redis that is away; RQ's own 60 would outlast most outages.
    max_connection_wait_time = 5.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        #: When it was asked to stop (monotonic seconds).
        self.asked_at: float | None = None
        self._asked_again = False
        self._waiting = False
        self._leaving = self._has_ended = False
        #: What a work-horse leaves to its worker: that it came to the end of its job.
        self._job_over = Noted()
        #: Looks now and then for what may be wrong; None: nobody asked for alerts.
        self.lookout: Lookout | None = None
        # A pipe, because a signal handler must not take a lock, as an Event does.
        reader, self._to_deadline = os.pipe()
        threading.Thread(target=self._enforce_deadline, args=(reader,), name="stop-deadline", daemon=True).start()

    @property
    def asked_to_stop(self) -> bool:
        """Whether someone asked it to stop."""
        return self.asked_at is not None

    # --- signals ---

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        """Any of `STOPS`; also called in a work-horse that was just forked, with its parent's handlers."""
        stop_flag.request()  # also for a job that is about to begin
        if os.getpid() != self.pid:
            return
        now = time.monotonic()
        if self.asked_at is None:
            self.asked_at = now
            if not self._has_ended:
                os.write(self._to_deadline, _STOP)
        elif now - self.asked_at >= SAME_SIGNAL:
            self._asked_again = True
        self.leave_after_this_job()
        self._signal_horse()
        if self._waiting:
            raise StopRequested

    def catch_signals(self) -> None:
        """Before RQ does: a signal that arrives while the worker starts takes effect once it has started."""
        for number in handled_stops():
            signal.signal(number, self.request_stop)

    def setup_work_horse_signals(self) -> None:
        """In the work-horse, SIGTERM and SIGHUP ask the job to finish early; SIGINT is for the worker to handle.

        A server that hangs holds it up for as long as any other part of this program.
        """
        self._job_over.forget()
        for number in handled_stops():
            signal.signal(number, signal.SIG_IGN if number == signal.SIGINT else _finish_early)
        # Only its parent waits for jobs, and needs rq's longer time-out for that.
        self.connection.connection_pool.connection_kwargs["socket_timeout"] = ANSWER_TIMEOUT

    def _signal_horse(self) -> None:
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

    def _enforce_deadline(self, asked: int) -> None:
        """In a thread: end the process when its time is over. No logging: its lock may be what is deadlocked."""
        is_asked = os.read(asked, 1) == _STOP
        os.close(asked)
        deadline = time.monotonic() + STOP_SECONDS
        while is_asked:
            time.sleep(DEADLINE_CHECK_INTERVAL)
            if self._asked_again or time.monotonic() > deadline:
                self._kill_horse_and_its_children()
                time.sleep(DEADLINE_CHECK_INTERVAL)  # to sign off, if Redis answers
                os.write(2, b"the worker did not stop in time; another one does its job again\n")
                os._exit(0)

    # --- RQ's loop ---

    def dequeue_job_and_maintain_ttl(
        self, timeout: int | None, max_idle_time: int | None = None
    ) -> tuple[Job, Queue] | None:
        """Wait for a job; a request to stop interrupts the wait."""
        self._waiting = True
        try:
            if self.asked_to_stop:
                raise StopRequested
            return super().dequeue_job_and_maintain_ttl(timeout, max_idle_time)
        finally:
            self._waiting = False

    def monitor_work_horse(self, job: Job, queue: Queue, execution: Any) -> None:
        """Wait for the job; one that started while a request to stop came in has not been told of it.

        One that met tables of another release is the last: the next job is for whoever can do it.
        """
        if self.asked_to_stop:
            self._signal_horse()
        super().monitor_work_horse(job, queue, execution)
        if noted:
            self.leave_after_this_job()

    def heartbeat(self, timeout: int | None = None, pipeline: Pipeline | None = None) -> None:
        """Report that it is alive; register again if Redis was emptied or replaced."""
        if pipeline is None and not self.is_registered():
            self.connection.delete(self.key)
            self.register_birth()  # type: ignore[no-untyped-call]
        super().heartbeat(timeout, pipeline)
        if self.lookout is not None and os.getpid() == self.pid:  # not in a work-horse
            self.lookout.look()

    def perform_job(self, job: Job, queue: Queue, execution: Any) -> bool:
        """In the work-horse, which ends at once afterwards; what the job counts is left for the metrics port."""
        try:
            with figures.job():
                return super().perform_job(job, queue, execution)
        finally:
            self._job_over.note()
            sentry.flush()

    def wait_for_horse(self) -> tuple[int | None, int | None, struct_rusage | None]:
        """Wait for the work-horse to end; one that left its job with exit code 0 failed as if killed."""
        process, status, usage = super().wait_for_horse()
        if status == os.EX_OK and not self._job_over:
            log.error(
                "a work-horse ended itself in the middle of its job with exit code 0: see whether a handler "
                "calls os._exit; what it had not finished is done again"
            )
            status = FAILED
        return process, status, usage

    def handle_exception(self, job: Job, *exc_info: Any) -> None:
        """A job failed; the job is not at fault if an emptied Redis no longer knows it."""
        error = exc_info[1]
        if isinstance(error, JobRefused):
            log.error("refused the job %s: %s", job.id, error)
        elif isinstance(error, NoSuchJobError | InvalidJobOperation):
            log.warning("Redis no longer knows the job %s, which is done", job.id)
        elif isinstance(error, redis.RedisError):  # RQ would put forty lines of traceback into its message
            log.warning("Redis went away during the job %s, whose work is done again (%s)", job.id, error)
        else:
            super().handle_exception(job, *exc_info)

    def end(self) -> None:
        """However its work ended: leave no thread behind."""
        self._leaving = self._has_ended = True
        if (
            self.asked_at is None
        ):  # a process that a handler forked may have the pipe too, so closing it says nothing
            os.write(self._to_deadline, _END)
        os.close(self._to_deadline)

    def teardown(self) -> None:
        """Sign off, if Redis answers soon: RQ would wait for it for a minute."""
        self._leaving = True
        pool = self.connection.connection_pool
        pool.connection_kwargs["socket_timeout"] = SIGN_OFF_TIMEOUT
        pool.disconnect(inuse_connections=False)
        super().teardown()  # type: ignore[no-untyped-call]

    def listening_failed(
        self, error: Exception, stop_listening: Callable[[], object], retry: Callable[[Exception], object]
    ) -> None:
        """Listening for commands failed: try again, whatever it was. While all is being closed, it is expected."""
        if self._leaving or self.asked_to_stop:
            stop_listening()
            return
        # Whoever works says what is wrong with Redis. The others: its socket was closed while being read.
        if not isinstance(error, redis.RedisError | TypeError | ValueError | OSError):
            log.error("a command to the worker could not be read", exc_info=error)
        time.sleep(LISTEN_AGAIN)


def _finish_early(_signal: int, _frame: FrameType | None) -> None:
    stop_flag.request()
