"""Rates and circuit breakers that all workers share. Time passes here when a test says so."""

import pytest
import redis

from ingest.stream.keys import Keys
from tests.support.stream import let_pass
from workers.handlers import throttle
from workers.handlers.throttle import Bucket, TargetBreaker

#: Seconds that a breaker stays open at first: no test takes as long, however slow the machine.
OPEN_FIRST = 1000.0


@pytest.fixture(autouse=True)
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "OPEN_FIRST", OPEN_FIRST)
    monkeypatch.setattr(throttle, "OPEN_MOST", 3 * OPEN_FIRST)
    monkeypatch.setattr(throttle, "FORGET", 10**6)


def test_the_breaker_opens_doubles_and_closes(client: redis.Redis) -> None:
    key = Keys().breaker("t")
    breaker, other = TargetBreaker(client, "t", 5), TargetBreaker(client, "t", 5)
    for _ in range(throttle.OPENS_AT - 1):
        assert not breaker.failed()
        assert other.permission() == (0, False)
    assert other.failed()
    assert 0 < breaker.permission().wait <= OPEN_FIRST
    assert not breaker.failed(), "a call that was under way changes nothing"
    let_pass(client, key, OPEN_FIRST)
    assert breaker.permission().probe, "one may look"
    assert other.permission().wait > 0, "and one only"
    assert breaker.failed()
    assert OPEN_FIRST < other.permission().wait <= 2 * OPEN_FIRST, "twice as long"
    let_pass(client, key, 2 * OPEN_FIRST)
    assert other.permission().probe
    assert other.failed()
    assert 2 * OPEN_FIRST < other.permission().wait <= throttle.OPEN_MOST, "and no longer than the most"
    let_pass(client, key, throttle.OPEN_MOST)
    assert other.permission().probe
    other.succeeded()
    assert breaker.permission() == other.permission() == (0, False)
    assert not breaker.failed(), "it begins anew"


def test_a_probe_that_was_killed_is_made_again(client: redis.Redis) -> None:
    key = Keys().breaker("t")
    breaker = TargetBreaker(client, "t", timeout=499)
    for _ in range(throttle.OPENS_AT):
        breaker.failed()
    let_pass(client, key, OPEN_FIRST)
    assert breaker.permission().probe
    assert 0 < breaker.permission().wait <= 500
    let_pass(client, key, 500)
    assert breaker.permission().probe


def test_a_probe_with_nothing_to_call_is_given_back(client: redis.Redis) -> None:
    breaker = TargetBreaker(client, "t", 5)
    for _ in range(throttle.OPENS_AT):
        breaker.failed()
    let_pass(client, Keys().breaker("t"), OPEN_FIRST)
    assert breaker.permission().probe
    breaker.not_tried()
    assert breaker.permission().probe


def test_the_bucket_gives_what_the_rate_allows(client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "BURST", 100_000.0)
    monkeypatch.setattr(throttle, "HELD", 0.0)
    # A hundred at once, and one more in a thousand seconds.
    bucket, other = Bucket(client, "b", 0.001), Bucket(client, "b", 0.001)
    assert bucket.take(60) == (60, 0)
    taken, wait = other.take(60)
    assert taken == 40
    assert 900 < wait <= 1000
    let_pass(client, Keys().bucket("b"), 50_000)
    assert bucket.take(60)[0] == 50
    let_pass(client, Keys().bucket("b"), 10**6)
    assert other.take(1000)[0] == 100, "what is not used is not saved up"


def test_a_rate_below_one_gives_one_call_at_a_time(client: redis.Redis) -> None:
    slow = Bucket(client, "slow", 0.001)
    assert slow.take(5)[0] == 1
    taken, wait = slow.take(5)
    assert taken == 0
    assert 900 < wait <= 1000
