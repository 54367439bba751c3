"""Calls that do not let themselves be interrupted."""

import threading

import pytest

from workers.handlers import time_limits
from workers.handlers.time_limits import GRACE, Watchdog


def test_a_call_that_goes_on_after_its_time_limit_ends_the_process(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    ended: list[float] = []
    watchdog = Watchdog("h", 5.0, end=lambda: ended.append(now), clock=lambda: now)
    first, second = object(), object()
    with watchdog.watching(first):
        now = 4.0
        with watchdog.watching(second):
            now = 5.0 + GRACE
            watchdog.look()
            assert ended == []
    now = 8.9 + GRACE
    with watchdog.watching(first):
        watchdog.look()
        assert ended == []  # it is another call
        now = 14.0 + 2 * GRACE
        watchdog.look()
    assert ended == [now]
    assert "h: a call goes on 10 s after its limit of 5 s" in caplog.text


def test_it_watches_from_a_thread_while_it_is_entered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_limits, "WATCH_EVERY", 0.01)
    ended = threading.Event()
    with Watchdog("h", -GRACE, end=ended.set) as watchdog, watchdog.watching(watchdog):
        assert ended.wait(30)
