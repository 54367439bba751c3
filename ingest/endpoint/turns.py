"""Reading in turns: nobody who sends much keeps the others waiting.

The event loop reads a connection until it is empty, megabytes at a time, before it looks at the next one. A
hundred large bodies at once would make each of its rounds last a second, and a small call needs several rounds. So
whoever has sent much in one go is read again when it is their turn, a few in each round.
"""

import asyncio
from collections import deque
from collections.abc import Callable

#: Bytes in one read from which on a sender has to wait for a turn: more than a call and what may follow it.
MUCH = 32 * 1024
#: Pieces in which a request may arrive, one read each, until its sender is read less often: Copernica's come in
#: one or two, and each piece of one that trickles in costs as much as all that came before it.
PIECES = 16
#: Seconds until such a sender is read again; what they send meanwhile arrives together.
PAUSE = 0.05
#: How many are read in each round of the event loop. A read brings 256 KB at most, so a round copies 1 MB.
TOGETHER = 4


class Turns:
    """Those of one process who wait until they are read again."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()
        self._is_due = False

    def wait(self, read_on: Callable[[], None]) -> None:
        """Call `read_on` when it is its turn; the caller has stopped reading until then."""
        self._waiting.append(read_on)
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._next)

    def wait_a_while(self, read_on: Callable[[], None]) -> None:
        """Call `read_on` when what trickles in has had time to gather."""
        asyncio.get_running_loop().call_later(PAUSE, read_on)

    def _next(self) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(min(TOGETHER, len(self._waiting))):
            loop.call_soon(self._waiting.popleft())  # one that fails must not keep the others waiting for ever
        self._is_due = bool(self._waiting)
        if self._is_due:
            loop.call_soon(self._next)
