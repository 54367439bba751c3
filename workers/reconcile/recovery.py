"""Compare the log files of a day with the store, and insert exactly what is missing.

    files of a day ─▶ read ─▶ compared with the store (`matching`) ─▶ missing lines again ─▶ their events inserted
                       └─▶ what cannot be read is reported, line by line

What the store has and the log files lack is reported and left alone. An event that is recovered here and its own
call, which comes in later (from a spool, say) or just now, are one: see docs/decisions/three-sources.md.
A run that is killed at any line leaves nothing wrong: the next one inserts the rest.

Results over REST go the same way: see `workers.reconcile.results`.
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, tzinfo
from typing import NamedTuple

from ingest.copernica.events import DAY, MICROS, SUSPECTED, Event
from ingest.copernica.logfiles.reader import Portion
from ingest.copernica.logfiles.reader import outages as failed_calls
from ingest.copernica.logfiles.rows import Damage
from ingest.shown import counted
from workers.reconcile import matching, partitions
from workers.reconcile.basis import MIN_UNANIMOUS, Basis, measure
from workers.reconcile.insertion import HOUR, Found, Insertion, Source
from workers.reconcile.logfile import LogFile, Unpackable, Watch
from workers.reconcile.matching import Rules
from workers.reconcile.partitions import PARTS, Partitions
from workers.reconcile.people import People
from workers.reconcile.reading import Reading
from workers.reconcile.report import DayReport, KindReport, outages
from workers.reconcile.results import Results
from workers.reconcile.stored_rows import StoredRows
from workers.runtime import rare_garbage_collection
from workers.store.comparisons import Comparison
from workers.store.late_calls import MAX_OFFSET, MAX_SPREAD
from workers.store.store import Store

#: Seconds around a day in which to look for calls without a time of their own: they count as received. Also how
#: far from its file's day a line may be: what is written down at midnight can be in the next day's file.
SLACK = 900
#: How often what is missing is compared again because calls came in meanwhile.
ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class RecoveryOptions:
    """How to read log files, and what to do with what is recovered from them."""

    #: The time zone of the log's times.
    zone: tzinfo = UTC
    #: Whether recovered events are handed to the handlers.
    hand_on: bool = False
    #: Whether to store kinds of events, too, that no webhook brings.
    everything: bool = False
    #: Whether only to find out what is missing: it then counts as recovered.
    dry_run: bool = False
    #: Days for which events of a type are kept, 0 for ever: what is older would be deleted again.
    kept_days: Callable[[str], int] = field(default=lambda kind: 0)


class Sides(NamedTuple):
    """What is compared with the store: lines, those of suspected clicks, the seconds of both, and the day's."""

    lines: Partitions
    suspects: Partitions
    span: range
    day: range
    rules: Rules


