"""The drain: claim batches from the stream, store their events, acknowledge.

    claim ─▶ unpack ─▶ decode ─▶ one database commit ─▶ acknowledge ─▶ claim …
               │          │            ├─▶ refused: the culprit is found by halving, and goes to quarantine
               │          │            └─▶ the database is away: wait, and claim no more
               │          ├─▶ unreadable: quarantine, in the same commit
               │          └─▶ not verified yet: a table of its own, for `workers.drain.late_verification`
               └─▶ damaged: dead stream

Acknowledged is only what the database has committed, so a drain killed at any line costs nothing but the work:
its batches stay pending and the next drain takes them over. Stored twice they cannot be, because the delivery id
is the primary key.
"""

import gc
import logging
import os
import secrets
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from types import FrameType
from typing import TypeVar

import redis

from ingest import failpoints, redis_client
from ingest.batch import UNVERIFIED, Record, unpack
from ingest.copernica.events import Event
from ingest.errors import (
    BatchError,
    IngestError,
    RowsRejected,
    SchemaMismatch,
    SchemaMissing,
    Unavailable,
)
from ingest.jobs import JobScheduler
from ingest.processes import follow_parent
from ingest.settings import Settings
from ingest.stream.announcements import Announcements
from ingest.stream.consumer import Consumer, Entry
from ingest.stream.heartbeats import Heartbeats
from ingest.stream.reports import DRAIN, DrainReport, process_name
from workers.bisection import take_all
from workers.records import Quarantined, read
from workers.store.store import Store

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Seconds that one drain job works before it lets the next one go on: short enough for hosts that stop a process
#: within 10 s of asking, long enough that RQ's fork of some 15 ms does not count.
SLICE = 10.0
#: Milliseconds that a drain job waits for more when the stream is empty, so that a trickle of single events does
#: not cost a job each.
LINGER_MS = 1000
#: Bytes of packed batches to claim at once: more would only sit in memory, less would fetch too often.
CLAIM_BYTES = 1024 * 1024
#: Batches to claim at once at the most; a claim has to be acknowledged in one transaction.
CLAIM_MAX = 256
#: Batches to claim at first, while their size is not known: one may hold a body of many megabytes.
CLAIM_FIRST = 4
#: Events, and bytes of their bodies, that go into one database commit.
COMMIT_EVENTS = 8192
COMMIT_BYTES = 8 * 1024 * 1024
#: Batches still unclaimed from which another worker is worth waking: about a second's work of one.
SIBLING_BATCHES = 512
#: Objects after which Python looks for garbage in circles. Events make none, and thousands of them are alive at
#: once: at Python's own threshold of some hundreds, looking takes a tenth of the time.
GC_EVERY = 500_000
#: Seconds between two reports for `status`.
REPORT_EVERY = 1.0
#: Seconds between attempts to reach a database that is away: the first, and the longest.
RETRY_FIRST, RETRY_MOST = 0.25, 5.0


class Stopping:
    """Whether this process was asked to stop: then drains end after the commit they are at.

    A plain attribute, because it is set in a signal handler: an Event takes a lock, and a second signal that comes
    in the middle of the first would wait for it for ever.
    """

    asked = False


stopping = Stopping()


@dataclass(slots=True)
class Drained:
    """What one drain did: calls stored (quarantined and unverified ones too), there already, dead batches."""

    stored: int = 0
    doubles: int = 0
    quarantined: int = 0
    unverified: int = 0
    dead: int = 0
    batches: int = 0
    seconds: float = 0.0

    @property
    def events(self) -> int:
        """Everything that was taken out of the stream."""
        return self.stored + self.doubles

    @property
    def events_stored(self) -> int:
        """What is new in the table of events; doubles of the other kinds make it a little less."""
        return max(0, self.stored - self.quarantined - self.unverified)


def drain_job() -> dict[str, float]:
    """The RQ job. Outcomes:

    done        the stream was empty, or the time slice was over and another job goes on
    killed      nothing is lost: what was claimed is taken over after `RECLAIM_IDLE_MS`
    broken off  Redis gave out, or the database was away for the whole time slice, which is said in one line: the
                sweep starts another job as long as there is a backlog
    """  # noqa: D415
    settings = Settings.read()
    client = redis_client.connect(settings.redis)
    ends = time.monotonic() + SLICE
    try:
        store = patiently(lambda: Store.open(settings.database), ends)
        try:
            return asdict(Drain(client, store, settings.has_handlers).run(ends, LINGER_MS))
        finally:
            store.close()
    except (redis.RedisError, IngestError) as error:
        log.error("the drain broke off, nothing is lost: %s", error)
        return asdict(Drained())
    finally:
        client.close()


