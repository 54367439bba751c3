"""Jobs: the names of those that are enqueued, now and by the version before; and what is enqueued once a day."""

import logging
from typing import Any

import pytest
import redis
from rq.job import Job
from rq.serializers import JSONSerializer

import ingest.jobs
from ingest.endpoint import maintenance
from ingest.jobs import (
    DAILY_EVERY,
    DAILY_JOB,
    DRAIN_JOB,
    EVENTS_QUEUE,
    FIND_GAPS_JOB,
    MAILINGS_JOB,
    VERIFY_JOB,
    JobScheduler,
)
from ingest.redis_errors import Outage
from ingest.settings import Settings
from ingest.stream.heartbeats import Heartbeats
from ingest.stream.keys import Keys
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


def test_a_worker_sees_that_it_is_done(client: redis.Redis) -> None:
    for _ in range(2):
        worker._wake(SETTINGS, client, EVENTS_QUEUE)
    assert sorted(map(str, job_names(client))) == [FIND_GAPS_JOB, DAILY_JOB, VERIFY_JOB]


def test_the_daily_job_keeps_no_worker_from_its_backlog(client: redis.Redis) -> None:
    keep(client, [aged_call(0)])
    worker._wake(SETTINGS, client, EVENTS_QUEUE)
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
