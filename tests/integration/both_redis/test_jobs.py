"""Jobs: the names of those that are enqueued, now and by the version before; and what is enqueued once a day."""

import logging
from datetime import UTC, datetime
from typing import Any

import pytest
import redis
from rq import Queue
from rq.job import Job, JobStatus
from rq.results import Result
from rq.serializers import JSONSerializer

import ingest.jobs
from ingest import unknown_jobs
from ingest.endpoint import maintenance
from ingest.jobs import (
    CATCH_UP_JOB,
    DAILY_EVERY,
    DAILY_JOB,
    DRAIN_JOB,
    EVENTS_QUEUE,
    FIND_GAPS_JOB,
    MAILINGS_JOB,
    RECONCILE_JOB,
    VERIFY_JOB,
    JobScheduler,
)
from ingest.redis_errors import Outage
from ingest.settings import Settings
from ingest.stream.heartbeats import Heartbeats
from ingest.stream.keys import Keys
from ingest.stream.partitions import Partitions
from ingest.stream.reports import EndpointReport
from tests.support.builders import aged_call
from tests.support.old_jobs import OldJob, old_jobs
from tests.support.stream import job_names, keep
from workers import jobs
from workers.process import worker

KEYS = Keys()
SETTINGS = Settings.read({})
REPORT = EndpointReport("off", 0, 0, {}, 0, 0.0, "closed")
#: What the six old jobs are now, in the order of the fixture.
NOW = ["drain", "verify", "retention", "reconcile", "hand_on", "handle"]


@pytest.mark.parametrize(("old", "name"), list(zip(old_jobs(), NOW, strict=True)), ids=NOW)
def test_a_job_of_the_version_before_finds_its_function(client: redis.Redis, old: OldJob, name: str) -> None:
    old.restore(client)
    job: Any = Job.fetch(old.id, client, JSONSerializer)
    assert job.func_name != f"workers.jobs.{name}"
    assert job.func is getattr(jobs, name)
    assert list(job.args) == (["noticed"] if name == "handle" else [])


@pytest.mark.parametrize("name", [name for name in vars(ingest.jobs) if name.endswith("_JOB")])
def test_every_job_that_is_enqueued_is_there(client: redis.Redis, name: str) -> None:
    dotted = getattr(ingest.jobs, name)
    job: Any = Job.create(dotted, connection=client, serializer=JSONSerializer)
    assert job.func is getattr(jobs, dotted.removeprefix("workers.jobs."))


def test_the_job_comes_once_a_day(client: redis.Redis) -> None:
    schedulers = [JobScheduler(client), JobScheduler(client)]
    assert [scheduler.enqueue_daily() for scheduler in schedulers * 2] == [True, False, False, False]
    assert job_names(client) == [DAILY_JOB]
    assert 0 < client.ttl(KEYS.daily) <= DAILY_EVERY
    client.delete(KEYS.daily)  # as it goes after a day
    assert schedulers[1].enqueue_daily()
    assert job_names(client) == [DAILY_JOB] * 2


def test_a_failure_that_is_noted_late_brings_no_second_job(client: redis.Redis) -> None:
    JobScheduler(client).retry_daily()  # of a day that is over
    assert not client.exists(KEYS.daily)
    assert JobScheduler(client).enqueue_daily()


def test_an_endpoint_sees_that_it_is_done(client: redis.Redis) -> None:
    heartbeats, outage = Heartbeats(client, "web:1"), Outage(logging.getLogger(), "it waits")
    for _ in range(3):
        maintenance.report_and_sweep(SETTINGS, heartbeats, JobScheduler(client), REPORT, outage)
    assert sorted(map(str, job_names(client))) == [FIND_GAPS_JOB, MAILINGS_JOB, DAILY_JOB, VERIFY_JOB]


