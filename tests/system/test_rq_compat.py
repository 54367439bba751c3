"""A work-horse that runs, as rq shows it to the worker that has forked it, and how that worker ends."""

import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import redis
from rq import Queue
from rq.serializers import JSONSerializer

from ingest.jobs import DRAIN_JOB, EVENTS_QUEUE
from ingest.stops import SAME_SIGNAL
from tests.support.running import PATIENCE, descendants, exists, running, until
from workers.process.graceful import GracefulWorker
from workers.process.rq_compat import CompatWorker


class Watching(CompatWorker):
    """Notes what the parent sees of the work-horse, and what the work-horse is."""

    in_horse: Path
    seen: list[tuple[int, bool]]

    def monitor_work_horse(self, *arguments: Any) -> None:
        self.seen.append((self.horse_pid, exists(self.horse_pid)))
        super().monitor_work_horse(*arguments)

    def setup_work_horse_signals(self) -> None:
        super().setup_work_horse_signals()  # type: ignore[no-untyped-call]
        self.in_horse.write_text(str(os.getpid()))


def test_a_worker_knows_the_work_horse_that_runs_its_job(
    client: redis.Redis, redis_url: str, sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("REDIS_URL", redis_url), ("DATABASE_URL", sqlite_url), ("INGEST_VERIFY", "off")):
        monkeypatch.setenv(name, value)
    queue = Queue(EVENTS_QUEUE, connection=client, serializer=JSONSerializer)
    job = queue.enqueue(DRAIN_JOB, result_ttl=60)
    worker = Watching([queue], connection=client, serializer=JSONSerializer)
    worker.in_horse, worker.seen = tmp_path / "pid", []
    worker.work(burst=True, logging_level=None)
    assert worker.seen == [(int(worker.in_horse.read_text()), True)]
    assert worker.seen[0][0] != os.getpid()
    assert not exists(worker.seen[0][0])
    assert job.is_finished


@pytest.mark.parametrize("code", [0, 3])
def test_a_job_whose_work_horse_ends_itself_has_failed_and_that_is_said(
    client: redis.Redis, caplog: pytest.LogCaptureFixture, code: int
) -> None:
    caplog.set_level(logging.WARNING)
    queue = Queue(EVENTS_QUEUE, connection=client, serializer=JSONSerializer)
    job, after = queue.enqueue("os._exit", code), queue.enqueue("os.getpid", result_ttl=60)
    worker = GracefulWorker([queue], connection=client, serializer=JSONSerializer)
    worker.work(burst=True, logging_level=None)
    worker.end()
    assert (job.is_failed, after.is_finished) == (True, True)
    assert ("ended itself in the middle of its job" in caplog.text) == (code == 0)
    assert f"job {job.id} failed (Work-horse terminated" in caplog.text


WORKER = """
import sys
import redis
from rq import Queue
from rq.serializers import JSONSerializer
from workers.process.graceful import GracefulWorker

client = redis.Redis.from_url(sys.argv[1])
queue = Queue("events", connection=client, serializer=JSONSerializer)
GracefulWorker([queue], connection=client, serializer=JSONSerializer).work(logging_level=None)
"""


def test_a_second_request_to_stop_ends_a_worker_whose_job_does_not_hear(
    client: redis.Redis, redis_url: str, tmp_path: Path
) -> None:
    job = Queue(EVENTS_QUEUE, connection=client, serializer=JSONSerializer).enqueue("time.sleep", 600)
    with running([sys.executable, "-c", WORKER, redis_url], {}, tmp_path / "worker.log") as worker:
        until(lambda: job.get_status() == "started" and descendants(worker.pid), "the job")
        (horse,) = descendants(worker.pid)
        worker.send(signal.SIGTERM)
        time.sleep(2 * SAME_SIGNAL)
        worker.send(signal.SIGTERM)
        assert worker.wait() == 0
        until(lambda: not exists(horse), "the end of the work-horse")


def test_a_worker_that_has_ended_leaves_no_thread_behind(client: redis.Redis) -> None:
    before = set(threading.enumerate())
    queue = Queue(EVENTS_QUEUE, connection=client, serializer=JSONSerializer)
    worker = GracefulWorker([queue], connection=client, serializer=JSONSerializer)
    (deadline,) = set(threading.enumerate()) - before
    forked = os.dup(worker._to_deadline)  # as a process has it that a handler has forked
    worker.end()
    deadline.join(PATIENCE)
    os.close(forked)
    assert not deadline.is_alive()
