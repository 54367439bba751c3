"""The clock by which calls are leased and due: one for all workers, never a worker's own, which may be wrong.

It is that of the database server, or, for a SQLite file, that of Redis.
"""

import time


class SharedClock:
    """Goes on from a time that was asked for once; a worker's monotonic clock is good for the rest."""

    def __init__(self, now: int) -> None:
        """`now` is the time in µs since 1970 by the shared clock."""
        self._ahead = now - time.monotonic_ns() // 1000

    def now(self) -> int:
        """The time in µs since 1970."""
        return self._ahead + time.monotonic_ns() // 1000


def machine_time() -> int:
    """The time in µs since 1970 by the clock of this machine: good enough for what one person types."""
    return time.time_ns() // 1000
