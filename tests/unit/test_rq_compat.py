"""What `workers.process.rq_compat` uses of rq's inside is still there, and still called as it expects."""

import inspect
from collections.abc import Callable, Iterator

import pytest
import redis
from fakeredis import FakeRedis
from rq import Queue, Worker
from rq.job import Job
from rq.scheduler import RQScheduler
from rq.serializers import JSONSerializer

from workers.process.patience import PatientWorker
from workers.process.rq_compat import CompatWorker, use_scheduler


class Scheduler(RQScheduler):
    """A scheduler of our own, which is not started."""

    def acquire_locks(self, auto_start: bool = False) -> set[str]:
        self.acquired = True
        return set()


@pytest.fixture
def queue() -> Queue:
    return Queue("events", connection=FakeRedis(), serializer=JSONSerializer)


@pytest.fixture
def scheduler() -> Iterator[None]:
    before = RQScheduler
    use_scheduler(Scheduler)
    yield
    use_scheduler(before)


def test_a_worker_starts_the_scheduler_that_was_named(queue: Queue, scheduler: None) -> None:
    worker = CompatWorker([queue], connection=queue.connection)
    worker.work(burst=True, with_scheduler=True)
    assert isinstance(worker.scheduler, Scheduler)
    assert worker.scheduler.acquired


def test_a_worker_is_registered_while_it_works_and_has_no_work_horse(queue: Queue) -> None:
    worker = CompatWorker([queue], connection=queue.connection)
    assert not worker.is_registered()
    worker.register_birth()  # type: ignore[no-untyped-call]
    assert worker.is_registered()
    assert worker.horse_pid == 0


def test_a_worker_of_which_only_heartbeats_are_known_is_not_registered(queue: Queue) -> None:
    worker = CompatWorker([queue], connection=queue.connection)
    worker.register_birth()  # type: ignore[no-untyped-call]
    queue.connection.delete(worker.key)  # it expires while the machine sleeps, or when the clock goes ahead
    worker.heartbeat()
    assert not worker.is_registered()


def test_a_worker_that_is_to_leave_takes_no_further_job(queue: Queue) -> None:
    queue.enqueue("workers.jobs.drain")
    worker = CompatWorker([queue], connection=queue.connection, serializer=JSONSerializer)
    worker.leave_after_this_job()
    assert worker.work(burst=True) is False
    assert len(queue) == 1


def test_a_worker_stays_with_its_work_horse_whatever_redis_says(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = PatientWorker([queue], connection=queue.connection, serializer=JSONSerializer)
    job = queue.enqueue("workers.jobs.drain")

    def refuse(*_: object) -> None:
        raise redis.exceptions.ReadOnlyError("You can't write against a read only replica.")

    monkeypatch.setattr(queue.connection, "pipeline", refuse)
    worker.maintain_heartbeats(job, None)


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        (Worker._pubsub_exception_handler, ["self", "exc", "pubsub", "pubsub_thread"]),
        (Worker.dequeue_job_and_maintain_ttl, ["self", "timeout", "max_idle_time"]),
        (Worker.monitor_work_horse, ["self", "job", "queue", "execution"]),
        (Worker.wait_for_horse, ["self"]),
        (Worker.perform_job, ["self", "job", "queue", "execution"]),
        (Worker.maintain_heartbeats, ["self", "job", "execution"]),
        (Worker.setup_work_horse_signals, ["self"]),
        (Worker.request_stop, ["self", "signum", "frame"]),
        (Worker.handle_exception, ["self", "job", "exc_info"]),
        (Worker.heartbeat, ["self", "timeout", "pipeline"]),
        (Worker.teardown, ["self"]),
        (Job.restore, ["self", "raw_data"]),
        (Job._deserialize_data, ["self"]),
        (RQScheduler.work, ["self"]),
        (RQScheduler.heartbeat, ["self"]),
        (RQScheduler.request_stop, ["self", "signum", "frame"]),
    ],
)
def test_rq_calls_what_is_overridden_by_these_parameters(
    method: Callable[..., object], parameters: list[str]
) -> None:
    assert list(inspect.signature(method).parameters) == parameters


@pytest.mark.parametrize(
    ("caller", "name"),
    [
        (Worker.work, "_stop_requested"),
        (Worker.work, "dequeue_job_and_maintain_ttl"),
        (Worker.check_for_suspension, "_stop_requested"),
        (Worker.subscribe, "_pubsub_exception_handler"),
        (Worker.execute_job, "monitor_work_horse"),
        (Worker.monitor_work_horse, "wait_for_horse"),
        (Worker.main_work_horse, "perform_job"),
        (Worker.monitor_work_horse, "maintain_heartbeats"),
        (Worker.main_work_horse, "setup_work_horse_signals"),
        (Job._execute, "func"),
        (Job.refresh, "restore"),
    ],
)
def test_rq_still_uses_what_is_overridden(caller: Callable[..., object], name: str) -> None:
    assert name in caller.__code__.co_names
