"""What SMTPeter has of a message, a recipient, a template or some tags, beside what the store has.

Both are compared by the rule of reconcile, and what is inserted has the delivery id that the same line of the
day's log file would get: so when that file comes, its line finds the event.
"""

import asyncio
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import partial
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from ingest.copernica.events import Event
from ingest.copernica.logfiles.reader import Entry, read
from ingest.copernica.smtpeter.client import By, Criterion, SMTPeter
from ingest.settings import Settings
from workers.reconcile import downloads, history, in_flight
from workers.reconcile.basis import Basis
from workers.reconcile.insertion import Found as Matched
from workers.reconcile.logfile import LogFile, Watch
from workers.reconcile.partitions import Partitions
from workers.reconcile.recovery import Recovery, RecoveryOptions, Sides
from workers.reconcile.report import DayReport, KindReport
from workers.reconcile.run import announce
from workers.smtpeter.answers import Answers, Asked, months
from workers.store.filters import Filter
from workers.store.store import Store

#: Events of a day that are put in order of time; of more, kind follows kind: they would not fit in memory.
SORTED = 20_000


@dataclass(frozen=True, slots=True)
class Question:
    """What to ask SMTPeter, and what to do with the answer; from `since` on, before `until`."""

    criterion: Criterion
    since: datetime
    until: datetime
    #: Also kinds that no webhook brings.
    everything: bool = False
    #: Whether to insert what is missing, and whether to hand that to the handlers.
    store: bool = False
    handlers: bool = True
    #: Seconds to wait for calls in flight before something is inserted.
    wait: float = 30.0

    @property
    def asked(self) -> list[Asked]:
        """The calls that it takes."""
        return months(self.since, self.until)


class Found(NamedTuple):
    """An event that SMTPeter told of, and whether the store lacked it."""

    event: Event
    missing: bool


@dataclass(slots=True)
class Comparison:
    """How many there are, by type: `told` by SMTPeter, of these `missing` in the store before, and `stored` now.

    `there` are the store's own events of that message or recipient; None where it cannot be asked for them.
    """

    told: Counter[str] = field(default_factory=Counter)
    missing: Counter[str] = field(default_factory=Counter)
    stored: Counter[str] = field(default_factory=Counter)
    there: Counter[str] | None = None
    left_out: Counter[str] = field(default_factory=Counter)
    #: Of people who were erased, and so not stored; and what could not be read or stored.
    erased: int = 0
    unread: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def all_there(self) -> bool:
        """Whether the store has everything now."""
        return not self.unread and self.missing.total() == self.stored.total() + self.erased

    @property
    def types(self) -> list[str]:
        """The types that either side has, in order."""
        return sorted({*self.told, *(self.there or ())})

    def as_dict(self, asked: Sequence[Asked]) -> dict[str, Any]:
        """The last object of `ingest events-of --json`, as docs/events-of.md describes it."""
        return {
            "asked": [{"from": str(first), "before": str(end)} for first, end in asked],
            "types": {
                kind: {
                    "told": self.told[kind],
                    "missing": self.missing[kind],
                    "stored": self.stored[kind],
                    "only_in_store": self.only_in_store(kind),
                }
                for kind in self.types
            },
            "erased": self.erased,
            "unread": self.unread,
            "left_out": dict(self.left_out),
            "notes": self.notes,
        }

    def only_in_store(self, kind: str) -> int | None:
        """Events of a type that the store has and SMTPeter did not tell of; None if that is not known."""
        if self.there is None:
            return None
        return max(0, self.there[kind] - (self.told[kind] - self.missing[kind]))


class _Compared(Recovery):
    """A comparison that remembers which lines are missing, by kind."""

    def __init__(
        self, store: Store, options: RecoveryOptions, watch: Watch, stored: Callable[[Sequence[Event]], object]
    ) -> None:
        super().__init__(store, options, watch, stored)
        self._clocks = history.clocks(store)  # few events do not tell how far two clocks are apart
        self.wanted: dict[str, array[int]] = {}

    def _match(self, report: KindReport, sides: Sides, rows: Partitions, basis: Basis) -> Matched:
        matched = super()._match(report, sides, rows, basis)
        self.wanted[report.kind] = matched.wanted
        return matched


