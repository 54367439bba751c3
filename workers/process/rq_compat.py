"""The only module that uses what rq does not document.

How a worker stops, and which scheduler it starts, cannot be chosen by rq's public interface. All of this was
read in rq 3.0.0 (`worker/base.py`, `worker/worker_classes.py`, `scheduler.py`); a contract test
(`tests/unit/test_rq_compat.py`) fails when a release changes it, and docs/decisions/private-apis.md says what
to do then.

| what | why |
|---|---|
| `rq.worker.base.RQScheduler` | the class that `work(with_scheduler=True)` starts; it can be named nowhere else |
| `Worker._stop_requested` | ends the loop after the present job, and the wait of a suspended worker |
| `Worker._pubsub_exception_handler` | called with what the thread meets that listens for commands |
| `Worker.dequeue_job_and_maintain_ttl` | where a worker waits for a job: the one place where raising is safe |
| `Worker.monitor_work_horse` | called in the parent as soon as the work-horse runs |
| `Worker.wait_for_horse` | called in the parent, gives how the work-horse ended: exit code 0 is a success |
| `Worker.perform_job` | called in the work-horse; when it returns, the job is over |
| `Worker.maintain_heartbeats` | called in the parent while a job runs; what it raises would end the worker |
| `Worker.setup_work_horse_signals` | called in the work-horse before its job |
| `Worker.horse_pid` | the process id of the work-horse; 0 if there is none |
| `Worker.register_birth` | lists the worker in Redis, again after Redis was emptied |
| `Worker.redis_workers_keys` | the set of all workers in Redis |
| `Job._deserialize_data` | called when a job's data are first needed, also to name it in a log |
"""

from collections.abc import Callable
from typing import Any

import rq.worker.base
from rq import Worker
from rq.exceptions import DeserializationError
from rq.job import Job
from rq.scheduler import RQScheduler

__all__ = ["CompatJob", "CompatWorker", "use_scheduler"]


def use_scheduler(scheduler: type[RQScheduler]) -> None:
    """Have every worker of this process start schedulers of this class."""
    rq.worker.base.RQScheduler = scheduler  # type: ignore[attr-defined]


class CompatWorker(Worker):
    """An RQ worker that gives public names to what we need of its private parts."""

    def leave_after_this_job(self) -> None:
        """Make rq's loop end at its next turn."""
        self._stop_requested = True

    def is_registered(self) -> bool:
        """Whether Redis lists this worker, and knows what it is.

        What it knows expires while a machine sleeps, or when the clock of Redis goes ahead; then heartbeats, which
        say nothing of queues, are all that is there.
        """
        listed = bool(self.connection.sismember(self.redis_workers_keys, self.key))
        return listed and self.connection.hget(self.key, "birth") is not None

    def listening_failed(
        self, error: Exception, stop_listening: Callable[[], object], retry: Callable[[Exception], object]
    ) -> None:
        """The thread that listens for rq's commands met an error: `retry` treats it as a lost connection."""
        retry(error)

    def _pubsub_exception_handler(self, exc: Exception, pubsub: Any, pubsub_thread: Any) -> None:
        def retry(error: Exception) -> None:
            super(CompatWorker, self)._pubsub_exception_handler(error, pubsub, pubsub_thread)

        self.listening_failed(exc, pubsub_thread.stop, retry)


class CompatJob(Job):
    """An RQ job that has no name if its data cannot be read, where rq would raise whenever it shows the name."""

    def _deserialize_data(self) -> None:
        try:
            super()._deserialize_data()  # type: ignore[no-untyped-call]
        except DeserializationError:
            self._func_name, self._instance, self._args, self._kwargs = "", None, (), {}