def patiently(attempt: Callable[[], T], ends: float | None) -> T:
    """Try what needs the database again and again until it succeeds, or until `ends` (monotonic; None: never).

    Raises:
        Unavailable: it was away all the time, or this process was asked to stop.
        SchemaMismatch: waiting would not help.
    """
    delay = RETRY_FIRST
    while True:
        try:
            return attempt()
        except (SchemaMissing, SchemaMismatch):
            raise
        except Unavailable as error:
            if ends is None or stopping.asked or time.monotonic() + delay > ends:
                raise
            if delay == RETRY_FIRST:
                log.warning("waiting for the database: %s", error)
        time.sleep(delay)
        delay = min(delay * 2, RETRY_MOST)


@contextmanager
def coming_to_an_end() -> Iterator[None]:
    """In this block the first SIGINT or SIGTERM asks drains to come to an end, and the second ends the process."""
    numbers = (signal.SIGINT, signal.SIGTERM)

    def ask(_signal: int, _frame: FrameType | None) -> None:
        stopping.asked = True
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)

    before = {number: signal.signal(number, ask) for number in numbers}
    follow_parent(partial(os.kill, os.getpid(), signal.SIGTERM))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def drain_once(settings: Settings) -> tuple[Drained, int]:
    """Drain in this process until nothing is left to claim; also says how many batches other drains hold.

    Raises:
        Unavailable: Redis or the database does not answer.
    """
    client = redis_client.connect(settings.redis)
    redis_client.require(client, settings.redis)
    store = Store.open(settings.database)
    try:
        return Drain(client, store, settings.has_handlers).run(), Consumer(client).pending()
    except redis.RedisError as error:
        raise Unavailable(f"Redis gave out in the middle ({error}): nothing is lost, run it again.") from None
    finally:
        store.close()
        client.close()