class Recovery:
    """Compares the files of one day after another with one store."""

    def __init__(
        self,
        store: Store,
        options: RecoveryOptions,
        watch: Watch,
        stored: Callable[[Sequence[Event]], object] = lambda events: None,
        breathe: Callable[[], object] = lambda: None,
    ) -> None:
        """`stored` is called with what was recovered; `breathe` is called often, and may raise to stop the run."""
        self._store = store
        self._options = options
        self._watch = watch
        self._tell = stored
        self._breathe = breathe
        self._people = People(store.pseudonyms)
        self._rows = StoredRows(store, self._people, watch, breathe)
        self._now = time.time_ns() // 1000
        #: What was measured on the latest kind with enough events, for kinds that have too few.
        self._clocks = Basis()

    @rare_garbage_collection()
    def day(self, report: DayReport, files: Sequence[LogFile], expected: Collection[str] = ()) -> None:
        """Reconcile all files of a day and add the results to the report.

        `expected` kinds without a file are compared, too, with an empty log.

        Raises:
            Unavailable: the database cannot be used now.
        """
        failed = [file for file in files if file.kind.type is None]
        report.outages = outages(self._failed_calls(report, failed))
        by_type: dict[str, list[LogFile]] = {kind: [] for kind in expected}
        for file in files:
            if file.kind.type is not None and (file.kind.twin or self._options.everything):
                by_type.setdefault(file.kind.type.value, []).append(file)
        # The largest first: kinds with too few events to compare the clocks use its offset.
        for kind in sorted(by_type, key=lambda kind: -sum(file.size or 0 for file in by_type[kind])):
            kind_report = KindReport(kind, [file.name for file in by_type[kind]])
            suspects = [file for file in files if file.kind.type and SUSPECTED.get(file.kind.type) == kind]
            rules = matching.OF_LOG_FILES if report.whole else matching.OF_SOME_LOG_FILES
            self._kind(report.day, kind_report, by_type[kind], suspects, rules)
            if kind_report.files or kind_report.only_in_store:
                report.kinds.append(kind_report)

    @rare_garbage_collection()
    def results(self, results: Results, period: range) -> KindReport:
        """Compare results over REST with the store, and insert what is missing.

        `period` are the Unix seconds that they are of, by their own clock. `in_log` is then their number. What
        only the store has stays, and may be a result that Copernica does not give yet. A second run is a no-op.

        Raises:
            Unavailable: the database cannot be used now; run it again.
        """
        report = KindReport(results.kind.value)
        self._source(report, results, (), period, matching.OF_RESULTS)
        return report

    def _failed_calls(self, report: DayReport, files: Sequence[LogFile]) -> Iterator[tuple[int, str]]:
        """Calls that did not reach the endpoint. They are not events: an unreadable line is only noted."""
        for file in files:
            try:
                with file.open() as stream:
                    for call in failed_calls(stream, self._options.zone, file.whole, file.encoding):
                        if isinstance(call, Damage):
                            report.notes.add(f"{file.name}, line {call.number}: {call.reason}")
                        else:
                            yield call.moment, call.response
            except Unpackable as error:
                report.notes.append(f"{file.name}: what follows cannot be unpacked ({error})")

    def _kind(
        self,
        day: date,
        report: KindReport,
        files: Sequence[LogFile],
        suspect_files: Sequence[LogFile],
        rules: Rules,
    ) -> None:
        first = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
        seconds = range(first, first + DAY)
        with self._reading(files, seconds) as reading:
            self._source(report, reading, suspect_files, seconds, rules)
        for note in reading.notes():
            report.note(note)
        if report.outside:
            outside = counted(report.outside, "line is", "lines are")
            report.note(f"{outside} not of {day}, though the name of the file says so.")

    def _source(
        self,
        report: KindReport,
        source: Source,
        suspect_files: Sequence[LogFile],
        seconds: range,
        rules: Rules,
    ) -> None:
        with Partitions.of_lines() as lines, Partitions.of_lines() as suspects:
            span = _gather(report, source, lines, seconds, self._people)
            if suspect_files:
                with self._reading(suspect_files, seconds) as others:
                    # They are no lines of this kind: nothing about them is reported here.
                    _gather(KindReport(report.kind), others, suspects, seconds, self._people)
            sides = Sides(lines, suspects, span, seconds, rules)
            before = report.unmatched, len(report.notes)
            for _ in range(ATTEMPTS):
                report.unmatched = before[0]
                del report.notes[before[1] :]
                if not (late := self._compare(report, source, sides)):
                    break
            else:
                report.unmatched += late
                report.note(f"Calls of {counted(late, 'line')} kept coming in: they are compared by the next run.")
            if isinstance(source, Reading):
                report.outside = _outside(lines, span, seconds, self._options.zone, report.offset)

    def _reading(self, files: Sequence[LogFile], day: range) -> Reading:
        return Reading(files, day, self._options.zone, self._now, self._watch, self._breathe)

    def _compare(self, report: KindReport, source: Source, sides: Sides) -> int:
        """Compare the lines with the store, once, and insert what is missing; returns how many came too late.

        Their calls may have come in meanwhile: they have to be compared again. Rows are read again, from a wider
        range, when the clocks turn out to be far apart.
        """
        span, slack = sides.span, SLACK
        while True:
            around = range(span.start - slack, span.stop + slack)
            with self._announced(report.kind, around) as comparison:
                with self._rows.around(report.kind, span, slack) as rows:
                    basis = self._basis(report.kind, sides.lines, rows, span)
                    if basis.reach > slack:
                        slack = basis.reach + SLACK
                        continue
                    report.offset, report.pairs = basis.offset, basis.pairs
                    _note_basis(report, basis)
                    found = self._match(report, sides, rows, basis)
                if comparison is None:
                    report.recovered = sum(map(bool, found.wanted))
                    return 0
                if any(found.wanted):
                    self._store.make_room([sides.day.start])
                insertion = Insertion(
                    self._store, report, self._options.hand_on, self._tell, self._oldest(report.kind)
                )
                return insertion.all(source, found, comparison, self._spread(basis))

    def _oldest(self, kind: str) -> int:
        """The Unix second from which on events of a type are kept."""
        days = self._options.kept_days(kind)
        return self._now // MICROS - days * DAY if days else 0

    @contextmanager
    def _announced(self, kind: str, seconds: range) -> Iterator[Comparison | None]:
        if self._options.dry_run:
            yield None
        else:
            with self._store.comparing(kind, seconds) as comparison:
                yield comparison

    def _spread(self, basis: Basis) -> int | None:
        """By how many seconds the clocks vary; None if their offset is not known, or changes in between."""
        known = self._clocks.pairs >= MIN_UNANIMOUS and max(basis.near) - min(basis.near) <= MAX_SPREAD
        return max(map(abs, basis.near)) if known else None

    def _basis(self, kind: str, lines: Partitions, rows: Partitions, span: range) -> Basis:
        basis = measure(lines, rows)
        if not basis.pairs and not lines.is_empty and self._clocks.pairs < MIN_UNANIMOUS:
            # All events shortly after midnight, and the clocks some hours apart?
            with self._rows.around(kind, span, MAX_OFFSET) as more:
                basis = measure(lines, more)
            basis = basis if basis.reach else Basis()
        if basis.pairs >= MIN_UNANIMOUS:
            self._clocks = basis
            return basis
        return replace(basis, offset=self._clocks.offset, near=self._clocks.near)

    def _match(self, report: KindReport, sides: Sides, rows: Partitions, basis: Basis) -> Found:
        """Match part by part; only what is missing or tells more is kept, since a whole day can be missing."""
        found = Found.nothing(report.in_log)
        by_rows = range(sides.day.start + basis.offset, sides.day.stop + basis.offset)
        superseded: list[bytes] = []
        report.in_store, report.suspected, report.only_in_store = -report.recovered, 0, 0
        for part in range(PARTS):
            self._watch(f"comparing {report.kind}", part, PARTS)
            self._breathe()
            suspects = sides.suspects.data(part)
            verdict = matching.compare(
                sides.lines.data(part), rows.data(part), basis, by_rows, suspects, sides.rules
            )
            report.in_store += verdict.in_store
            report.suspected += verdict.suspected
            report.only_in_store += verdict.only_in_store
            found.add(verdict)
            superseded += verdict.superseded
        self._watch(f"comparing {report.kind}", PARTS, PARTS)
        if superseded and not self._options.dry_run:
            report.superseded += self._store.supersede(superseded)
        return found


