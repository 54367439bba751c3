"""The table of gaps: which are due, and that one process at a time fills them."""

import pytest

from ingest.copernica.events import MICROS
from workers import gaps
from workers.gaps import filling
from workers.gaps.gap import Cause, Cut, State, cuts
from workers.store.store import Store

#: A moment in µs since 1970, and a minute.
NINE = 1_795_165_200_000_000
MINUTE = 60 * MICROS
#: By then, what ended within the first hour after `NINE` is due.
TEN = NINE + 60 * MINUTE


def put(store: Store, *rows: Cut) -> None:
    with store.writing() as connection:
        for row in rows:
            row.put(store, connection)


def cut(since: int, until: int | None, cause: Cause = Cause.NO_ENDPOINT, state: State = State.ENDED) -> Cut:
    """Minutes after nine."""
    return Cut(NINE + since * MINUTE, cause, None if until is None else NINE + until * MINUTE, state, NINE)


def states(store: Store) -> list[State]:
    with store.reading() as connection:
        return [row.state for row in cuts(connection)]


def test_what_ended_a_minute_ago_is_due_and_neighbours_are_one_gap(store: Store) -> None:
    put(store, cut(0, 5), cut(4, 9, Cause.ANSWERED_503), cut(12, 13), cut(30, 31), cut(58, 59), cut(59, None))
    assert [(gap.since, gap.until) for gap in gaps.due(store, TEN - 1)] == [
        (NINE, NINE + 13 * MINUTE),
        (NINE + 30 * MINUTE, NINE + 31 * MINUTE),
    ]
    assert gaps.due(store, TEN)[0].causes == (Cause.ANSWERED_503, Cause.NO_ENDPOINT)
    assert len(gaps.due(store, TEN)) == 3


def test_one_process_at_a_time_fills_a_gap(store: Store) -> None:
    put(store, cut(0, 5), cut(30, 31))
    first, second = gaps.due(store, TEN)
    held = gaps.begin(store, first, TEN)
    assert held is not None
    assert held.attempts == 1
    assert gaps.begin(store, first, TEN) is None
    assert gaps.begin(store, second, TEN) is None
    assert gaps.renew(store, held, TEN + MINUTE)
    assert gaps.begin(store, second, TEN + 2 * MINUTE) is None
    assert gaps.close(store, held, {"by": "results"}, TEN + 2 * MINUTE) == 1
    assert states(store) == [State.CLOSED, State.ENDED]
    assert gaps.begin(store, second, TEN + 2 * MINUTE) is not None


def test_a_gap_whose_holder_died_is_due_again_and_only_the_next_holder_can_say_that_it_failed(
    store: Store,
) -> None:
    put(store, cut(0, 5))
    (gap,) = gaps.due(store, TEN)
    dead = gaps.begin(store, gap, TEN)
    assert dead is not None
    assert gaps.due(store, TEN + MINUTE) == []
    later = TEN + 3 * MINUTE
    next_one = gaps.begin(store, gaps.due(store, later)[0], later)
    assert next_one is not None
    assert next_one.attempts == 2
    assert not gaps.renew(store, dead, later)
    assert not gaps.failed(store, dead, "It was away.", None, later)
    assert gaps.failed(store, next_one, "Copernica does not answer.", later + MINUTE, later)
    assert gaps.due(store, later) == []
    assert gaps.due(store, later + MINUTE)[0].attempts == 2


def test_a_gap_that_nothing_tries_any_more_can_still_be_closed_by_hand(store: Store) -> None:
    put(store, cut(0, 5))
    held = gaps.begin(store, gaps.due(store, TEN)[0], TEN)
    assert held is not None
    gaps.failed(store, held, "Copernica has no results that old.", None, TEN)
    assert states(store) == [State.CANNOT_BE_CLOSED]
    assert gaps.due(store, TEN) == []
    assert gaps.filled(store, NINE, TEN, {"by": "log files"}, TEN) == 1
    assert states(store) == [State.CLOSED]
    with store.reading() as connection:
        assert cuts(connection)[0].details == {"attempts": 1, "by": "log files"}


@pytest.mark.parametrize("since", [-1, 3])
def test_a_period_closes_only_what_lies_wholly_within_it_and_is_over(store: Store, since: int) -> None:
    put(store, cut(0, 5), cut(6, None, state=State.OPEN))
    gaps.filled(store, NINE + since * MINUTE, NINE + 59 * MINUTE, {"by": "results"}, TEN)
    assert states(store) == [State.CLOSED if since < 0 else State.ENDED, State.OPEN]


def test_old_gaps_are_forgotten_unless_something_waits_for_them(store: Store) -> None:
    put(store, cut(0, 1, state=State.CLOSED), cut(2, 3), cut(4, 5, state=State.CANNOT_BE_CLOSED), cut(6, 60))
    put(store, cut(7, 8, state=State.CLOSED))
    assert filling.forget(store, NINE + 6 * MINUTE) == 2
    assert states(store) == [State.ENDED, State.ENDED, State.CLOSED]


def test_what_another_process_fills_is_left_to_it(store: Store) -> None:
    put(store, cut(0, 5))
    held = gaps.begin(store, gaps.due(store, TEN)[0], TEN)
    assert held is not None
    assert gaps.filled(store, NINE, TEN, {"by": "log files"}, TEN) == 0
    assert gaps.close(store, held, {"by": "results"}, TEN) == 1
