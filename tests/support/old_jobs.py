"""Jobs as version 0.1 left them in Redis: read from a server into which it had enqueued each of them once."""

import json
from pathlib import Path
from typing import NamedTuple

import redis
from rq import Queue
from rq.registry import FailedJobRegistry
from rq.serializers import JSONSerializer

from ingest.jobs import EVENTS_QUEUE, HANDLERS_QUEUE

#: The queues that had jobs in 0.1.
QUEUES = (EVENTS_QUEUE, HANDLERS_QUEUE)
_FILE = Path(__file__).with_name("jobs_of_0_1.json")


class OldJob(NamedTuple):
    """What RQ 3.0 stores of a job: its queue, its id, and the fields of its hash."""

    queue: str
    id: str
    fields: dict[str, bytes]

    def restore(self, client: redis.Redis) -> None:
        """Put it into Redis as it was."""
        client.hset(f"rq:job:{self.id}", items=[part for pair in self.fields.items() for part in pair])
        client.sadd("rq:queues", f"rq:queue:{self.queue}")
        client.rpush(f"rq:queue:{self.queue}", self.id)


def old_jobs() -> list[OldJob]:
    """One of each kind, in the order in which they were enqueued."""
    return [
        OldJob(job["queue"], job["id"], {name: text.encode("latin-1") for name, text in job["fields"].items()})
        for job in json.loads(_FILE.read_text())["jobs"]
    ]


def unfinished(client: redis.Redis) -> dict[str, list[str]]:
    """The jobs that wait or have failed, by queue."""
    found = {}
    for name in QUEUES:
        queue = Queue(name, connection=client, serializer=JSONSerializer)
        failed = FailedJobRegistry(queue=queue).get_job_ids(cleanup=False)
        found[name] = [job_id for job_id in [*queue.job_ids, *failed] if job_id in {job.id for job in old_jobs()}]
    return found
