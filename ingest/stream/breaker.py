"""The circuit breaker: whether calls are written to Redis, or go around it.

    closed ──a write failed or took too long──▶ open ──its delay is over──▶ half-open
      ▲                                          ▲                            │   │
      │                                          └──the trial write failed────┘   │
      └─────────────────────────────────────────────the trial write succeeded─────┘

While it is open no call waits for Redis. It is a value with a clock and does nothing itself.
"""

import math
import time
from enum import StrEnum

from ingest.errors import WriteUnconfirmed

#: Seconds from the first failure to the first trial; doubled by each that fails, up to MOST_DELAY.
FIRST_DELAY = 0.25
MOST_DELAY = 2.0
#: Seconds that Redis must have served before a failure counts as a first one: a server that answers every trial
#: and then no call must be tried less and less often.
STEADY = 10.0


class State(StrEnum):
    """Which way calls go."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Breaker:
    """Closed at first: Redis is used until it fails."""

    def __init__(self) -> None:
        self.state = State.CLOSED
        #: Why it opened the last time, for people.
        self.why = ""
        #: What else to call that than failed: `drained` or `foreign` (`WriteUnconfirmed.state`).
        self.shown = ""
        #: Seconds from the failure to the next trial.
        self.delay = FIRST_DELAY / 2
        self._since = 0.0
        self._opened_at = 0.0

    @property
    def is_closed(self) -> bool:
        """Whether calls are written to Redis."""
        return self.state is State.CLOSED

    @property
    def open_for(self) -> float:
        """Seconds for which calls have gone around Redis; 0 while they do not."""
        return 0.0 if self.is_closed else time.monotonic() - self._opened_at

    @property
    def due_at(self) -> float:
        """When it is time for a trial, in monotonic seconds; inf while there is none to come."""
        return self._since + self.delay if self.state is State.OPEN else math.inf

    @property
    def is_due(self) -> bool:
        """Whether it is time for a trial."""
        return time.monotonic() >= self.due_at

    def trip(self, why: object) -> None:
        """A write failed."""
        now = time.monotonic()
        if self.state is State.CLOSED:
            self._opened_at = now
            if now - self._since >= STEADY:
                self.delay = FIRST_DELAY / 2
        if self.state is not State.OPEN:
            self.delay = min(2 * self.delay, MOST_DELAY)
            self._since = now
        self.state, self.why = State.OPEN, str(why)
        self.shown = why.state if isinstance(why, WriteUnconfirmed) else ""

    def attempt(self) -> None:
        """A trial begins."""
        self.state = State.HALF_OPEN

    def close(self) -> float:
        """A trial succeeded; returns for how many seconds it had been open."""
        now = time.monotonic()
        was_open = now - self._opened_at
        self.state, self._since = State.CLOSED, now
        return was_open
