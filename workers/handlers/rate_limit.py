"""Keeps the calls of one job to their handler's rate: they wait a little for it, or give way to others."""

import asyncio
import time
from collections.abc import Callable

from workers.handlers.throttle import Allowance
from workers.handlers.turn import Turn

#: Seconds to wait for the rate at a time while no other handler needs the worker: then it is asked again.
SHORT_WAIT = 0.25
#: Seconds to wait once more before giving way, so that a worker does more than take turns.
LAST_WAIT = 0.05


class RateLimit:
    """Lets a handler's calls pass as its rate allows."""

    def __init__(
        self,
        allowance: Allowance,
        turn: Turn,
        others_wait: Callable[[], bool],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`others_wait` says whether jobs of other handlers wait for a worker."""
        self._allowance = allowance
        self._turn = turn
        self._others_wait = others_wait
        self._sleep = sleep
        self._gives_way_next = False

    def admit(self, calls: int) -> bool:
        """Wait until the next of so many `calls` may be made; False if the turn is over before that."""
        while wait := self._wait(calls):
            self._sleep(wait)
        return wait is not None

    async def admit_soon(self, calls: Callable[[], int]) -> bool:
        """The same while other calls are under way, which may take all that are left: `calls` says how many."""
        wait: float | None = None
        while (left := calls()) and (wait := self._wait(left)):
            await asyncio.sleep(wait)
        return calls() > 0 and wait is not None and not self._turn.over

    def _wait(self, calls: int) -> float | None:
        """0 if a call may be made now, else the seconds to wait for it, or None if the turn is over."""
        wait = self._allowance.take(calls)
        if wait == 0:
            self._gives_way_next = False
            return 0
        if self._gives_way_next:
            self._turn.give_way()
        if self._turn.over:
            return None
        self._gives_way_next = self._others_wait()
        return min(wait, LAST_WAIT if self._gives_way_next else SHORT_WAIT)
