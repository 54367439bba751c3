"""What is gathered of calls until their claim is settled, and how it is packed."""

import pytest
from hypothesis import given
from hypothesis.strategies import binary, integers, lists

from workers.handlers.history import node_of, nodes_over, pack_ids, unpack_ids
from workers.handlers.registry import GiveUp, TryLater
from workers.handlers.run_notes import MOST_ERRORS, Outcome, Run, RunNotes, counted, outcome_of, upper_bound
from workers.handlers.time_limits import CallTimeout


@given(integers(0, 10**9))
def test_a_bucket_tells_a_duration_to_a_quarter(micros: int) -> None:
    ((bucket, number),) = counted([micros / 1e6])
    took = int(micros / 1e6 * 1e6)
    assert number == 1
    assert took < upper_bound(bucket) * 1e6 <= took * 1.25 + 1


@given(lists(binary(min_size=12, max_size=12), min_size=1, max_size=50, unique=True))
def test_ids_come_back_as_they_were_packed_and_each_finds_the_run(ids: list[bytes]) -> None:
    ids.sort()
    assert unpack_ids(ids[0], ids[-1], pack_ids(ids)) == ids
    assert all(node_of(ids[0], ids[-1]) in nodes_over(one) for one in ids)


def failed(number: int, error: str) -> Run:
    return Run(Outcome.FAILED, 1.0, 2.0, [bytes([number])], error=error, traceback="T")


def test_what_fails_alike_is_one_run_and_errors_of_a_kind_are_together_from_some_on() -> None:
    notes = RunNotes()
    for number in range(40):
        notes.failed(
            Run(Outcome.FAILED, 1.0, 2.0, [bytes([number])], error=f"ValueError: {number}", traceback="T")
        )
    for number in range(40):
        notes.failed(Run(Outcome.FAILED, 1.0, 2.0, [bytes([number])], error=f"E{number}: no", traceback="T"))
    notes.failed(Run(Outcome.FAILED, 1.0, 2.0, [b"x"], error="ValueError: 0", traceback="T"))
    runs = notes.taken()
    assert notes.taken() == []
    assert sum(len(run.ids) for run in runs) == sum(len(run.took) for run in runs) == 81
    assert len(runs) <= 2 * MOST_ERRORS + 2
    assert (runs[0].error, len(runs[0].ids), runs[0].traceback) == ("ValueError: 0", 2, "T")
    assert (runs[MOST_ERRORS].error, len(runs[MOST_ERRORS].ids), runs[MOST_ERRORS].traceback) == (
        "ValueError",
        35,
        "",
    )


@pytest.mark.parametrize(
    ("error", "took", "outcome"),
    [
        (GiveUp("no"), 9, Outcome.GAVE_UP),
        (TryLater("no"), 9, Outcome.LATER),
        (CallTimeout("x"), 5.1, Outcome.TIMED_OUT),
        (TimeoutError(), 5.1, Outcome.TIMED_OUT),
        (TimeoutError("of its own"), 0.1, Outcome.FAILED),
        (ValueError(), 9, Outcome.FAILED),
    ],
)
def test_an_error_says_what_a_run_came_to(error: BaseException, took: float, outcome: Outcome) -> None:
    assert outcome_of(error, took, timeout=5.0) is outcome
