"""What a test is told of handlers."""

from dataclasses import dataclass
from datetime import datetime

from ingest.copernica.events import Event


@dataclass(frozen=True, slots=True)
class Summary:
    """What became of events at handlers: how many were done with, not wanted (`where`), and failed."""

    done: int = 0
    unwanted: int = 0
    failed: int = 0

    def __add__(self, other: "Summary") -> "Summary":
        return Summary(self.done + other.done, self.unwanted + other.unwanted, self.failed + other.failed)


@dataclass(slots=True)
class HandlerCall:
    """One call of a handler: with which events, when by the clock of the test, and what it raised, if it did."""

    handler: str
    events: list[Event]
    at: datetime
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """Events that a handler gets again: after how many attempts, in how many seconds, and what it raised."""

    handler: str
    events: list[Event]
    attempts: int
    seconds: float
    error: str
