"""Whether something happens much more often than usual: numbers that only grow, looked at now and then."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

#: Seconds that count as "now" …
WINDOW = 600.0
#: … and those before them that count as "usual".
BEFORE = 24 * 3600.0
#: Times as often as usual that something has to happen now.
FACTOR = 5.0
#: Seconds between two samples that are kept: a day of them is some 300.
APART = 300.0
#: Of how many processes it is remembered what they had said.
SEEN_MAX = 1000


class Sample(NamedTuple):
    """How much there had been at a Unix time in seconds."""

    at: float
    total: float


class Counted:
    """The sum of counters of several processes, which begin at 0 again whenever a process does."""

    def __init__(self, total: float, seen: Mapping[str, float] | None) -> None:
        """`seen` is what each had said by the last look; None if there was none: then nothing is new."""
        self.total = total
        self._seen = seen

    def add(self, now: Mapping[str, float]) -> None:
        """What each of them says now."""
        if self._seen is not None:
            self.total += sum(max(0.0, value - self._before(name, value)) for name, value in now.items())
        # Who is missing from one look comes back with the same counts.
        missing = {name: value for name, value in (self._seen or {}).items() if name not in now}
        self._seen = dict([*missing.items(), *now.items()][-SEEN_MAX:])

    def _before(self, name: str, value: float) -> float:
        before = (self._seen or {}).get(name, 0.0)
        return before if before <= value else 0.0  # another process has its name

    @property
    def seen(self) -> Mapping[str, float] | None:
        """For the next look."""
        return self._seen


class Rise(NamedTuple):
    """How often something happened within the last `WINDOW`, and usually does within as much time."""

    now: float
    usual: float


def kept(samples: Iterable[Sample], now: Sample) -> list[Sample]:
    """The samples to keep, with this one."""
    young = [one for one in samples if now.at - BEFORE - WINDOW <= one.at <= now.at]
    # The last one moves along until it is far enough from the one before it.
    if len(young) >= 2 and young[-1].at - young[-2].at < APART:
        young.pop()
    return [*young, now]


def rise(samples: Sequence[Sample], least: float, usual: float | None = None) -> Rise | None:
    """Whether so much happened in the last window, and many times as much as usual; None if not.

    `usual` is what was usual when that began, while it lasts: what goes on for a day must not become usual.
    """
    if not samples:
        return None
    last = samples[-1]
    earlier = [one for one in samples if one.at <= last.at - WINDOW]
    begin = earlier[-1] if earlier else samples[0]
    # Samples are apart, so the window may be longer than it should be, and what is in it is less then.
    seconds = max(last.at - begin.at, 1.0)
    happened = (last.total - begin.total) * min(1.0, WINDOW / seconds)
    if usual is None:
        first = samples[0]
        usual = (
            (begin.total - first.total) / max(begin.at - first.at, 1.0) * WINDOW if begin.at > first.at else 0.0
        )
    if happened < least or happened < FACTOR * usual:
        return None
    return Rise(happened, usual)
