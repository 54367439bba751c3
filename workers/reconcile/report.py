"""The results of a reconciliation as values: per kind of event, per day, and when the endpoint was unreachable."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

from ingest.copernica.events import MICROS
from ingest.shown import counted
from workers.reconcile.notes import Notes

#: Failed calls that are at most so many seconds apart belong to one outage.
OUTAGE_GAP = 300


@dataclass(slots=True)
class Outage:
    """A period in which Copernica could not reach the endpoint, by its own log; in Unix seconds."""

    since: int
    until: int
    calls: int = 1
    responses: dict[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "since": _moment(self.since),
            "until": _moment(self.until),
            "calls": self.calls,
            "responses": self.responses,
        }


def outages(failed: Iterable[tuple[int, str]]) -> list[Outage]:
    """Outages from single failed calls: the time of each (µs since 1970), and the response."""
    found: list[Outage] = []
    for moment, response in sorted(failed):
        second = moment // MICROS
        if found and second - found[-1].until <= OUTAGE_GAP:
            found[-1].until = second
            found[-1].calls += 1
        else:
            found.append(Outage(second, second))
        answers = found[-1].responses
        first_line = response.strip().partition("\n")[0][:80] or "no answer"
        answers[first_line] = answers.get(first_line, 0) + 1
    return found


def _moment(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(slots=True)
class KindReport:
    """One kind of event of one day: `in_log` = `in_store` + `recovered` + `erased` + `expired` + `unmatched`.

    in_log         lines of the log files
    in_store       of these, in the store before
    recovered      of these, inserted now
    erased         of these, about people who were erased, and so left out
    expired        of these, older than events of the kind are kept, and so left out
    unmatched      of these, neither: damaged, or rejected by the database; `notes` say which and why
    only_in_store  events that no line accounts for; they stay
    suspected      the same, but suspected clicks that Copernica lists elsewhere do
    outside        lines that are of another day than their file's name says; among the others, too
    superseded     events that were recovered earlier and whose own call was stored beside them: removed; handlers
                   got them twice
    filled         events of the store in which the log files filled something in
    offset         seconds by which the webhooks' clock is ahead of the log's, measured on `pairs` events
    """

    kind: str
    files: list[str] = field(default_factory=list)
    in_log: int = 0
    in_store: int = 0
    recovered: int = 0
    erased: int = 0
    expired: int = 0
    unmatched: int = 0
    only_in_store: int = 0
    suspected: int = 0
    outside: int = 0
    superseded: int = 0
    filled: int = 0
    offset: int = 0
    pairs: int = 0
    notes: Notes = field(default_factory=Notes)
    #: Lines of the log, and events recovered, per hour of the day.
    hours: list[int] = field(default_factory=lambda: [0] * 24)
    recovered_hours: list[int] = field(default_factory=lambda: [0] * 24)

    def note(self, text: str) -> None:
        """Add something that a person should read."""
        self.notes.add(text)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class Totals(NamedTuple):
    """Whether Copernica's totals of a day agree with the store, when last compared; None: nobody knows."""

    agree: bool | None
    #: What differs, or why that is not known.
    why: str


class DayCause(StrEnum):
    """Why a day is not complete: what the sentence about it says, without its figures; kept in the database."""

    CUT_SHORT = "cut-short"
    GONE = "gone"
    NOT_THERE = "not-there"
    FORBIDDEN = "forbidden"
    UNREACHABLE = "unreachable"
    REJECTED = "rejected"
    UNMATCHED = "unmatched"


@dataclass(slots=True)
class DayReport:
    """One day. `complete` says that the store holds every event that the log files have."""

    day: date
    kinds: list[KindReport] = field(default_factory=list)
    outages: list[Outage] = field(default_factory=list)
    #: What else a person should read.
    notes: Notes = field(default_factory=Notes)
    #: Calls that were in flight when the store was compared: in the backlog, in spools, unverified; None if Redis
    #: was unreachable.
    in_flight: int | None = 0
    #: Why it failed, wholly or in part.
    error: str | None = None
    #: The same by its kind; None where that is not known.
    cause: DayCause | None = None
    #: Whether Copernica no longer has the files.
    gone: bool = False
    #: Whether these were all files of a day that is over.
    whole: bool = False
    #: What is known of the day's totals; None: not compared since the store last changed, or never.
    totals: Totals | None = None

    @property
    def unmatched(self) -> int:
        """Lines whose events may not be in the store."""
        return sum(kind.unmatched for kind in self.kinds)

    @property
    def ok(self) -> bool:
        """Whether everything that was compared is in the store now."""
        return self.error is None and not self.unmatched

    @property
    def complete(self) -> bool:
        """Whether nothing of the day is missing."""
        return self.ok and self.whole

    @property
    def agrees(self) -> bool:
        """Whether the day is complete, and its totals say nothing else: only then is it shown as complete."""
        return self.complete and (self.totals is None or self.totals.agree is not False)

    @property
    def why(self) -> str:
        """Why it is not complete; empty if it is."""
        if self.complete and self.totals is not None and self.totals.agree is False:
            return self.totals.why
        if self.error:
            return self.error
        if self.unmatched:
            return f"{counted(self.unmatched, 'line was', 'lines were')} neither found nor recovered"
        if not self.whole and (outside := self.total("outside")):
            return f"{counted(outside, 'line is', 'lines are')} of another day"
        return "" if self.whole else "these were not all files of a day that is over"

    def total(self, name: str) -> int:
        """The sum of a figure over all kinds."""
        return sum(int(getattr(kind, name)) for kind in self.kinds)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "day": self.day.isoformat(),
            "complete": self.agrees,
            "log_files": self.complete,
            "totals": None if self.totals is None else self.totals._asdict(),
            "error": self.error,
            "underway": self.in_flight,
            "notes": self.notes,
            "kinds": [kind.as_dict() for kind in self.kinds],
            "outages": [outage.as_dict() for outage in self.outages],
        }


def days_between(first: date, last: date) -> list[date]:
    """All days from one to another, both included."""
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]