def events_of(
    settings: Settings,
    question: Question,
    comparison: Comparison,
    watch: Watch,
    connect: Callable[[Settings], SMTPeter] = SMTPeter.with_settings,
) -> Iterator[Found]:
    """Each event that SMTPeter tells of, day by day; what they add up to is in `comparison` at the end.

    Raises:
        SettingsError: INGEST_SMTPETER_TOKEN is not set, or the criterion cannot be asked for.
        RestError: SMTPeter did not answer everything; nothing was stored.
        Unavailable: the database or the disk cannot be used now.
    """
    _ = question.criterion.path  # a mistake in it is said before anything is asked
    smtpeter = connect(settings)
    period = range(int(question.since.timestamp()), int(question.until.timestamp()))
    zone = ZoneInfo(settings.logfile_tz)
    with Store.of(settings) as store, downloads.folder() as folder:
        answers = Answers(folder, question.criterion, period, zone, question.everything)
        asyncio.run(answers.fetch(smtpeter, question.asked, watch))
        comparison.unread += answers.unread
        comparison.notes += answers.notes
        comparison.left_out.update({str(kind): number for kind, number in answers.left_out.items()})
        if question.store:
            _wait(settings, store, question.wait, comparison, watch)
        comparison.there = _there(store, question)
        work = _Work(settings, store, question, comparison, watch)
        for day, files in answers.days():
            yield from work.day(day, files)


def _wait(settings: Settings, store: Store, seconds: float, comparison: Comparison, watch: Watch) -> None:
    """Let calls that are on their way come in: what they bring is not missing."""
    waiting = in_flight.wait(settings, store, seconds, watch)
    if waiting is None:
        comparison.notes.append("Redis does not answer: of calls that wait there, the events may be stored now.")
    elif waiting.calls:
        comparison.notes.append(f"{waiting.calls:,} calls are still on the way: their events may be stored now.")


def _there(store: Store, question: Question) -> Counter[str] | None:
    """The store's own events of the message or recipient, by type."""
    by, value = question.criterion.by, question.criterion.value.strip()
    if by not in (By.MESSAGE, By.RECIPIENT) or question.criterion.tags:
        return None
    message, recipient = (value, None) if by is By.MESSAGE else (None, value)
    wanted = Filter((), recipient, message, question.since, question.until)
    return Counter(str(event.type) for event in store.find(wanted))


class _Work:
    """Compares the days of one question."""

    def __init__(
        self, settings: Settings, store: Store, question: Question, comparison: Comparison, watch: Watch
    ) -> None:
        self._store = store
        self._question = question
        self._comparison = comparison
        self._watch = watch
        self._zone = ZoneInfo(settings.logfile_tz)
        self._has_handlers = question.handlers and settings.has_handlers
        self._announce = partial(announce, settings, self._has_handlers)
        self._now = int(datetime.now(UTC).timestamp() * 1_000_000)

    def day(self, day: date, files: list[LogFile]) -> Iterator[Found]:
        """The events of a day, compared, and stored if that is wanted."""
        report, compared = DayReport(day), self._recovery(dry_run=True)
        compared.day(report, files)
        found = self._lines(files, compared.wanted)
        total = sum(kind.in_log for kind in report.kinds)
        for kind in report.kinds:
            self._comparison.told[kind.kind] += kind.in_log - kind.unmatched
            self._comparison.missing[kind.kind] += kind.recovered
            self._comparison.unread += kind.unmatched
            self._comparison.notes += [f"{kind.kind} of {day}: {note}" for note in kind.notes]
        yield from sorted(found, key=lambda one: one.event.occurred_at) if total <= SORTED else found
        if self._question.store and report.total("recovered"):
            self._insert(day, files)

    def _insert(self, day: date, files: list[LogFile]) -> None:
        report = DayReport(day)
        self._recovery(dry_run=False).day(report, files)
        for kind in report.kinds:
            self._comparison.stored[kind.kind] += kind.recovered
            self._comparison.erased += kind.erased

    def _recovery(self, dry_run: bool) -> _Compared:
        options = RecoveryOptions(self._zone, self._has_handlers, self._question.everything, dry_run)
        return _Compared(self._store, options, self._watch, self._announce)

    def _lines(self, files: list[LogFile], wanted: "dict[str, array[int]]") -> Iterator[Found]:
        """The events in the files, which are numbered as they were when they were compared."""
        numbers: Counter[str] = Counter()
        for file in files:
            kind = str(file.kind.type)
            with file.open() as stream:
                entries = read(stream, file.kind, self._zone, self._now, file.whole, file.pick(), file.encoding)
                for entry in entries:
                    number = numbers[kind]
                    numbers[kind] += 1
                    if isinstance(entry, Entry):
                        yield Found(entry.event, bool(wanted[kind][number]))
