"""The way of an event as its page draws it: each step with what stands between it and the one before."""

from dataclasses import dataclass

from ingest.copernica.events import MICROS
from workers.operations.event.way import State, Step, Way, What

#: Steps whose times are whole seconds of another clock: nothing is to be learnt of a short distance from them.
COARSE = frozenset({What.OCCURRED, What.SIGNED, What.COMPARED})
#: µs from which on a distance from those is shown all the same.
WORTH_SHOWING = 2 * MICROS


@dataclass(frozen=True, slots=True)
class Drawn:
    """A step, and how long after the step before it, in µs; None where that is not known or says nothing."""

    step: Step
    after: int | None

    @property
    def kind(self) -> str:
        """The class of style sheets: `done`, `failed` or `under-way`."""
        return self.step.state.value


@dataclass(frozen=True, slots=True)
class Shown:
    """A way as it is drawn."""

    drawn: tuple[Drawn, ...]
    is_complete: bool
    is_under_way: bool

    @property
    def word(self) -> str:
        """How it stands, in one word: `under-way`, `failed` or `done`."""
        if self.is_under_way:
            return State.UNDER_WAY.value
        failed = {one.step.by for one in self.drawn if one.step.what is What.GIVEN_UP}
        return State.FAILED.value if failed else State.DONE.value


def shown(way: Way) -> Shown:
    """A way with the distances between its steps."""
    drawn: list[Drawn] = []
    before: Step | None = None
    for step in way.steps:
        drawn.append(Drawn(step, None if before is None else _distance(before, step)))
        if step.at is not None:
            before = step
    return Shown(tuple(drawn), way.is_complete, way.is_under_way)


def _distance(before: Step, step: Step) -> int | None:
    if before.at is None or step.at is None:
        return None
    distance = max(0, step.at - before.at)
    if (before.what in COARSE or step.what in COARSE) and distance < WORTH_SHOWING:
        return None
    return distance
