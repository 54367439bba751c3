"""The names of jobs: those that are enqueued now, and those that the version before left on its queues."""

import subprocess
import sys
from typing import Any

import pytest
import redis
from rq import Queue, SimpleWorker
from rq.job import Job
from rq.serializers import JSONSerializer

import ingest.jobs
from tests.support.old_jobs import QUEUES, OldJob, old_jobs, unfinished
from workers import jobs
from workers.store.schema import upgrade

#: What the six old jobs are now, in the order of the fixture.
NOW = ["drain", "verify", "retention", "reconcile", "hand_on", "handle"]


@pytest.mark.parametrize(("old", "name"), list(zip(old_jobs(), NOW, strict=True)), ids=NOW)
def test_a_job_of_the_version_before_finds_its_function(client: redis.Redis, old: OldJob, name: str) -> None:
    old.restore(client)
    job: Any = Job.fetch(old.id, client, JSONSerializer)
    assert job.func_name != f"workers.jobs.{name}"
    assert job.func is getattr(jobs, name)
    assert list(job.args) == (["noticed"] if name == "handle" else [])


@pytest.fixture
def environ(redis_url: str, tmp_path: Any) -> dict[str, str]:
    database = f"sqlite:///{tmp_path}/events.db"
    upgrade(database)
    return {"REDIS_URL": redis_url, "DATABASE_URL": database, "INGEST_VERIFY": "off"}


def test_a_plain_rq_worker_works_old_jobs_off_too(
    client: redis.Redis, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    for job in old_jobs():
        job.restore(client)
    queues = [Queue(name, connection=client, serializer=JSONSerializer) for name in QUEUES]
    worker = SimpleWorker(queues, connection=client, serializer=JSONSerializer)
    worker.work(burst=True, logging_level=None)
    assert unfinished(client) == {"events": [], "handlers": []}


@pytest.mark.parametrize("name", [name for name in vars(ingest.jobs) if name.endswith("_JOB")])
def test_every_job_that_is_enqueued_is_there(client: redis.Redis, name: str) -> None:
    dotted = getattr(ingest.jobs, name)
    job: Any = Job.create(dotted, connection=client, serializer=JSONSerializer)
    assert job.func is getattr(jobs, dotted.removeprefix("workers.jobs."))


def test_naming_a_job_loads_neither_database_nor_http() -> None:
    code = "import sys, workers.jobs; print({'sqlalchemy', 'aiohttp', 'cryptography'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
