"""Arithmetic with periods, against sets of whole numbers."""

from collections.abc import Iterable
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from workers.gaps.intervals import Interval, between, fewest, union, without

points = st.integers(0, 30)
intervals = st.lists(st.tuples(points, points))


def members(periods: Iterable[Interval]) -> set[int]:
    return {point for since, until in periods for point in range(since, until)}


@given(intervals)
def test_a_union_has_every_moment_and_its_periods_do_not_touch(given: list[Interval]) -> None:
    merged = union(given)
    assert members(merged) == members(given)
    assert all(one[1] < other[0] for one, other in pairwise(merged))


@given(intervals, intervals)
def test_without_leaves_the_moments_that_are_in_none_of_the_others(
    given: list[Interval], taken: list[Interval]
) -> None:
    left = without(given, taken)
    assert members(left) == members(given) - members(taken)
    assert left == sorted(left)


@given(intervals)
def test_between_and_union_are_everything_from_first_to_last(given: list[Interval]) -> None:
    merged = union(given)
    whole = members([(merged[0][0], merged[-1][1])]) if merged else set()
    assert members(between(given)) == whole - members(given)


@given(intervals, st.integers(1, 5))
def test_fewest_loses_no_moment(given: list[Interval], most: int) -> None:
    few = fewest(given, most)
    assert len(few) <= most
    assert members(given) <= members(few)


def test_fewest_makes_neighbours_one() -> None:
    assert fewest([(0, 1), (10, 11), (12, 13), (40, 41)], 3) == [(0, 1), (10, 13), (40, 41)]


def test_a_union_can_take_what_is_near_as_one() -> None:
    assert union([(0, 1), (3, 4), (7, 8)], within=2) == [(0, 4), (7, 8)]
