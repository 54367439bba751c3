"""Jobs that a worker of another release did not know, as while an upgrade is under way.

Such a worker fails them at once. That loses nothing, as jobs are wake-ups: what they are for waits until a worker
looks that knows them. But kinds that are enqueued every few seconds would fill the registry of failed jobs and the
worker's log, and one of once a day would not come again until tomorrow. So such failures are forgotten, frequent
kinds are left alone for a while, and daily ones enqueued again after it.
"""

import re
from collections.abc import Collection
from datetime import UTC, datetime

import redis
from rq import Queue
from rq.job import Job
from rq.serializers import JSONSerializer

from ingest import jobs
from ingest.jobs import JobScheduler
from ingest.stream.keys import Keys

#: Those that are forgotten: all of ours.
NAMES = (
    jobs.DRAIN_JOB, jobs.VERIFY_JOB, jobs.DAILY_JOB, jobs.RECONCILE_JOB, jobs.EXPORT_JOB, jobs.FIND_GAPS_JOB,
    jobs.CATCH_UP_JOB, jobs.MAILINGS_JOB, jobs.HAND_ON_JOB, jobs.HANDLE_JOB,
)  # fmt: skip  # a list to be read across
#: Seconds between two looks, and for which a kind that was unknown rests: an upgrade is soon over.
EVERY, REST = 15, 300
#: Failed jobs that are looked at, of those that failed last: real failures stay, and are looked at each time.
LOOK = 20

#: What an RQ worker says of a name that it cannot import, and one of ours of a name that it does not have.
_UNKNOWN = re.compile(r"Invalid attribute name: (?P<part>[\w.]+)$|JobRefused: it names '(?P<name>[\w.]+)'$")


def sweep(client: redis.Redis) -> set[str]:
    """Forget failures of jobs that their worker did not know, if that was done a while ago; returns their names.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    keys, found = Keys(), set[str]()
    if not client.set(keys.unknown, 1, nx=True, ex=EVERY):
        return found
    for queue in jobs.QUEUES:
        found |= _forget(Queue(queue, connection=client, serializer=JSONSerializer), NAMES)
    scheduler, today = JobScheduler(client), datetime.now(UTC).date().isoformat()
    if jobs.MAILINGS_JOB in found:
        scheduler.rest_mailings(REST, more=True)
    if jobs.FIND_GAPS_JOB in found:
        client.set(keys.gaps, 1, ex=REST)
    if jobs.CATCH_UP_JOB in found:
        for every in (jobs.GAPS_EVERY, jobs.GAPS_SWEEP_EVERY):
            client.set(f"{keys.catch_up}:{every}", 1, ex=REST)
    if jobs.DAILY_JOB in found:
        scheduler.retry_daily()
    if jobs.RECONCILE_JOB in found:
        scheduler.retry_reconcile(today, REST)
    if jobs.EXPORT_JOB in found:
        scheduler.retry_export(today, REST)
    return found


def _forget(queue: Queue, names: Collection[str]) -> set[str]:
    registry, found = queue.failed_job_registry, set[str]()
    for job_id in registry.get_job_ids(-LOOK, -1, cleanup=False):
        try:
            job = Job.fetch(job_id, connection=queue.connection, serializer=queue.serializer)
            name = job.func_name or ""
        except redis.RedisError:
            raise
        except Exception:  # noqa: S112  # gone, or whatever somebody else put there: it stays where it is
            continue
        if name in names and _was_unknown(job, name):
            registry.remove(job_id)
            job.delete(remove_from_queue=False)
            found.add(name)
    return found


def _was_unknown(job: Job, name: str) -> bool:
    result = job.latest_result()
    said = _UNKNOWN.search(((result.exc_string if result else None) or "").rstrip())
    return said is not None and (said["name"] == name or (bool(said["part"]) and name.endswith(said["part"])))
