"""A work-horse that runs, as rq shows it to the worker that has forked it."""

import logging
import os
from pathlib import Path
from typing import Any

import pytest
import redis
from rq import Queue
from rq.serializers import JSONSerializer

from ingest.jobs import DRAIN_JOB, EVENTS_QUEUE
from tests.support.running import exists
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
