"""Calls keep to their handler's rate. Time passes here only when a test or a wait lets it."""

import itertools

import pytest
import redis

from ingest.stream.keys import Keys
from tests.support.stream import let_pass
from workers.handlers import rate_limit, throttle
from workers.handlers.rate_limit import RateLimit
from workers.handlers.throttle import Allowance, Bucket
from workers.handlers.turn import Turn

#: Seconds that count as one: the server's own clock, which goes on meanwhile, then hardly counts.
SECOND = 1e6
#: Calls per such second.
RATE = 500


class Clock:
    """The clock of the jobs; the bucket's goes with it."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        let_pass(self._client, Keys().bucket("h"), seconds)


@pytest.fixture
def clock(client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> Clock:
    for module, name in (
        (throttle, "BURST"),
        (throttle, "HELD"),
        (rate_limit, "SHORT_WAIT"),
        (rate_limit, "LAST_WAIT"),
    ):
        monkeypatch.setattr(module, name, getattr(module, name) * SECOND)
    return Clock(client)


def allowance(client: redis.Redis, clock: Clock, rate: int = RATE) -> Allowance:
    """That of one job; all share a bucket."""
    return Allowance(Bucket(client, "h", rate / SECOND), clock)


def at_once(allowance: Allowance) -> int:
    """How many calls are allowed while no time passes."""
    return sum(
        1 for _ in itertools.takewhile(lambda wait: wait == 0, (allowance.take(100) for _ in range(5 * RATE)))
    )


def test_no_window_of_time_has_more_calls_than_the_rate_allows(client: redis.Redis, clock: Clock) -> None:
    turn = Turn(float("inf"), clock)
    jobs = [RateLimit(allowance(client, clock), turn, lambda: False, clock.sleep) for _ in range(3)]
    pauses = itertools.cycle(seconds * SECOND for seconds in (0, 0.02, 0.2, 0, 3, 0.09))
    calls = []
    for job in itertools.islice(itertools.cycle(jobs), 6 * RATE):
        assert job.admit(100)
        calls.append(clock.now)
        if len(calls) % 97 == 0:
            clock.sleep(next(pauses))
    for first in range(0, len(calls), 10):
        for last in range(first, len(calls), 10):
            assert last - first + 1 <= RATE * (1 + (calls[last] - calls[first]) / SECOND) + 0.1


def test_calls_taken_before_a_stall_do_not_exceed_the_rate(client: redis.Redis, clock: Clock) -> None:
    jobs = [allowance(client, clock) for _ in range(10)]
    for job in jobs:
        assert [job.take(100) for _ in range(20)] == [0] * 20  # it holds some more
    clock.sleep(60 * SECOND)
    assert 0.9 * RATE <= sum(map(at_once, jobs)) <= RATE


def test_calls_that_are_held_are_part_of_the_burst(client: redis.Redis, clock: Clock) -> None:
    job = allowance(client, clock)
    most = int(RATE * 0.1)
    assert [job.take(100) for _ in range(1 + 2 + 4 + 8 + 16 + 32 + most)] == [0] * (63 + most)
    clock.sleep(60 * SECOND)
    assert job.take(100) == 0  # and holds all others that it took with this one
    clock.sleep(0.099 * SECOND)
    assert 0.95 * RATE <= at_once(job) <= RATE


def test_slow_calls_of_many_jobs_reach_the_rate_together(client: redis.Redis, clock: Clock) -> None:
    rate = 100  # each of these jobs could make twenty
    jobs = [allowance(client, clock, rate) for _ in range(8)]
    at_once(jobs[0])
    calls = 0
    for _ in range(100):  # five seconds
        clock.sleep(0.05 * SECOND)
        calls += sum(1 for job in jobs if job.take(100) == 0)
    assert 0.95 * 5 * rate <= calls <= 5 * rate + 1


def test_a_job_gives_way_to_others_after_a_last_wait(client: redis.Redis, clock: Clock) -> None:
    turn = Turn(float("inf"), clock)
    job = RateLimit(Allowance(Bucket(client, "h", 0.1 / SECOND), clock), turn, lambda: True, clock.sleep)
    assert job.admit(5)
    assert not job.admit(4)
    assert turn.over
    assert clock.now == rate_limit.LAST_WAIT


def test_a_job_waits_for_its_rate_while_no_other_needs_the_worker(client: redis.Redis, clock: Clock) -> None:
    turn = Turn(15 * SECOND, clock)
    job = RateLimit(Allowance(Bucket(client, "h", 0.1 / SECOND), clock), turn, lambda: False, clock.sleep)
    assert job.admit(3)
    assert job.admit(2)
    assert 9.9 * SECOND < clock.now <= 10 * SECOND
    assert not job.admit(1), "its turn ends first"
    assert clock.now < 16 * SECOND
