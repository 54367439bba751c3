"""What is on a queue is run if it is one of our jobs, and refused whatever else it is."""

import json
import pickle
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from rq import Queue, SimpleWorker
from rq.job import Job
from rq.registry import FailedJobRegistry, StartedJobRegistry
from rq.serializers import JSONSerializer

import ingest.jobs
from ingest.jobs import EVENTS_QUEUE
from tests.support.old_jobs import old_jobs
from workers.process import own_jobs
from workers.process.graceful import GracefulWorker
from workers.process.own_jobs import FUNCTIONS, OwnJob

pytestmark = pytest.mark.slow

#: A job of ours, as Redis has it.
PLAIN = {
    "data": b'["workers.jobs.drain", null, [], {}]',
    "status": "queued",
    "origin": EVENTS_QUEUE,
}


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """The arguments with which jobs of ours were run."""
    found: list[tuple[Any, ...]] = []
    ours = dict.fromkeys(FUNCTIONS, lambda *arguments: found.append(arguments))
    monkeypatch.setattr(own_jobs, "FUNCTIONS", ours)
    return found


@pytest.fixture
def touched(tmp_path: Path) -> Iterator[Path]:
    """A file that a job made which should not have been run."""
    path = tmp_path / "touched"
    yield path
    assert not path.exists()


def queue(client: redis.Redis) -> Queue:
    return Queue(EVENTS_QUEUE, connection=client, serializer=JSONSerializer, job_class=OwnJob)


def put(client: redis.Redis, **fields: Any) -> None:
    everything: dict[Any, Any] = {**PLAIN, **fields}
    client.hset("rq:job:theirs", mapping=everything)
    client.rpush(f"rq:queue:{EVENTS_QUEUE}", "theirs")


def work(client: redis.Redis) -> None:
    class Worker(SimpleWorker, GracefulWorker):
        """One that needs no fork."""

    worker = Worker([queue(client)], connection=client, serializer=JSONSerializer, job_class=OwnJob)
    worker.work(burst=True, logging_level=None)
    worker.end()


class Touching:
    """Makes a file when it is read from a pickle."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._path,)


def data(name: object, *arguments: object, instance: object = None) -> bytes:
    return json.dumps([name, instance, arguments, {}]).encode()


FOREIGN: dict[str, dict[str, Any]] = {
    "a function": {"data": data("os.system", "touch touched")},
    "a module of ours": {"data": data("workers.jobs.drain_job")},
    "a function behind ours": {"data": data("workers.jobs.drain.__globals__")},
    "no name": {"data": data(None)},
    "a list": {"data": data(["workers.jobs.drain"])},
    "a method": {"data": data("workers.jobs.drain", instance="text")},
    "no JSON": {"data": b"\x80"},
    "too little": {"data": b"[]"},
    "success": {"success_callback_name": "os.getpid"},
    "failure": {"failure_callback_name": "os.getpid", "data": data("os.getpid")},
    "stopped": {"stopped_callback_name": "os.getpid"},
    "a webhook": {"webhooks": json.dumps([{"url": "http://127.0.0.1:1/", "job_status": "failed"}])},
    "retries": {"data": data("os.getpid"), "retries_left": "3", "number_of_retries": "3"},
}


@pytest.mark.parametrize("what", FOREIGN)
def test_a_job_that_is_not_ours_is_refused_and_lies_with_the_failed_ones(
    client: redis.Redis,
    done: list[Any],
    touched: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
) -> None:
    monkeypatch.chdir(touched.parent)
    put(client, **FOREIGN[what])
    put_ours = queue(client).enqueue(ingest.jobs.DRAIN_JOB)
    work(client)
    assert done == [()]  # ours, which came after it
    assert put_ours.is_finished
    assert FailedJobRegistry(queue=queue(client)).get_job_ids() == ["theirs"]
    (said,) = [line for line in caplog.messages if "refused the job theirs" in line]
    assert "\n" not in said


def test_a_pickle_is_not_read(client: redis.Redis, done: list[Any], touched: Path) -> None:
    put(client, data=pickle.dumps(Touching(touched)), meta=pickle.dumps(Touching(touched)))
    work(client)
    assert done == []
    assert FailedJobRegistry(queue=queue(client)).get_job_ids() == ["theirs"]


def test_what_is_no_job_at_all_is_passed_over(client: redis.Redis, done: list[Any]) -> None:
    put(client, status="dancing")
    queue(client).enqueue(ingest.jobs.DRAIN_JOB)
    work(client)
    assert done == [()]


def test_a_callback_of_a_job_that_was_abandoned_is_not_called(
    client: redis.Redis, done: list[Any], touched: Path
) -> None:
    put(client, failure_callback_name="pathlib.Path.touch", data=data("workers.jobs.drain"))
    client.delete(f"rq:queue:{EVENTS_QUEUE}")
    registry = StartedJobRegistry(queue=queue(client))
    client.zadd(registry.key, {"theirs:execution": int(time.time()) - 100})
    registry.cleanup()
    job = OwnJob.fetch("theirs", client, JSONSerializer)
    assert job.failure_callback is None
    assert job.success_callback is None
    assert job.stopped_callback is None
    assert job.webhooks == []


@pytest.mark.parametrize("name", [name for name in vars(ingest.jobs) if name.endswith("_JOB")])
def test_every_job_that_is_enqueued_is_one_of_ours(name: str) -> None:
    assert getattr(ingest.jobs, name) in FUNCTIONS


def test_old_jobs_are_ours_and_mean_what_a_plain_worker_takes_them_for(client: redis.Redis) -> None:
    for old in old_jobs():
        old.restore(client)
        theirs: Any = Job.fetch(old.id, client, JSONSerializer)
        assert OwnJob.fetch(old.id, client, JSONSerializer).func is theirs.func
