"""When calls were lost: answered 503, as nothing could keep them."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from ingest.stream.uptime import up

#: µs between two lost calls up to which they belong to one period.
ONE_PERIOD = 600_000_000
#: Periods that wait to be told of; if there are more, the oldest two become one.
MOST_PERIODS = 20


@dataclass(slots=True)
class LossPeriod:
    """From the first to the last of some lost calls, in µs since the start of the machine."""

    number: int
    since: int
    through: int
    calls: int = 1


class Losses:
    """The calls that one process lost."""

    def __init__(self, clock: Callable[[], int] = up) -> None:
        self._clock = clock
        #: Unix times in seconds of the first and the last; None if there was none.
        self.first_at: float | None = None
        self.last_at: float | None = None
        #: The last period, and those before it that nobody was told of yet.
        self.periods: list[LossPeriod] = []
        self._number = 0

    def note(self) -> None:
        """A call is lost now."""
        self.last_at = time.time()
        self.first_at = self.first_at or self.last_at
        now, last = self._clock(), self.periods[-1] if self.periods else None
        if last is not None and now - last.through <= ONE_PERIOD:
            last.through = now
            last.calls += 1
            return
        self._number += 1
        self.periods.append(LossPeriod(self._number, now, now))
        if len(self.periods) > MOST_PERIODS:
            oldest = self.periods.pop(0)
            self.periods[0].since = oldest.since
            self.periods[0].calls += oldest.calls

    def told(self, through: int) -> None:
        """Periods up to the one with this number are known elsewhere: forget those that cannot grow any more."""
        grows_from = self._clock() - ONE_PERIOD
        self.periods = [one for one in self.periods if one.number > through or one.through >= grows_from]
