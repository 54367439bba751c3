"""Durations, counted by how long they took."""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate

#: Upper bounds of the buckets in seconds, from a write to Redis on a good day to what a sender waits at most; a
#: longer handler call is in the last one, which has no bound.
BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
#: The same in µs, as calls are timed.
_MICROS = tuple(round(bound * 1e6) for bound in BOUNDS)


class Histogram:
    """How many durations fell into each bucket, and their sum."""

    __slots__ = ("counts", "total")

    def __init__(self, counts: Sequence[int] = (), total: float = 0.0) -> None:
        """`counts` are those of each bucket; what does not fit these buckets is forgotten."""
        fits = len(counts) == len(BOUNDS) + 1
        self.counts = list(counts) if fits else [0] * (len(BOUNDS) + 1)
        #: Of all durations, in seconds.
        self.total = total if fits else 0.0

    def observe(self, seconds: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds

    def observe_since(self, moments: Sequence[int], now: int) -> None:
        """Count a duration for each of these moments until now, all in µs; 0 for one that is still to come.

        There are as many as calls in a batch, and nearly always all are of one bucket.
        """
        if not moments:
            return
        first, last = min(moments), max(moments)
        bucket = bisect_left(_MICROS, now - first)
        if last <= now and bisect_left(_MICROS, now - last) == bucket:
            self.counts[bucket] += len(moments)
            self.total += (now * len(moments) - sum(moments)) / 1e6
            return
        for moment in moments:
            self.counts[bisect_left(_MICROS, now - moment)] += 1
            self.total += max(0, now - moment) / 1e6

    def add(self, other: "Histogram") -> None:
        """Count what another one has counted as well."""
        self.counts = [ours + theirs for ours, theirs in zip(self.counts, other.counts, strict=True)]
        self.total += other.total

    def cumulative(self) -> list[tuple[str, float]]:
        """For each bound, as Prometheus writes it, how many durations were not longer."""
        names = [*map(str, BOUNDS), "+Inf"]
        return list(zip(names, map(float, accumulate(self.counts)), strict=True))


def quantile(counts: Sequence[int], share: float) -> float | None:
    """The seconds within which this share of what was counted took, guessed within a bucket; None of nothing.

    What is in the bucket without a bound took at least the last bound, which is all that is known of it.
    """
    wanted, below, lower = share * sum(counts), 0, 0.0
    if not wanted:
        return None
    for count, upper in zip(counts, BOUNDS, strict=False):
        if count and below + count >= wanted:
            return lower + (upper - lower) * (wanted - below) / count
        below, lower = below + count, upper
    return BOUNDS[-1]
