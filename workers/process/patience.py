"""What a worker does while Redis fails it: it waits, says so once, and leaves no work-horse alone.

rq says so with each attempt, takes any answer but a lost connection for the end of the worker, and would even
leave while its work-horse is in the middle of a job.
"""

import logging
import sys
from typing import Any

import redis
from redis.client import Pipeline
from rq.job import Job

from ingest.redis_errors import Outage
from workers.process.rq_compat import CompatWorker

log = logging.getLogger(__name__)

#: Seconds without any failure after which Redis serves again: it may take a heartbeat and refuse to give jobs.
STEADY = 10.0

#: How Redis is, as this process has found; one, since all loggers of rq share it.
redis_outage = Outage(log, "the worker waits for Redis", STEADY)


class PatientWorker(CompatWorker):
    """An RQ worker that watches its work-horse whatever Redis says."""

    def heartbeat(self, timeout: int | None = None, pipeline: Pipeline | None = None) -> None:
        """Report that it is alive."""
        super().heartbeat(timeout, pipeline)
        if pipeline is None:
            redis_outage.served()

    def maintain_heartbeats(self, job: Job, execution: Any) -> None:
        """While a job runs; if that is not possible, the job goes on all the same."""
        try:
            super().maintain_heartbeats(job, execution)
        except redis.RedisError as error:
            redis_outage.failed(error)


def say_once(record: logging.LogRecord) -> bool:
    """A filter for rq's loggers: what they say about a Redis that fails is said by `redis_outage`, once."""
    error = record.exc_info[1] if record.exc_info else sys.exc_info()[1]
    if isinstance(error, redis.RedisError):
        redis_outage.failed(error)
        return False
    return True
