"""Waking workers: RQ jobs that only say "there is something to do"; one lost, doubled or killed costs nothing."""

import math
import time
from datetime import timedelta
from uuid import uuid4

import redis
from rq import Queue
from rq.serializers import JSONSerializer

from ingest.stream.keys import Keys

#: The RQ queue of drain jobs; workers of that name work it.
EVENTS_QUEUE = "events"
#: The job, by name: the receiving side never imports the processing side.
DRAIN_JOB = "workers.drain.drain.drain_job"
#: The job that asks again for the keys of calls that could not be verified when they came in.
VERIFY_JOB = "workers.drain.late_verification.verify_job"
#: Seconds between two such jobs.
VERIFY_EVERY = 30
#: The job that deletes what is too old and makes room for what is to come.
DAILY_JOB = "workers.operations.retention.daily_job"
#: The job that compares yesterday's log files with the store.
RECONCILE_JOB = "workers.reconcile.daily.reconcile_job"
#: Seconds that it may take: millions of lines have to be downloaded.
RECONCILE_TIMEOUT = 6 * 3600
#: The RQ queue of handlers' jobs, and the jobs: hand on what was stored, work for one handler.
HANDLERS_QUEUE = "handlers"
HAND_ON_JOB = "workers.handlers.runner.hand_on_job"
HANDLE_JOB = "workers.handlers.runner.handle_job"
#: Seconds between two jobs that look for work that was left lying, and after which a wake-up counts as lost.
HAND_ON_EVERY = 15
#: Seconds between two such jobs, and after one that failed.
DAILY_EVERY = 86_400
DAILY_RETRY = 600
#: Seconds that a job may take: its slice of 10 and one slow database commit.
JOB_TIMEOUT = 60

#: How the ids of drain jobs begin: other jobs on their queue do not drain.
_DRAIN = "drain"


class JobScheduler:
    """Puts jobs on RQ's queues, never more than are of use."""

    def __init__(self, client: redis.Redis, partition: int = 0) -> None:
        self._client = client
        self._keys = Keys(partition)
        self._queue = Queue(EVENTS_QUEUE, connection=client, serializer=JSONSerializer)
        self._handlers = Queue(HANDLERS_QUEUE, connection=client, serializer=JSONSerializer)

    def enqueue_drain(self) -> None:
        """Put one drain job on RQ's queue."""
        self._enqueue(DRAIN_JOB, _DRAIN)

    def _enqueue(self, job: str, description: str, timeout: int = JOB_TIMEOUT) -> None:
        job_id = f"{description}-{uuid4().hex}"
        self._queue.enqueue(
            job, job_id=job_id, job_timeout=timeout, result_ttl=0, failure_ttl=86_400, description=description
        )

    def clear_wake(self) -> None:
        """Let the next batch wake a worker again; to be called before the first claim."""
        self._client.delete(self._keys.wake)

    def wake_another(self) -> bool:
        """Put a drain job on the queue unless one is waiting there already."""
        if any(job_id.startswith(_DRAIN) for job_id in self._queue.job_ids):
            return False
        self.enqueue_drain()
        return True

    def note_unverified(self, count: int) -> None:
        """Let the sweeps know whether calls wait to be verified."""
        if count:
            self._client.set(self._keys.unverified, count)
        else:
            self._client.delete(self._keys.unverified)

    def verify_again(self) -> bool:
        """Put a verify job on the queue if calls wait for one and the last was a while ago."""
        if not self._client.get(self._keys.unverified):
            return False
        if not self._client.set(self._keys.verify, 1, nx=True, ex=VERIFY_EVERY):
            return False
        self._enqueue(VERIFY_JOB, "verify")
        return True

    # --- waking handlers ---

    def note_handoffs(self, some: bool) -> None:
        """Let the sweeps know whether handlers have something to do, now or later."""
        if some:
            self._client.set(self._keys.handoffs, 1)
        else:
            self._client.delete(self._keys.handoffs)

    def hand_on(self) -> None:
        """Put a job on the queue that hands on what was stored, unless one waits there already."""
        if self._client.set(self._keys.hand_on, 1, nx=True, ex=HAND_ON_EVERY):
            self._enqueue_handlers(HAND_ON_JOB)

    def clear_hand_on(self) -> None:
        """Let `hand_on` enqueue again; to be called before the job's first look."""
        self._client.delete(self._keys.hand_on)

    def hand_on_again(self) -> bool:
        """Look for work that was left lying, if there may be some."""
        if not self._client.exists(self._keys.handoffs):
            return False
        self.hand_on()
        return True

    def hand_on_in(self, seconds: float) -> None:
        """The same some time from now, by RQ's scheduler; not more often than once a second."""
        due = int(time.time() + seconds + 1)
        if self._client.set(f"{self._keys.hand_on}:{due}", 1, nx=True, ex=int(seconds) + 60):
            self._handlers.enqueue_in(
                timedelta(seconds=seconds), HAND_ON_JOB, job_timeout=JOB_TIMEOUT, result_ttl=0, failure_ttl=86_400
            )

    def wake_handler(self, name: str, timeout: float = 0.0) -> None:
        """Put a job for a handler on the queue, unless one is on its way; a call may take `timeout` seconds."""
        if self._client.set(self._keys.handler(name), 1, nx=True, ex=HAND_ON_EVERY):
            self._enqueue_handlers(HANDLE_JOB, name, timeout=timeout)

    def clear_handler(self, name: str) -> None:
        """Let `wake_handler` enqueue again; to be called before the job's first claim."""
        self._client.delete(self._keys.handler(name))

    def others_wait(self) -> bool:
        """Whether jobs of other handlers wait for a worker."""
        return bool(len(self._handlers))

    def _enqueue_handlers(self, job: str, *arguments: str, timeout: float = 0.0) -> None:
        self._handlers.enqueue(
            job, *arguments, job_timeout=JOB_TIMEOUT + math.ceil(timeout), result_ttl=0, failure_ttl=86_400,
            description=" ".join([job.rpartition(".")[2], *arguments]),
        )  # fmt: skip

    def daily(self) -> bool:
        """Put the daily job on the queue, once a day."""
        if not self._client.set(self._keys.daily, 1, nx=True, ex=DAILY_EVERY):
            return False
        self._enqueue(DAILY_JOB, "daily")
        return True

    def daily_failed(self) -> None:
        """Let the daily job be tried again soon."""
        self._client.expire(self._keys.daily, DAILY_RETRY)

    def reconcile(self, today: str) -> bool:
        """Put the job that reconciles on the queue, unless that was done today."""
        if not self._client.set(f"{self._keys.reconcile}:{today}", 1, nx=True, ex=2 * DAILY_EVERY):
            return False
        self._enqueue(RECONCILE_JOB, "reconcile", RECONCILE_TIMEOUT)
        return True

    def reconcile_again(self, today: str, seconds: int) -> None:
        """Let the job that reconciles be put on the queue once more, that many seconds from now."""
        self._client.expire(f"{self._keys.reconcile}:{today}", seconds)
