"""Which days are reconciled when: none that is not complete is forgotten, and none is passed over."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from ingest.errors import Interrupted
from workers.reconcile import history
from workers.reconcile.history import Tried
from workers.reconcile.report import DayReport
from workers.reconcile.schedule import KEPT, Schedule
from workers.store.schema import upgrade
from workers.store.store import Store

NOW = datetime(2026, 11, 20, 4, tzinfo=UTC)
HOUR, A_DAY = timedelta(hours=1), timedelta(days=1)


def day(number: int, month: int = 11) -> date:
    return date(2026, month, number)


def tried(
    complete: bool, ago: timedelta = 12 * HOUR, attempts: int = 1, failed: bool = True, gone: bool = False
) -> Tried:
    return Tried(complete, attempts, failed, gone, NOW - ago, NOW - ago)


def schedule(days: dict[date, Tried], now: datetime = NOW) -> Schedule:
    return Schedule(days, now.date(), now)


COMPLETE, FAILED = tried(True, A_DAY), tried(False)


def test_nothing_known_makes_yesterday_due_and_nothing_complete() -> None:
    first = schedule({})
    assert (first.due(9), first.through, first.incomplete) == ([day(19)], None, [])


def test_a_day_that_failed_is_tried_again_and_not_passed_over() -> None:
    found = schedule({day(17): COMPLETE, day(18): FAILED, day(19): COMPLETE})
    assert found.due(9) == [day(18)]
    assert found.through == (day(17), day(17))
    assert found.incomplete == [day(18)]
    whole = schedule({day(17): COMPLETE, day(18): COMPLETE, day(19): COMPLETE})
    assert (whole.due(9), whole.through, whole.next_due()) == ([], (day(19), day(17)), None)


def test_days_that_no_worker_was_there_for_are_owed_like_those_that_failed() -> None:
    found = schedule({day(3): COMPLETE, day(17): COMPLETE})
    assert found.due(99) == [day(n) for n in (*range(4, 17), 18, 19)]
    assert found.due(3) == [day(4), day(5), day(6)]
    assert found.through == (day(3), day(3))
    assert found.incomplete == [day(n) for n in (*range(4, 17), 18)], "yesterday may have its turn yet"


def test_a_day_of_long_ago_begins_no_watch_but_is_tried_again() -> None:
    found = schedule({day(1, 6): COMPLETE, day(2, 6): FAILED})
    assert found.due(9) == [day(2, 6), day(19)]
    assert schedule({day(1) - KEPT: FAILED}).due(9) == [day(19)]


@pytest.mark.parametrize(
    ("one", "pause"),
    [
        (tried(False, attempts=1), HOUR),
        (tried(False, attempts=2), 2 * HOUR),
        (tried(False, attempts=4), 8 * HOUR),
        (tried(False, attempts=9000), A_DAY),
        (tried(False, attempts=1, failed=False), A_DAY),
        (tried(False, attempts=2, failed=False), 2 * A_DAY),
        (tried(False, attempts=9, failed=False), 7 * A_DAY),
        (tried(False, attempts=1, gone=True), 7 * A_DAY),
    ],
)
def test_pauses_grow(one: Tried, pause: timedelta) -> None:
    assert one.last_at is not None
    found = schedule({day(18): one, day(19): COMPLETE})
    assert found.next_due() == one.last_at + pause
    at = one.last_at + pause
    assert Schedule({day(18): one, day(19): COMPLETE}, day(20), at - timedelta(seconds=1)).due(9) == []
    assert Schedule({day(18): one, day(19): COMPLETE}, day(20), at).due(9) == [day(18)]


def test_a_clock_that_was_wrong_neither_hides_a_day_nor_makes_one_up() -> None:
    from_the_future = {day(17): COMPLETE, day(18): tried(False, ago=-400 * A_DAY), date(2027, 12, 31): COMPLETE}
    found = schedule({**from_the_future, day(19): COMPLETE})
    assert (found.due(9), found.through, found.incomplete) == ([day(18)], (day(17), day(17)), [day(18)])
    epoch = schedule({date(1969, 12, 31): FAILED, day(19): COMPLETE})
    assert (epoch.due(9), epoch.through) == ([], (day(19), day(19)))


def test_a_day_whose_files_are_gone_is_told_and_waited_for_no_longer() -> None:
    found = schedule({day(17): COMPLETE, day(18): tried(False, gone=True), day(19): COMPLETE})
    assert (found.gone, found.incomplete) == ([day(18)], [day(18)])
    assert found.through == (day(19), day(19))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    upgrade(f"sqlite:///{tmp_path}/events.db")
    return Store.open(f"sqlite:///{tmp_path}/events.db")


def test_what_the_store_notes_of_a_day(store: Store) -> None:
    assert history.tried(store) == {}
    with history.attempt(store, day(17)) as began:
        (noted,) = history.tried(store).values()
        assert (noted.complete, noted.attempts, noted.failed) == (False, 1, True), (
            "a worker that is killed now has tried"
        )
        history.save(store, DayReport(day(17), whole=True), history.API, began)
    (done,) = history.tried(store).values()
    assert (done.complete, done.attempts, done.failed) == (True, 1, False)

    history.save(store, DayReport(day(17), whole=False), history.FILES)
    assert history.tried(store)[day(17)] == done, "a day that was complete stays so"
    history.save(store, DayReport(day(18), error="no", gone=True), history.API)
    history.save(store, DayReport(day(19)), history.FILES)
    two, three = history.tried(store)[day(18)], history.tried(store)[day(19)]
    assert (two.gone, two.failed, two.last_at is None) == (True, True, False)
    assert three == Tried(), "a file by hand is no attempt over REST"
    store.close()


def test_an_attempt_that_is_stopped_leaves_no_trace(store: Store) -> None:
    with pytest.raises(Interrupted), history.attempt(store, day(17)):
        raise Interrupted("The worker was asked to stop.")
    assert history.tried(store) == {}
    store.close()


def test_a_day_whose_totals_differ_is_not_complete_and_is_waited_for_two_weeks() -> None:
    days = {day(n): COMPLETE for n in range(1, 20)}
    totals = {day(2): False, day(17): False, day(18): True, day(19): None}
    found = Schedule(days, NOW.date(), NOW, totals)
    assert found.incomplete == found.differing == [day(2), day(17)]
    assert found.due(9) == [], "its log files are there"
    assert found.through == (day(16), day(3))
    assert [found.is_complete(day(n)) for n in (2, 16, 17, 18, 19)] == [False, True, False, True, True]
    assert found.is_complete(day(20)) is None
    without = Schedule({**days, day(17): FAILED}, NOW.date(), NOW, totals)
    assert (without.differing, without.incomplete, without.log_files(day(17))) == (
        [day(2)],
        [day(2), day(17)],
        False,
    )
