"""What a look at a period came to."""

from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Any, NamedTuple

from ingest.copernica.api.results import Product
from ingest.shown import counted
from workers.catch_up.fetching import NAMES, Period


class Answered(NamedTuple):
    """Which results Copernica had of a period, by the clock of which zone, and when it was asked (monotonic)."""

    period: Period
    zone: tzinfo
    results: bytes
    at: float


@dataclass(slots=True)
class Look:
    """What one look came to: `fetched` = `in_store` + `recovered` + `erased` + `unmatched` + `unresolved`.

    in_store       results whose event was in the store before
    recovered      those whose event was inserted now; in a dry run, would be
    erased         about people who were erased, and so left out
    unmatched      neither: without a time, of another period, or rejected by the database; `notes` say why
    unresolved     Copernica does not tell which message they are of; they were not inserted
    unreadable     entries without an ID, which are not among the `fetched`
    only_in_store  events of the period that Copernica has no result of, or not yet
    calls          questions that Copernica was asked
    """

    fetched: int = 0
    in_store: int = 0
    recovered: int = 0
    erased: int = 0
    unmatched: int = 0
    unresolved: int = 0
    unreadable: int = 0
    only_in_store: int = 0
    calls: int = 0
    #: Seconds by which the webhooks' clock is ahead of the results', measured on `pairs` events.
    offset: int = 0
    pairs: int = 0
    absent: list[Product] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    #: Whether the period that was requested is not the one that was meant, by what was measured.
    elsewhere: bool = False
    #: Seconds by which the clock that gaps go by is ahead of Copernica's.
    wrong_by: float = 0.0
    #: What was asked for last, if it was one period.
    answered: "Answered | None" = None

    def add(self, other: "Look") -> None:
        """What another look came to, at another period."""
        for name in COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        if other.pairs > self.pairs:
            self.offset = other.offset
        self.pairs += other.pairs
        self.absent = sorted({*self.absent, *other.absent})
        self.notes += [note for note in other.notes if note not in self.notes]
        self.elsewhere = self.elsewhere or other.elsewhere
        self.wrong_by = other.wrong_by
        self.answered = other.answered

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        counts = {name: getattr(self, name) for name in COUNTS}
        return counts | {"clock_offset": self.offset, "absent": [NAMES[one] for one in self.absent]}

    @property
    def wrong(self) -> str:
        """Why not all that Copernica has is in the store, in one sentence; empty if it is."""
        if self.unresolved:
            them = counted(self.unresolved, "result", "results")
            return f"Copernica does not say which message {them} of {self.fetched:,} are of: they were left out."
        if self.unreadable or self.unmatched:
            them = counted(self.unreadable + self.unmatched, "result", "results")
            return (
                f"Copernica gives {them} without an ID or a time, of another period, or that the database "
                "rejects: see the notes."
            )
        if self.elsewhere:
            return "The results' clock could not be told: set INGEST_LOGFILE_TZ to the time zone of its log files."
        return ""


#: The figures of a look that add up.
COUNTS = (
    *("fetched", "in_store", "recovered", "erased", "unmatched", "unresolved", "unreadable", "only_in_store"),
    "calls",
)
