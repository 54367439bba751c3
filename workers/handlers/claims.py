"""Calls that a worker has claimed for a handler, and what became of those that it could not finish."""

from dataclasses import dataclass, field
from typing import NamedTuple

from ingest.batch import Record
from workers.handlers.run_notes import RunNotes


class Failure(NamedTuple):
    """A call that failed: it is tried again after `delay` seconds, or becomes a dead letter if that is None."""

    record: Record
    kind: str
    occurred_at: int
    error: str
    traceback: str
    delay: float | None


class Part(NamedTuple):
    """Calls that failed together, and are tried apart from all others `delay` seconds from now."""

    records: list[Record]
    delay: float
    error: str


@dataclass(slots=True)
class Claim:
    """Calls that one worker has claimed; all have been tried equally often.

    `apart` says that they are part of a batch that failed. What became of them is noted: `failures` count as an
    attempt, `parts` do not. `lost` says that they are somebody else's by now, or were erased.
    """

    ids: list[int]
    records: list[Record]
    attempt: int
    slots: int
    apart: bool = False
    lost: bool = False
    failures: list[Failure] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    #: What is kept of how it went.
    notes: RunNotes = field(default_factory=RunNotes)
