"""How much may be kept of calls that nobody has proved to be Copernica's."""

import pytest

from ingest.endpoint import budget
from ingest.endpoint.budget import CALL_BYTES, MINUTE, UnverifiedBudget


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Unix time, to be set by the test."""
    now = [1_795_165_200.0]
    monkeypatch.setattr(budget, "time", type("Clock", (), {"time": staticmethod(lambda: now[0])}))
    return now


def taken(some: UnverifiedBudget, calls: int, size: int = CALL_BYTES) -> int:
    return sum(some.take(size) for _ in range(calls))


def test_processes_share_what_is_not_in_the_database_yet(now: list[float]) -> None:
    each = [UnverifiedBudget(40 * CALL_BYTES, processes=2) for _ in range(2)]
    assert [taken(some, 50) for some in each] == [20, 20]
    now[0] += MINUTE + 1
    for some in each:
        some.settle(calls=30, size=0, stored_until=now[0])
    assert [taken(some, 50) for some in each] == [5, 5]
    for some in each:
        some.settle(calls=0, size=0, stored_until=now[0] + MINUTE)
    assert [taken(some, 50) for some in each] == [20, 20]


def test_each_minute_has_its_own_limit(now: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "CALLS_PER_MINUTE", 7)
    monkeypatch.setattr(budget, "BYTES_PER_MINUTE", 70 * CALL_BYTES)
    some = UnverifiedBudget(10**9)
    assert taken(some, 50) == 7
    now[0] += MINUTE
    assert taken(some, 50, size=20 * CALL_BYTES) == 3
    now[0] -= 10 * MINUTE  # somebody sets the clock
    some.settle(0, 0, stored_until=now[0] + 20 * MINUTE)
    assert taken(some, 50) == 7