def _gather(report: KindReport, source: Source, lines: Partitions, day: range, people: People) -> range:
    """Read the files once; returns the range of seconds that their lines cover."""
    earliest, latest = day.start, day.stop - 1
    hours: Counter[int] = Counter()
    place = 0
    for part in source.lines():
        if isinstance(part, Portion):
            first, last = min(part.seconds), max(part.seconds)
            earliest, latest = min(earliest, first), max(latest, last)
            hours.update(second // HOUR for second in part.seconds)
            lines.add(partitions.lines_of(part, source.digests(report.kind, part), place, people))
            place += len(part.seconds)
        else:
            where, damage = part
            report.unmatched += 1
            report.note(f"{where}, line {damage.number}: {damage.reason}")
            place += 1
    report.in_log = place
    for hour, number in hours.items():
        report.hours[hour % (DAY // HOUR)] += number
    return range(earliest, latest + 1)


def _outside(lines: Partitions, span: range, day: range, zone: tzinfo, offset: int) -> int:
    """How many lines are of another day than their file: by their own clock, as it is read, and by the webhooks'.

    It is a UTC day; where the log's times are of a `zone`, one of that zone does as well.
    """
    midnight = datetime.fromtimestamp(day.start, UTC).replace(tzinfo=zone).timestamp()
    first, last = min(day.start, int(midnight)) - SLACK, max(day.start, int(midnight)) + DAY + SLACK
    if first <= span.start and span.stop <= last:
        return 0
    return sum(
        not first <= second < last and not first <= second + offset < last
        for part in range(PARTS)
        for _, second, *_ in lines.part(part)
    )


def _note_basis(report: KindReport, basis: Basis) -> None:
    if basis.offset:
        ahead = "ahead of" if basis.offset > 0 else "behind"
        report.note(
            f"The webhooks' clock is {abs(basis.offset)} s {ahead} the log's, measured on "
            f"{counted(basis.pairs, 'event')}: if that is a difference of time zones, set INGEST_LOGFILE_TZ."
        )
    if len(basis.near) > 1:
        least, most = basis.offset + min(basis.near), basis.offset + max(basis.near)
        report.note(f"The webhooks' times are {least} to {most} s later than the log's.")
    alike = ((basis.recipient, "recipients"), (basis.ip, "addresses"), (basis.url, "links"))
    for same, what in alike:
        if not same:
            report.note(f"The log writes {what} differently from webhooks: events were compared without them.")
