"""Which workers there are, and what each does at this moment."""

from collections.abc import Iterator

import redis
from rq import Worker
from rq.exceptions import NoSuchJobError
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.worker import BaseWorker

from workers.operations.figures import WorkerFigures

#: Characters of a job's name, and of what it was given, that are shown: whoever reaches Redis chooses them.
SHOWN = 100


def workers(client: redis.Redis) -> tuple[WorkerFigures, ...]:
    """The workers that RQ lists, by where they run.

    Raises:
        redis.RedisError: Redis failed.
    """
    found = map(_figures, Worker.all(connection=client, serializer=JSONSerializer))
    return tuple(sorted(found, key=lambda one: (one.host or "", one.queues, one.name)))


def _figures(worker: BaseWorker) -> WorkerFigures:
    job, began_at = None, None
    try:
        if (execution := worker.execution) is not None:
            began_at = execution.created_at.timestamp()
            job = said(worker.get_current_job())
    except (NoSuchJobError, ValueError, KeyError):  # it has ended meanwhile
        pass
    queues = tuple(worker.queue_names())
    return WorkerFigures(worker.name, queues, str(worker.get_state()), worker.hostname, job, began_at)


def said(job: Job | None) -> str | None:
    """What a job does, in a few words: `drain`, `handle mail`."""
    if job is None:
        return None
    try:
        words = [str(job.func_name).rpartition(".")[2], *map(str, job.args)]
    except Exception:  # its data cannot be read: it is none of ours
        return "?"
    return " ".join(_cut(words))


def _cut(words: list[str]) -> Iterator[str]:
    for word in words:
        yield word if len(word) <= SHOWN else f"{word[:SHOWN]}…"
