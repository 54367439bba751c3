"""The results of comparing totals, as values: per mailing and kind, and per day."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import Any, NamedTuple

from ingest.copernica.event_types import EventType
from ingest.shown import counted

#: The kinds that are compared: those that both statistics and webhooks have. Bounces are the messages that report
#: failures, and so no results of their own; retries have no webhook.
KINDS = (
    EventType.DELIVERY,
    EventType.OPEN,
    EventType.CLICK,
    EventType.FAILURE,
    EventType.UNSUBSCRIBE,
    EventType.ABUSE,
)


class Cause(StrEnum):
    """Why a total may differ; each has a sentence."""

    text: str

    def __new__(cls, value: str, text: str) -> "Cause":
        """A member is its code; the sentence hangs on it."""
        code = str.__new__(cls, value)
        code._value_ = value
        code.text = text
        return code

    #: These account for a difference: a day may agree all the same.
    MIDNIGHT = "midnight", "events next to midnight, which the two clocks put on different days"
    UNNAMED = "unnamed", "events that name no mailing, such as those that came from log files"
    ERASED = "erased", "lines of the log files that were left out, since they are about people who were erased"
    ONLY_HERE = "only-in-store", "events that Copernica's log files do not have either, such as suspected clicks"
    #: These do not, but are what to look at.
    DAY_NOT_OVER = "not-over", "the day is not over"
    LOG_FILES = "log-files", "the day's log files are not all in the store yet: `ingest reconcile`"
    GAP = "gap", "a gap of that day is not closed: `ingest gaps`"
    RETENTION = "retention", "events that old are deleted (INGEST_RETENTION_DAYS)"
    ERASURE = "erasure", "people were erased since then"
    NOT_REGISTERED = "no-webhook", "no webhook brought any of this kind that day: `ingest webhooks list`"
    REPEATED = "repeated", "as many messages on both sides, but of some of them not as many events"
    #: These say why there is nothing to compare.
    UNKNOWN_MAILING = "unknown-mailing", "Copernica no longer knows the mailing"
    NOT_TOLD = "not-told", "Copernica does not tell"


#: Causes that account for a difference.
ACCOUNTING = frozenset({Cause.MIDNIGHT, Cause.UNNAMED, Cause.ERASED, Cause.ONLY_HERE})


class Number(NamedTuple):
    """How many results or events, and of how many messages; None: not known."""

    total: int | None
    unique: int | None


@dataclass(slots=True)
class Line:
    """One kind of a mailing on one day.

    `product` is `ms` or `publisher`; `both` where a mailing of either has this number, since events do not say of
    which they are; empty where Copernica knows it in neither.
    """

    product: str
    mailing: int
    kind: EventType
    theirs: Number
    ours: Number
    causes: list[Cause] = field(default_factory=list)

    @property
    def difference(self) -> int | None:
        """How many more Copernica counts than there are in the store; None if that is not known."""
        if self.theirs.total is None or self.ours.total is None:
            return None
        return self.theirs.total - self.ours.total

    @property
    def agrees(self) -> bool | None:
        """Whether the totals are the same, or what differs is accounted for; None if nothing can be compared."""
        difference = self.difference
        return None if difference is None else difference == 0 or not ACCOUNTING.isdisjoint(self.causes)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "product": self.product or None,
            "mailing": self.mailing,
            "kind": self.kind.value,
            "copernica": self.theirs._asdict(),
            "store": self.ours._asdict(),
            "difference": self.difference,
            "agrees": self.agrees,
            "causes": [cause.value for cause in self.causes],
        }


@dataclass(slots=True)
class DayTotals:
    """One day's totals."""

    day: date
    lines: list[Line] = field(default_factory=list)
    #: What a person should read.
    notes: list[str] = field(default_factory=list)
    #: Why they could not be compared, or not all of them.
    error: str | None = None
    #: Mailings that Copernica was asked about, and requests that took, attempts that failed not counted.
    mailings: int = 0
    requests: int = 0
    #: Seconds by which the webhooks' clock is ahead of that of the statistics, as far as known.
    offset: int = 0
    #: Why neither agreement nor a difference says anything about the day yet, or any more.
    undecided: Cause | None = None

    @property
    def differing(self) -> list[Line]:
        """What differs and is not accounted for."""
        return [line for line in self.lines if line.agrees is False]

    @property
    def agrees(self) -> bool | None:
        """Whether all totals agree; None if that was not found out."""
        if self.error is not None or self.undecided is not None:
            return None
        if self.differing:
            return False
        return None if self.lines and all(line.agrees is None for line in self.lines) else True

    @property
    def why(self) -> str:
        """What differs, or why that is not known, as a part of a sentence; empty if the totals agree."""
        if self.agrees:
            return ""
        if self.agrees is False:
            return what_differs(self.differing)
        return self.error or (self.undecided.text if self.undecided else "the totals could not be compared")

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "day": self.day.isoformat(),
            "agrees": self.agrees,
            "error": self.error,
            "mailings": self.mailings,
            "requests": self.requests,
            "clock_offset": self.offset,
            "notes": self.notes,
            "totals": [line.as_dict() for line in self.lines],
        }


@dataclass(slots=True)
class Circumstances:
    """What else is known of a day."""

    #: Lines of the log files about people who were erased.
    erased: Counter[EventType] = field(default_factory=Counter)
    #: Events that the log files do not have.
    only_here: Counter[EventType] = field(default_factory=Counter)
    #: Seconds by which the webhooks' clock is ahead of that of log files; None: not measured.
    offset: int | None = None
    #: What may have to do with whatever is missing.
    suspicions: tuple[Cause, ...] = ()


def what_differs(lines: Iterable[Line]) -> str:
    """How many mailings differ, and by how much: `2 mailings differ (opens: 3 missing; clicks: 1 too many)`."""
    differing = list(lines)
    parts = []
    for kind in KINDS:
        numbers = [line.difference or 0 for line in differing if line.kind is kind]
        missing, more = sum(n for n in numbers if n > 0), -sum(n for n in numbers if n < 0)
        said = [f"{missing:,} missing"] * bool(missing) + [f"{more:,} too many"] * bool(more)
        if said:
            parts.append(f"{kind}: {', '.join(said)}")
    mailings = len({(line.product, line.mailing) for line in differing})
    return f"the totals of {counted(mailings, 'mailing')} differ ({'; '.join(parts)})"