class Drain:
    """One run over the backlog."""

    def __init__(self, client: redis.Redis, store: Store, has_handlers: bool = False) -> None:
        """With `has_handlers`, new events are put out for the handlers."""
        self._hands_on = has_handlers
        # No other drain has this name or will have it.
        name = f"{process_name(DRAIN)}:{secrets.token_hex(4)}"
        self._consumer = Consumer(client, name)
        self._heartbeats = Heartbeats(client, name)
        self._announcements = Announcements(client)
        self._scheduler = JobScheduler(client)
        self._store = store
        self._claim_count = CLAIM_FIRST
        self._group = _Group()
        self._ends: float | None = None
        self._reported, self._reported_at = 0, time.monotonic()
        self.drained = Drained()

    def run(self, ends: float | None = None, linger_ms: int = 0) -> Drained:
        """Drain until the stream is empty (and stays so for `linger_ms`), or until `ends` (monotonic seconds).

        A database that goes away is waited for until then.

        Raises:
            Unavailable, redis.RedisError: the database or Redis gave out; what is unfinished stays pending.
        """
        began = time.monotonic()
        self._ends = ends
        # Before the first claim: a batch written after it then wakes the next drain, one written before is seen.
        self._scheduler.clear_wake()
        thresholds = gc.get_threshold()
        gc.set_threshold(GC_EVERY)
        try:
            self._work(linger_ms)
            self._store.tidy()
        finally:
            gc.set_threshold(*thresholds)
            if self.drained.unverified:
                with unless_refused():
                    self._scheduler.note_unverified(self._store.unverified())
            self.drained.seconds = time.monotonic() - began
            self._consumer.leave()
            with unless_refused():
                self._heartbeats.retract()
            self._log()
        return self.drained

    def _work(self, linger_ms: int) -> None:
        woke = False
        while not stopping.asked and (self._ends is None or time.monotonic() < self._ends):
            count = self._claim_count
            entries = self._consumer.reclaim(count) or self._consumer.claim(count, linger_ms)
            if not entries:
                return
            if failpoints.armed:
                failpoints.reach("batches-claimed")
            self._process(entries)
            self._report()
            if not woke and len(entries) == count:
                woke = self._wake_sibling(SIBLING_BATCHES)
            self._adapt(entries)
        self._wake_sibling(1)

    def _wake_sibling(self, backlog: int) -> bool:
        if self._consumer.batches() - self._consumer.pending() < backlog:
            return False
        with unless_refused():
            self._scheduler.wake_drain()
        return True

    def _report(self) -> None:
        """Tell `status` now and then how fast it goes."""
        seconds = time.monotonic() - self._reported_at
        if seconds >= REPORT_EVERY:
            with unless_refused():
                rate = (self.drained.events - self._reported) / seconds
                self._heartbeats.report(DrainReport(round(rate, 1)))
            self._reported, self._reported_at = self.drained.events, time.monotonic()

    def _adapt(self, entries: list[Entry]) -> None:
        """Claim as many batches next time as make up `CLAIM_BYTES`."""
        size = sum(len(entry.packed) for entry in entries) // len(entries)
        wanted = CLAIM_BYTES // max(size, 1)
        self._claim_count = max(1, min(wanted, self._claim_count * 4, CLAIM_MAX))

    def _process(self, entries: list[Entry]) -> None:
        for entry in entries:
            try:
                records = unpack(entry.packed)
            except BatchError as error:
                self._bury(entry, error)
                continue
            if failpoints.armed:
                failpoints.reach("batch-unpacked")
            for record in records:
                self._group.take(record)
            self._group.ids.append(entry.id)
            if self._group.full:
                self._finish()
        self._finish()

    def _bury(self, entry: Entry, error: BatchError) -> None:
        log.error("batch %s goes to the dead stream: %s", entry.id.decode(), error)
        try:
            self._consumer.bury(entry, str(error))
            self.drained.dead += 1
        except redis.ResponseError as refused:
            log.warning("it stays where it is, for a later drain: %s", refused)

    def _finish(self) -> None:
        """Commit what has gathered, then acknowledge it."""
        group, self._group = self._group, _Group()
        if not group.ids:
            return
        if failpoints.armed:
            failpoints.reach("commit")
        new = self._keep(group)
        if failpoints.armed:
            failpoints.reach("committed")
        self._hand_on(group.events)
        if failpoints.armed:
            failpoints.reach("ack")
        self._consumer.ack(group.ids, group.calls, group.calls - new)
        if failpoints.armed:
            failpoints.reach("acked")
        self._announce(group.events)
        self.drained.batches += len(group.ids)
        self.drained.stored += new
        self.drained.doubles += group.calls - new
        self.drained.quarantined += len(group.quarantined)
        self.drained.unverified += len(group.unverified)

    def _keep(self, group: "_Group") -> int:
        """Store a group; returns how much of it was new."""
        try:
            return self._add(group.events, group.records, group.quarantined, group.unverified)
        except RowsRejected:
            return self._keep_most(group)

    def _keep_most(self, group: "_Group") -> int:
        """The same where the database refuses some of the events: only those go to quarantine."""
        new = self._add((), (), group.quarantined, group.unverified)

        def take(pairs: Sequence[tuple[Event, Record]]) -> None:
            nonlocal new
            new += self._add([event for event, _ in pairs], [record for _, record in pairs])

        def give_up(pair: tuple[Event, Record], refusal: RowsRejected) -> None:
            nonlocal new
            log.warning("event %s goes to quarantine: %s", pair[0].delivery_id.hex(), refusal)
            self.drained.quarantined += 1
            new += self._add((), (), [Quarantined(pair[1], str(refusal))])

        take_all(list(zip(group.events, group.records, strict=True)), take, give_up)
        return new

    def _add(
        self,
        events: Sequence[Event],
        records: Sequence[Record],
        quarantined: Sequence[Quarantined] = (),
        unverified: Sequence[Record] = (),
    ) -> int:
        calls = {record.delivery_id: record for record in records} if self._hands_on else None
        return patiently(lambda: self._store.add(events, quarantined, unverified, hand_on=calls), self._ends)

    def _announce(self, events: Sequence[Event]) -> None:
        if events:
            with unless_refused():
                self._announcements.publish([event.delivery_id for event in events])

    def _hand_on(self, events: Sequence[Event]) -> None:
        """Wake the handlers: before the acknowledgement, so that another drain does it if this one is killed."""
        if events and self._hands_on:
            if failpoints.armed:
                failpoints.reach("handlers-wake")
            with unless_refused():
                self._scheduler.note_handoffs(True)
                self._scheduler.hand_on()

    def _log(self) -> None:
        done = self.drained
        if not done.events and not done.dead:
            log.debug("nothing to drain")
            return
        notes = "".join(
            f", {number} {name}"
            for number, name in (
                (done.doubles, "there already"),
                (done.quarantined, "unreadable and in quarantine"),
                (done.unverified, "to be verified later"),
                (done.dead, "dead batches"),
            )
            if number
        )
        log.info("stored %d events in %.1f s%s", done.events_stored, done.seconds, notes)


@contextmanager
def unless_refused() -> Iterator[None]:
    """For what a drain can do without: a Redis that is full refuses it, and draining is what makes room."""
    try:
        yield
    except redis.ResponseError as error:
        log.warning("Redis refuses more than the drain itself: %s", error)


class _Group:
    """What goes into the next commit."""

    def __init__(self) -> None:
        self.ids: list[bytes] = []
        #: Events, and the calls that brought them.
        self.events: list[Event] = []
        self.records: list[Record] = []
        self.quarantined: list[Quarantined] = []
        self.unverified: list[Record] = []
        self._bytes = 0

    @property
    def full(self) -> bool:
        return self.calls >= COMMIT_EVENTS or self._bytes >= COMMIT_BYTES

    @property
    def calls(self) -> int:
        """How many calls are in it."""
        return len(self.events) + len(self.quarantined) + len(self.unverified)

    def take(self, record: Record) -> None:
        self._bytes += len(record.body)
        if record.flags & UNVERIFIED:
            self.unverified.append(record)
            return
        found = read(record)
        if isinstance(found, Quarantined):
            self.quarantined.append(found)
        else:
            self.events.append(found)
            self.records.append(record)
