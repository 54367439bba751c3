"""The turn that a handler has on a worker."""

import time
from collections.abc import Callable

from workers.runtime import stop_flag


class Turn:
    """Ends at a deadline, when the process is asked to stop, when the handler is paused or gives way to others."""

    def __init__(
        self,
        deadline: float,
        clock: Callable[[], float] = time.monotonic,
        paused: Callable[[], bool] = lambda: False,
    ) -> None:
        """`deadline` is by that clock, in seconds; `paused` says whether the handler was paused meanwhile."""
        self._deadline = deadline
        self._clock = clock
        self._paused = paused
        self._given_way = False

    def give_way(self) -> None:
        """End the turn: the handler has to wait, and others could use the worker."""
        self._given_way = True

    @property
    def over(self) -> bool:
        """Whether no further call should be made."""
        return stop_flag.requested or self._given_way or self._clock() >= self._deadline or self._paused()
