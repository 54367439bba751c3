"""Arithmetic with periods: pairs of numbers, from the first up to the second, which is no part of them."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

Interval = tuple[int, int]


def union(intervals: Iterable[Interval], within: int = 0) -> list[Interval]:
    """The same periods in order, those as one that overlap, touch, or are at most `within` apart."""
    merged: list[Interval] = []
    for since, until in sorted(one for one in intervals if one[0] < one[1]):
        if merged and since - merged[-1][1] <= within:
            merged[-1] = merged[-1][0], max(until, merged[-1][1])
        else:
            merged.append((since, until))
    return merged


def between(intervals: Iterable[Interval]) -> list[Interval]:
    """What lies between the first and the last of these periods and in none of them."""
    return [(one[1], other[0]) for one, other in pairwise(union(intervals))]


def without(intervals: Iterable[Interval], taken: Iterable[Interval]) -> list[Interval]:
    """What of these periods lies in none of those that are `taken`."""
    return list(_without(union(intervals), union(taken)))


def _without(intervals: Sequence[Interval], taken: Sequence[Interval]) -> Iterator[Interval]:
    first = 0
    for since, until in intervals:
        while first < len(taken) and taken[first][1] <= since:
            first += 1
        at, left = first, since
        while at < len(taken) and taken[at][0] < until:
            if left < taken[at][0]:
                yield left, taken[at][0]
            left = taken[at][1]
            at += 1
        if left < until:
            yield left, until


def fewest(intervals: Iterable[Interval], most: int) -> list[Interval]:
    """The same periods, at most so many: those are made one that are nearest to each other."""
    merged = union(intervals)
    while len(merged) > most:
        distances = [other[0] - one[1] for one, other in pairwise(merged)]
        at = distances.index(min(distances))
        merged[at : at + 2] = [(merged[at][0], merged[at + 1][1])]
    return merged
