"""Looking for gaps, over both databases: what endpoints said becomes rows, and log files close them."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

from ingest.stream.coverage import ANSWERED_503, COVERED, STOPPED, Statement
from workers import gaps
from workers.gaps import outages
from workers.gaps.gap import Cause, Cut, State, cuts
from workers.gaps.looking import close_by_log_files, update
from workers.reconcile import history
from workers.reconcile.report import DayReport, Outage
from workers.store.store import Store

SECOND = 1_000_000
#: Noon of a day, in µs since 1970.
DAY = date(2026, 11, 20)
NOON = int(datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()) * SECOND
HOUR = 3600 * SECOND


def covered(name: str, since: int, through: int, ended: str | None = None) -> Statement:
    """Seconds after noon."""
    since, through = NOON + since * SECOND, NOON + through * SECOND
    return Statement(name, COVERED, since, through, since, through, ended=ended, at=through, up_at=through)


def failed(name: str, since: int, through: int, calls: int) -> Statement:
    since, through = NOON + since * SECOND, NOON + through * SECOND
    return Statement(name, ANSWERED_503, since, through, since, through, calls=calls, at=through, up_at=through)


def known(store: Store) -> list[Cut]:
    with store.reading() as connection:
        return cuts(connection)


def periods(store: Store) -> list[tuple[float, float | None, Cause, State]]:
    return [
        ((gap.since - NOON) / SECOND, gap.until and (gap.until - NOON) / SECOND, gap.cause, gap.state)
        for gap in known(store)
    ]


def test_a_gap_opens_ends_and_goes_when_somebody_took_the_calls_after_all(store: Store) -> None:
    first = covered("web:1", 0, 100, STOPPED)
    update(store, [first], NOON + 130 * SECOND)
    assert periods(store) == [(100, None, Cause.NO_ENDPOINT, State.OPEN)]
    update(store, [first, covered("web:2", 150, 160)], NOON + 160 * SECOND)
    assert periods(store) == [(100, 150, Cause.NO_ENDPOINT, State.ENDED)]
    update(store, [covered("web:3", 90, 155, STOPPED)], NOON + 170 * SECOND)
    assert periods(store) == []


def test_what_is_being_filled_keeps_its_bounds_and_what_comes_to_it_is_a_gap_of_its_own(store: Store) -> None:
    update(store, [covered("web:1", 0, 100, STOPPED), covered("web:2", 150, 400)], NOON + 400 * SECOND)
    assert gaps.begin(store, gaps.due(store, NOON + HOUR)[0], NOON + 400 * SECOND)
    update(store, [covered("web:1", 0, 100, STOPPED), covered("web:2", 180, 400)], NOON + 400 * SECOND)
    assert periods(store) == [
        (100, 150, Cause.NO_ENDPOINT, State.CATCHING_UP),
        (150, 180, Cause.NO_ENDPOINT, State.ENDED),
    ]


def test_an_attempt_that_failed_is_not_forgotten_when_the_gap_changes(store: Store) -> None:
    update(store, [covered("web:1", 0, 100, STOPPED), covered("web:2", 150, 400)], NOON + 400 * SECOND)
    held = gaps.begin(store, gaps.due(store, NOON + HOUR)[0], NOON + 400 * SECOND)
    assert held
    gaps.failed(store, held, "It does not answer.", NOON + 2 * HOUR, NOON + 401 * SECOND)
    update(store, [covered("web:3", 90, 120, STOPPED)], NOON + 410 * SECOND)
    (gap,) = known(store)
    assert (gap.since, gap.details["attempts"], gap.details["error"]) == (
        NOON + 120 * SECOND,
        1,
        "It does not answer.",
    )
    assert gaps.due(store, NOON + HOUR) == []


def test_many_moments_with_lost_calls_are_few_rows(store: Store) -> None:
    said = [failed(f"web:{n % 9}/503/{n}", n * 50, n * 50 + 1, 2) for n in range(150)]
    update(store, said, NOON + 3 * HOUR)
    update(store, said, NOON + 3 * HOUR)
    assert periods(store) == [(0, 7451, Cause.ANSWERED_503, State.ENDED)]
    assert known(store)[0].calls == 300


def test_lost_calls_that_are_told_again_when_their_gap_is_closed_make_no_other(store: Store) -> None:
    said = failed("web:1/503/1", 0, 10, 5)
    update(store, [said], NOON + 60 * SECOND)
    gaps.filled(store, NOON, NOON + 60 * SECOND, {"by": "results"}, NOON + 60 * SECOND)
    update(store, [said], NOON + 90 * SECOND)
    assert periods(store) == [(0, 10, Cause.ANSWERED_503, State.CLOSED)]
    update(store, [failed("web:1/503/1", 0, 70, 8)], NOON + 90 * SECOND)
    assert periods(store)[1] == (10, 70, Cause.ANSWERED_503, State.ENDED)
    assert [gap.calls for gap in known(store)] == [5, 3]


def test_coverage_of_days_is_one_row_and_gaps_of_days_ago_stay(store: Store) -> None:
    for day in range(3):
        begin = 86_400 * day
        said = [covered(f"web:{day}", begin, begin + 86_000, STOPPED)]
        update(store, said, NOON + (begin + 86_300) * SECOND)
    update(store, [covered("web:3", 3 * 86_400, 3 * 86_400 + 9000)], NOON + (3 * 86_400 + 9000) * SECOND)
    assert [gap[:2] for gap in periods(store)] == [(n * 86_400 - 400, n * 86_400) for n in (1, 2, 3)]
    with store.reading() as connection:
        assert len(list(connection.exec_driver_sql("SELECT * FROM coverage"))) == 2


def complete(store: Store, day: date) -> None:
    history.save(store, DayReport(day, whole=True), history.API)


def test_complete_log_files_of_all_its_days_close_a_gap(store: Store) -> None:
    night = NOON + 12 * HOUR  # at midnight: what occurred before it is in the log files of the day before
    row = Cut(night + SECOND, Cause.NO_ENDPOINT, night + 9 * SECOND, State.ENDED, night)
    with store.writing() as connection:
        row.put(store, connection)
    now = night + 30 * HOUR
    complete(store, DAY + timedelta(days=1))
    assert close_by_log_files(store, known(store), now) == [row]
    complete(store, DAY)
    assert close_by_log_files(store, known(store), now) == []
    assert [(gap.state, gap.details["by"]) for gap in known(store)] == [(State.CLOSED, "log files")]


def test_a_gap_is_given_up_when_its_log_files_are_gone(store: Store) -> None:
    row = Cut(NOON, Cause.NO_ENDPOINT, NOON + SECOND, State.ENDED, NOON)
    with store.writing() as connection:
        row.put(store, connection)
    history.save(store, DayReport(DAY, error="It is gone.", gone=True), history.API)
    assert close_by_log_files(store, [row], NOON + 48 * HOUR) == [row]
    (gap,) = close_by_log_files(store, [row], NOON + 60 * 24 * HOUR)
    assert gap.state is State.CANNOT_BE_CLOSED
    complete(store, DAY)  # from a copy that somebody had
    assert close_by_log_files(store, known(store), NOON + 60 * 24 * HOUR) == []


def test_what_copernica_could_not_reach_is_a_gap_until_the_day_is_complete(store: Store) -> None:
    second = NOON // SECOND
    report = DayReport(DAY, whole=True, error="No.", outages=[Outage(second, second + 9, 4, {"timeout": 4})])
    outages.note(store, report, NOON)
    outages.note(store, report, NOON)
    assert periods(store) == [(0, 10, Cause.UNREACHABLE, State.ENDED)]
    assert known(store)[0].calls == 4
    outages.note(store, replace(report, error=None), NOON)
    assert periods(store) == [(0, 10, Cause.UNREACHABLE, State.CLOSED)]
