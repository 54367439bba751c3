"""Jobs that the version before left on its queues, or that someone else put there, and the worker of this one."""

import os
from pathlib import Path

import pytest
import redis
from rq import Queue
from rq.registry import FailedJobRegistry
from rq.serializers import JSONSerializer

from ingest.jobs import EVENTS_QUEUE, JobScheduler
from tests.support.old_jobs import QUEUES, old_jobs, unfinished
from tests.support.running import run


def test_our_worker_works_old_jobs_off(client: redis.Redis, redis_url: str, sqlite_url: str) -> None:
    environ = {"REDIS_URL": redis_url, "DATABASE_URL": sqlite_url, "INGEST_VERIFY": "off"}
    for job in old_jobs():
        job.restore(client)
    for queue in QUEUES:
        done = run("worker", "--burst", "--queue", queue, environ=environ)
        assert done.returncode == 0, done.stderr
    assert unfinished(client) == {"events": [], "handlers": []}


def test_our_worker_runs_nobody_elses_jobs(
    client: redis.Redis, redis_url: str, sqlite_url: str, tmp_path: Path
) -> None:
    queue = Queue(EVENTS_QUEUE, connection=client, serializer=JSONSerializer)
    queue.enqueue("os.system", f"touch {tmp_path}/run")
    JobScheduler(client).enqueue_drain()
    environ = {"REDIS_URL": redis_url, "DATABASE_URL": sqlite_url, "INGEST_VERIFY": "off"}
    done = run("worker", "--burst", environ=environ)
    assert done.returncode == 0, done.stderr
    assert "it names 'os.system'" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()
    assert (len(queue), len(FailedJobRegistry(queue=queue))) == (0, 1)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_worker_does_not_run_as_root_unless_told_to(redis_url: str, sqlite_url: str) -> None:
    environ = {"REDIS_URL": redis_url, "DATABASE_URL": sqlite_url, "INGEST_ALLOW_ROOT": "off"}
    done = run("worker", "--burst", environ=environ)
    assert done.returncode == 2
    assert done.stderr.startswith("ingest: Workers do not run as root")
    assert done.stderr.count("\n") == 1
