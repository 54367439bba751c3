"""How much may be kept of calls that nobody has proved to be Copernica's, while DNS is away.

Everybody can send such calls. What they take up in Redis, in the spool and in the database is bounded, in calls
and in bytes, per minute and in all; beyond that a call is answered 503. Calls whose key is known never count.
"""

import time
from collections import deque
from typing import NamedTuple

#: Calls and bytes that one process may keep per minute: many times what a large mailing brings, and a fraction of
#: the whole budget, so that a flood does not use that up before anybody can look.
CALLS_PER_MINUTE = 30_000
BYTES_PER_MINUTE = 64 * 1024 * 1024
MINUTE = 60.0
#: Bytes that a call counts as at least: its row, its place in an index, and what surrounds both.
CALL_BYTES = 1024


class _Spent(NamedTuple):
    """What was kept in a stretch of time that began at `since` (Unix seconds)."""

    since: float
    calls: int
    bytes: int


class UnverifiedBudget:
    """The budget of one process.

    It knows what the others keep once that is in the database; of what is not there yet, each has its share.
    """

    def __init__(self, limit: int, processes: int = 1) -> None:
        """`limit` is in bytes, of so many processes together."""
        self._limit = limit
        self._processes = processes
        #: What waits in the database, as a worker counted it last.
        self._stored = 0
        #: What this process kept and what may not be in the database yet, oldest first.
        self._underway: deque[_Spent] = deque()
        self._minute = _Spent(0.0, 0, 0)

    def take(self, size: int) -> bool:
        """Whether a call of that size may be kept; it then counts as kept."""
        now = time.time()
        if not self._underway or not self._minute.since <= now < self._minute.since + MINUTE:
            self._minute = _Spent(now, 0, 0)
            self._underway.append(self._minute)
        since, calls, total = self._minute
        cost = max(size, CALL_BYTES)
        share = (self._limit - self._stored) / self._processes
        if calls >= CALLS_PER_MINUTE or total + cost > BYTES_PER_MINUTE or self._kept + cost > share:
            return False
        self._minute = self._underway[-1] = _Spent(since, calls + 1, total + cost)
        return True

    @property
    def has_underway(self) -> bool:
        """Whether calls were kept that may not be in the database yet."""
        return bool(self._underway)

    @property
    def _kept(self) -> int:
        """Bytes that this process kept and that may not be in the database yet."""
        return sum(spent.bytes for spent in self._underway)

    def settle(self, calls: int, size: int, stored_until: float) -> None:
        """What the database holds by now: all that was kept before `stored_until` (Unix seconds)."""
        self._stored = max(size, calls * CALL_BYTES)
        while self._underway and self._underway[0].since + MINUTE <= stored_until:
            self._underway.popleft()
