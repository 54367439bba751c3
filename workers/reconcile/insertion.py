"""What a comparison found missing, or telling more than the store does: inserted and filled in."""

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol, Self

from ingest import failpoints
from ingest.copernica.events import DAY, MICROS, Event
from ingest.copernica.logfiles.reader import Portion
from ingest.copernica.logfiles.rows import Damage
from ingest.errors import RowsRejected
from ingest.shown import counted
from workers.bisection import take_all
from workers.reconcile import partitions
from workers.reconcile.matching import Verdict
from workers.reconcile.report import KindReport
from workers.records import record_of
from workers.store.comparisons import Comparison
from workers.store.store import Store

#: Events that are inserted in one transaction, and those that are filled in in one: each takes ten times as long.
PORTION, FILLED = 2000, 500
#: Seconds in an hour.
HOUR = 3600
#: Bytes of a delivery id.
ID = 12


class Source(Protocol):
    """Lines that are compared: of log files (`Reading`), or results over REST (`Results`)."""

    def lines(self) -> Iterator[Portion | tuple[str, Damage]]:
        """What the lines say, or what is wrong with one, and where it is; numbered from 0, in this order."""

    def digests(self, kind: str, said: Portion) -> Iterable[bytes]:
        """What names each line: 8 bytes, of which the delivery id of its event is made."""

    def again(self, wanted: "array[int]") -> Iterator[Event]:
        """The events of the lines whose numbers have something other than 0 in `wanted`."""

    def name_of(self, event: Event) -> bytes:
        """What names the line that became an event."""


@dataclass(slots=True)
class Found:
    """What a comparison found: by the number of a line, what is to be done with it.

    `wanted` has the occurrence of a missing line plus one. `fills` has the place, counted from one, of the
    delivery id in `ids` whose event the line fills in. Either is 0 for all others.
    """

    wanted: "array[int]"
    fills: "array[int]"
    ids: bytearray

    @classmethod
    def nothing(cls, lines: int) -> Self:
        """Of so many lines."""
        zeros = bytes(array("I").itemsize * lines)
        return cls(array("I", zeros), array("I", zeros), bytearray())

    def add(self, verdict: Verdict) -> None:
        """Add what was found out about one part."""
        for number, occurrence in verdict.missing:
            self.wanted[number] = occurrence + 1
        for number, delivery_id in verdict.fills:
            self.ids += delivery_id
            self.fills[number] = len(self.ids) // ID

    def id_of(self, number: int) -> bytes:
        """The delivery id of the event that a line fills in."""
        at = self.fills[number] * ID
        return bytes(self.ids[at - ID : at])


class Insertion:
    """Inserts into the store what is missing of one kind, and tells the report."""

    def __init__(
        self,
        store: Store,
        report: KindReport,
        hand_on: bool,
        tell: Callable[[Sequence[Event]], object],
        oldest: int = 0,
    ) -> None:
        """What is from before `oldest` (Unix seconds) is left out: it would be deleted again."""
        self._oldest_kept = oldest.to_bytes(4, "big")
        self._store = store
        self._report = report
        self._hand_on = hand_on
        self._tell = tell
        self._late = 0

    def all(self, source: Source, found: Found, comparison: Comparison, spread: int | None) -> int:
        """Insert, and fill in; returns how many lines came too late to be inserted.

        For `spread`, see `Store.recover`.
        """
        self._report.erased = self._report.expired = 0
        if any(found.wanted):
            if failpoints.armed:
                failpoints.reach("compared")
            events = self._events(source, found.wanted)
            named = (self._named(source, number, event, found) for number, event in events)
            while portion := list(islice(named, PORTION)):
                kept = [event for event in portion if event.delivery_id >= self._oldest_kept]
                self._report.expired += len(portion) - len(kept)
                self._insert(kept, comparison, spread)
            if expired := self._report.expired:
                lines = counted(expired, "line is", "lines are")
                self._report.note(f"{lines} older than such events are kept (INGEST_RETENTION_…), and left out.")
        if any(found.fills):
            events = self._events(source, found.fills)
            given = (self._given(event, found.id_of(number), spread) for number, event in events)
            while portion := list(islice(given, FILLED)):
                self._report.filled += self._store.fill_in(portion, comparison.number)
        return self._late

    def _events(self, source: Source, flags: "array[int]") -> Iterator[tuple[int, Event]]:
        numbers = (number for number, flag in enumerate(flags) if flag)
        return zip(numbers, source.again(flags), strict=True)

    def _named(self, source: Source, number: int, event: Event, found: Found) -> Event:
        """The event of a line with its delivery id."""
        digest, occurrence = source.name_of(event), found.wanted[number] - 1
        return self._moved(event, partitions.delivery_id(event.occurred_at // MICROS, digest, occurrence))

    def _given(self, event: Event, delivery_id: bytes, spread: int | None) -> Event:
        """What an event is filled in with; without its time, if nobody knows that by the clock of the webhooks."""
        moved = self._moved(event, delivery_id)
        return moved if spread is not None else moved._replace(occurred_at=moved.received_at)

    def _moved(self, event: Event, delivery_id: bytes) -> Event:
        """An event with its time by the clock of the webhooks, as all other events."""
        moment = event.occurred_at + self._report.offset * MICROS
        return Event._make((delivery_id, *event[1:3], moment, *event[4:]))  # half the time of `_replace`

    def _insert(self, events: Sequence[Event], comparison: Comparison, spread: int | None) -> None:
        report = self._report
        taken: list[Event] = []

        def take(some: Sequence[Event]) -> None:
            calls = {e.delivery_id: record_of(e) for e in some} if self._hand_on else None
            done = self._store.recover(some, comparison, spread, calls)
            report.recovered += done.new
            report.erased += done.erased
            report.in_store += done.there
            self._late += len(done.late)
            late = {event.delivery_id for event in done.late}
            taken.extend(event for event in some if event.delivery_id not in late)

        def give_up(event: Event, refusal: RowsRejected) -> None:
            report.unmatched += 1
            report.note(f"{event.type} of message {event.message_id}: {refusal}")

        take_all(events, take, give_up)
        for event in taken:
            report.recovered_hours[event.occurred_at // MICROS % DAY // HOUR] += 1
        self._tell(taken)
