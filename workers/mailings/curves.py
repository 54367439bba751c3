"""Curves of mailings over time since sending, for charts and the tables beside them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from workers.mailings.figures import Figures

#: Points of a curve, at most: more cannot be told apart on a screen.
MOST_POINTS = 300
#: Lengths of a step, in hours: of several mailings that are compared, all have the same.
STEPS = (1, 3, 6, 24, 7 * 24, 30 * 24)
#: Hours after which a curve ends at the latest: what is later belongs to its end.
LONGEST = STEPS[-1] * MOST_POINTS
#: Rows of the table beside a chart.
ROWS = 24


class Curve(NamedTuple):
    """Events of one type, by whole hours since sending."""

    hours: Sequence[tuple[int, int]]

    @property
    def total(self) -> int:
        """All of them."""
        return sum(number for _, number in self.hours)

    @property
    def length(self) -> int:
        """Hours until its last event."""
        return max((hour for hour, _ in self.hours), default=-1) + 1


class Shared(NamedTuple):
    """Curves on one axis: `step` hours for each point; each curve adds up from sending on."""

    step: int
    hours: list[int]
    lines: list[tuple[Any, list[int]]]

    @property
    def rows(self) -> list[tuple[int, list[int]]]:
        """Some points, for a table: hours since sending, and the number of each line by then."""
        every = max(1, -(-len(self.hours) // ROWS))
        chosen = [*range(every - 1, len(self.hours), every)]
        if self.hours and (not chosen or chosen[-1] != len(self.hours) - 1):
            chosen.append(len(self.hours) - 1)
        return [(self.hours[at], [line[at] for _, line in self.lines]) for at in chosen]


def curve_of(figures: Figures, kind: str) -> Curve:
    """The curve of a mailing and a type."""
    return Curve([(min(hour, LONGEST - 1), number) for hour, number in figures.curve(kind)])


def shared(curves: Sequence[tuple[Any, Curve]]) -> Shared:
    """Curves under some names, on one axis."""
    length = max((curve.length for _, curve in curves), default=0)
    step = next((step for step in STEPS if length <= step * MOST_POINTS), STEPS[-1])
    points = -(-length // step)
    lines = []
    for name, curve in curves:
        numbers = [0] * points
        for hour, number in curve.hours:
            numbers[hour // step] += number
        for at in range(1, points):
            numbers[at] += numbers[at - 1]
        lines.append((name, numbers))
    return Shared(step, [(at + 1) * step for at in range(points)], lines)
