"""Time that is only counted: what is due is done in order, and the clock jumps from one to the next."""

import heapq
from collections.abc import Callable
from itertools import count


class Timeline:
    """Seconds since the beginning, and what is due when."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._number = count()

    def after(self, seconds: float, do: Callable[[], object]) -> None:
        """Do something in so many seconds; what is due at the same moment is done in the order of asking."""
        heapq.heappush(self._due, (self.now + seconds, next(self._number), do))

    def run(self, until: float) -> None:
        """Do all that is due before then."""
        due = self._due
        while due and due[0][0] < until:
            self.now, _, do = heapq.heappop(due)
            do()
        self.now = until