def test_a_round_in_which_nothing_is_due_asks_about_all_of_it_at_once(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler, outage = JobScheduler(client), Outage(logging.getLogger(), "it waits")

    def go_round() -> list[str]:
        maintenance.report_and_sweep(SETTINGS, Heartbeats(client, "web:1"), scheduler, REPORT, outage)
        waiting = sorted(map(str, job_names(client)))
        client.delete(f"rq:queue:{EVENTS_QUEUE}")
        return waiting

    assert go_round() == [FIND_GAPS_JOB, MAILINGS_JOB, DAILY_JOB, VERIFY_JOB]
    assert go_round() == []
    with monkeypatch.context() as watched:
        asked: list[str] = []
        for name in ("set", "exists"):
            watched.setattr(client, name, lambda key, *_, **__: asked.append(key))
        assert go_round() == []
    assert asked == [KEYS.clock]  # which each round notes
    client.delete(KEYS.gaps, KEYS.daily)  # as they go in time
    assert go_round() == [FIND_GAPS_JOB, DAILY_JOB]
    scheduler.note_handoffs(True)
    go_round()
    assert client.exists(KEYS.hand_on)


def test_a_worker_sees_that_it_is_done(client: redis.Redis) -> None:
    for _ in range(2):
        worker._wake(SETTINGS, client, EVENTS_QUEUE, Partitions.alone(client))
    assert sorted(map(str, job_names(client))) == [FIND_GAPS_JOB, DAILY_JOB, VERIFY_JOB]


def test_the_daily_job_keeps_no_worker_from_its_backlog(client: redis.Redis) -> None:
    keep(client, [aged_call(0)])
    worker._wake(SETTINGS, client, EVENTS_QUEUE, Partitions.alone(client))
    assert sorted(map(str, job_names(client))) == [DRAIN_JOB, FIND_GAPS_JOB, DAILY_JOB, VERIFY_JOB]
    assert not JobScheduler(client).wake_drain()


def test_while_the_daily_job_waits_a_sweep_wakes_a_drain_all_the_same(client: redis.Redis) -> None:
    JobScheduler(client).enqueue_daily()
    keep(client, [aged_call(0)])
    assert JobScheduler(client).sweep_backlog()
    assert job_names(client) == [DAILY_JOB, DRAIN_JOB]


def test_what_redis_refuses_does_not_keep_a_sweep_from_the_rest(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(self: Heartbeats, _: EndpointReport) -> None:
        raise redis.ResponseError("OOM")

    monkeypatch.setattr(Heartbeats, "report", refuse)
    outage = Outage(logging.getLogger(), "it waits")
    maintenance.report_and_sweep(SETTINGS, Heartbeats(client, "web:1"), JobScheduler(client), REPORT, outage)
    assert sorted(map(str, job_names(client))) == [FIND_GAPS_JOB, MAILINGS_JOB, DAILY_JOB, VERIFY_JOB]
    assert "OOM" in caplog.text
    assert "Traceback" not in caplog.text


def fail(queue: Queue, job: Job, said: str) -> None:
    """Have it fail as a worker does."""
    queue.remove(job)
    job.set_status(JobStatus.FAILED)
    queue.failed_job_registry.add(job, ttl=1000)
    Result.create_failure(job, 1000, f"Traceback (most recent call last):\n{said}\n")


@pytest.mark.parametrize(
    "said",
    [
        "ValueError: Invalid attribute name: mailings",
        f"ValueError: Invalid attribute name: {MAILINGS_JOB}",
        f"workers.process.own_jobs.JobRefused: it names '{MAILINGS_JOB}'",
    ],
)
def test_a_job_that_a_worker_of_another_release_does_not_know_is_left_alone_for_a_while(
    client: redis.Redis, caplog: pytest.LogCaptureFixture, said: str
) -> None:
    scheduler, queue = JobScheduler(client), Queue(EVENTS_QUEUE, connection=client, serializer=JSONSerializer)
    assert scheduler.sweep_mailings()
    (unknown,) = queue.jobs
    real = queue.enqueue(MAILINGS_JOB, job_id="mailings-real")
    other = queue.enqueue("theirs.job", job_id="other")
    tracebacks = {unknown: said, real: "ValueError: no", other: "ValueError: Invalid attribute name: theirs.job"}
    for job, text in tracebacks.items():
        fail(queue, job, text)
    maintenance._forget_unknown(scheduler)
    assert "did not know the job workers.jobs.mailings" in caplog.text
    assert sorted(queue.failed_job_registry.get_job_ids(cleanup=False)) == ["mailings-real", "other"]
    assert not client.exists(unknown.key)
    for every in (5, 60):
        client.delete(f"{KEYS.mailings}:{every}")
    assert not scheduler.sweep_mailings(), "for some minutes"
    assert unknown_jobs.sweep(client) == set(), "not at each sweep"
    client.delete(KEYS.unknown, f"{KEYS.mailings}:rests")
    assert unknown_jobs.sweep(client) == set()
    assert scheduler.sweep_mailings()


def test_other_kinds_rest_as_well_and_daily_ones_come_again(client: redis.Redis) -> None:
    scheduler, queue = JobScheduler(client), Queue(EVENTS_QUEUE, connection=client, serializer=JSONSerializer)
    for sweep in (scheduler.sweep_coverage, scheduler.sweep_gaps):
        assert sweep()
        (job,) = queue.jobs
        fail(queue, job, f"ValueError: Invalid attribute name: {job.func_name}")
    for name in (RECONCILE_JOB, DAILY_JOB):
        fail(queue, queue.enqueue(name), f"ValueError: Invalid attribute name: {name}")
    today = datetime.now(UTC).date().isoformat()
    client.set(f"{KEYS.reconcile}:{today}", 1, ex=100_000)
    client.set(KEYS.daily, 1, ex=100_000)
    assert unknown_jobs.sweep(client) == {FIND_GAPS_JOB, CATCH_UP_JOB, RECONCILE_JOB, DAILY_JOB}
    assert max(client.ttl(f"{KEYS.reconcile}:{today}"), client.ttl(KEYS.daily)) <= 600, "today again"
    assert client.ttl(KEYS.gaps) > 200
    assert min(client.ttl(f"{KEYS.catch_up}:{every}") for every in (5, 60)) > 200


def test_figures_of_mailings_follow_what_is_stored_and_rest_as_long_as_they_have_to(client: redis.Redis) -> None:
    scheduler = JobScheduler(client)
    assert [scheduler.sweep_mailings() for _ in range(2)] == [True, False]
    scheduler.note_stored()
    assert not scheduler.sweep_mailings(), "one waits for a worker"
    client.flushdb()
    scheduler.rest_mailings(100.0, more=True)
    assert not scheduler.sweep_mailings()
    client.delete(f"{KEYS.mailings}:rests")
    assert scheduler.sweep_mailings()
    assert job_names(client) == [MAILINGS_JOB]
