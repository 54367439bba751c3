"""RQ's queues, jobs and workers: what the console shows of them, and what people do with jobs that failed."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import NamedTuple

import redis
from rq import Queue, Worker
from rq.exceptions import InvalidJobOperation
from rq.job import Job
from rq.registry import BaseRegistry
from rq.serializers import JSONSerializer
from rq.worker import BaseWorker

from ingest.jobs import QUEUES
from ingest.shown import without_secrets

#: Jobs of a queue that are shown of each kind.
MOST_JOBS = 20
#: Workers that are shown.
MOST_WORKERS = 50
#: Characters that are shown of a traceback, from its end.
MOST_TRACEBACK = 4000


class JobFacts(NamedTuple):
    """A job."""

    id: str
    what: str
    began_at: datetime | None
    ended_at: datetime | None
    worker: str
    #: What it raised: the end of its traceback, and the last line of that; empty if it did not.
    traceback: str
    error: str
    #: Whether the traceback is longer.
    cut: bool


class QueueFacts(NamedTuple):
    """A queue: how many jobs wait, work, failed, or come later; and some of them, the last first."""

    name: str
    waiting: int
    started: int
    failed: int
    scheduled: int
    current: Sequence[JobFacts]
    failures: Sequence[JobFacts]


class WorkerFacts(NamedTuple):
    """A worker process."""

    name: str
    state: str
    queues: Sequence[str]
    host: str
    pid: int | None
    began_at: datetime | None
    heard_at: datetime | None
    done: int
    failed: int
    job: str


class Facts(NamedTuple):
    """All of it; `more_workers` are those that are not shown."""

    queues: Sequence[QueueFacts]
    workers: Sequence[WorkerFacts]
    more_workers: int


def look(client: redis.Redis) -> Facts:
    """Ask RQ; changes nothing.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    queues = [_queue(_named(client, name)) for name in QUEUES]
    workers = sorted(Worker.all(connection=client, serializer=JSONSerializer), key=lambda worker: worker.name)
    shown = [_worker(worker) for worker in workers[:MOST_WORKERS]]
    return Facts(queues, shown, len(workers) - len(shown))


def requeue(client: redis.Redis, queue: str, job_id: str) -> int:
    """Put a job that failed on its queue again; returns how many that were: none if it is gone meanwhile.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    registry = _named(client, queue).failed_job_registry
    if job_id not in registry:
        return 0
    job = _job(client, job_id)
    if job is None:
        return 0
    registry.requeue(job)
    return 1


def drop(client: redis.Redis, queue: str, job_id: str) -> int:
    """Forget a job that failed; returns how many that were: none if it is gone meanwhile.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    registry = _named(client, queue).failed_job_registry
    if job_id not in registry:
        return 0
    registry.remove(job_id)
    with suppress(InvalidJobOperation):  # one that has no state any more
        if (job := _job(client, job_id)) is not None and job.is_failed:
            job.delete(remove_from_queue=False)
    return 1


def _named(client: redis.Redis, name: str) -> Queue:
    return Queue(name, connection=client, serializer=JSONSerializer)


def _queue(queue: Queue) -> QueueFacts:
    started, failed = queue.started_job_registry, queue.failed_job_registry
    return QueueFacts(
        queue.name,
        queue.count,
        started.get_job_count(cleanup=False),
        failed.get_job_count(cleanup=False),
        queue.scheduled_job_registry.get_job_count(cleanup=False),
        _jobs(queue, _last(started)),
        _jobs(queue, _last(failed)),
    )


def _last(registry: BaseRegistry) -> list[str]:
    """The last to leave a registry, which may be long; without tidying it, which would be a change."""
    return list(dict.fromkeys(registry.get_job_ids(-MOST_JOBS, -1, cleanup=False)))


def _jobs(queue: Queue, ids: Sequence[str]) -> list[JobFacts]:
    jobs = [_job(queue.connection, one) for one in reversed(ids)]
    return [_facts(job) for job in jobs if job is not None]


def _job(client: redis.Redis, job_id: str) -> Job | None:
    """A job; None if it is gone, or not one that we can read."""
    try:
        return Job.fetch(job_id, connection=client, serializer=JSONSerializer)
    except redis.RedisError:
        raise
    except Exception:  # whatever somebody put there
        return None


def _facts(job: Job) -> JobFacts:
    result = job.latest_result()
    whole = without_secrets((result.exc_string if result else None) or "").rstrip()
    return JobFacts(
        job.id,
        _what(job)[:300],
        _aware(job.started_at),
        _aware(job.ended_at),
        job.worker_name or "",
        whole[-MOST_TRACEBACK:],
        whole.rpartition("\n")[2][:300],
        len(whole) > MOST_TRACEBACK,
    )


def _what(job: Job) -> str:
    try:
        return str(job.description or job.func_name or "")
    except Exception:  # its name is within what we cannot read
        return ""


def _worker(worker: BaseWorker) -> WorkerFacts:
    return WorkerFacts(
        worker.name,
        str(worker.get_state()),
        worker.queue_names(),
        worker.hostname or "",
        worker.pid,
        _aware(worker.birth_date),
        _aware(worker.last_heartbeat),
        worker.successful_job_count,
        worker.failed_job_count,
        worker.get_current_job_id() or "",
    )


def _aware(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment
