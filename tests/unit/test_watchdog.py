"""Calls that do not let themselves be interrupted, or do something to the process they are in."""

import os
import signal
import threading
import time
from collections.abc import Callable

import pytest

from ingest.testing.surroundings import alarm_kept
from workers.handlers import time_limits
from workers.handlers.surroundings import kept
from workers.handlers.time_limits import GRACE, CallTimeout, Watchdog, alarms, time_limit


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


def test_a_child_that_a_call_forks_ends_where_it_comes_back(capfd: pytest.CaptureFixture[str]) -> None:
    parent, watchdog = os.getpid(), Watchdog("h", 5.0)
    with watchdog.watching(watchdog):
        child = os.fork()
    if os.getpid() != parent:
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    assert capfd.readouterr().err == "h forked, and its child came back: it was ended there; use subprocess\n"


def test_a_child_that_closes_its_files_as_a_daemon_does_ends_there_too() -> None:
    parent, watchdog = os.getpid(), Watchdog("h", 5.0)
    try:
        with watchdog.watching(watchdog):
            if not (child := os.fork()):
                os.close(2)
    finally:
        if os.getpid() != parent:
            os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1


def test_a_child_that_a_module_forks_is_no_second_worker(capfd: pytest.CaptureFixture[str]) -> None:
    parent = os.getpid()
    with kept("shop"):
        child = os.fork()
    if os.getpid() != parent:
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    assert capfd.readouterr().err.startswith("INGEST_HANDLERS=shop forked")


@pytest.mark.parametrize(
    "change",
    [
        lambda: signal.signal(signal.SIGALRM, signal.SIG_IGN),
        lambda: signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGALRM,)),
    ],
    ids=["ignored", "blocked"],
)
def test_a_call_that_changes_the_alarm_leaves_the_next_one_its_time_limit(change: Callable[[], object]) -> None:
    with alarm_kept(), alarms():
        with time_limit(60.0):
            change()
        with pytest.raises(CallTimeout), time_limit(60.0):
            signal.raise_signal(signal.SIGALRM)


def test_an_alarm_that_interrupts_nothing_is_repeated() -> None:
    """As where another thread takes it, because a profiler has stopped the main thread just then."""

    def call() -> None:
        ours = signal.getsignal(signal.SIGALRM)
        signal.signal(signal.SIGALRM, lambda *_: signal.signal(signal.SIGALRM, ours))
        _, again = signal.getitimer(signal.ITIMER_REAL)
        signal.setitimer(signal.ITIMER_REAL, 0.01, again)
        time.sleep(30)

    with alarm_kept(), alarms(), pytest.raises(CallTimeout), time_limit(60.0):
        call()


def test_what_a_call_does_when_it_is_interrupted_is_not_interrupted_again() -> None:
    with alarm_kept(), alarms(), time_limit(60.0):
        with pytest.raises(CallTimeout):
            signal.raise_signal(signal.SIGALRM)
        assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
