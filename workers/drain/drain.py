"""The drain: claim batches from the stream, store their events, acknowledge.

    claim ─▶ unpack ─▶ decode ─▶ one database commit ─▶ acknowledge ─▶ claim …
               │          │            ├─▶ refused: the culprit is found by halving, and goes to quarantine
               │          │            └─▶ the database is unavailable: wait, and claim no more
               │          ├─▶ unreadable: quarantine, in the same commit
               │          └─▶ not verified yet: a table of its own, for `workers.drain.late_verification`
               └─▶ damaged: dead stream

Only what the database has committed is acknowledged, so a drain killed at any line costs nothing but the work: its
batches stay pending and the next drain takes them over, one by one, in case it was they that killed it
(`workers.drain.takeover`). Nothing can be stored twice, because the delivery id is the primary key.
"""

import logging
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import redis

from ingest import failpoints, redis_client, shown, tracing
from ingest.batch import unpack
from ingest.errors import BatchError, IngestError, Unavailable
from ingest.jobs import EVENTS_QUEUE, JobScheduler
from ingest.settings import Settings
from ingest.stream.announcements import Announcements
from ingest.stream.consumer import Consumer, Entry
from ingest.stream.heartbeats import Heartbeats
from ingest.stream.pauses import QUEUE
from ingest.stream.reports import DRAIN, DrainReport, process_name
from ingest.stream.suspects import Suspects
from workers.drain.group import Group, GroupStore
from workers.drain.takeover import TakeOver
from workers.gaps import lineage
from workers.metrics import figures
from workers.pausing import PauseWatch
from workers.runtime import SLICE, patiently, rare_garbage_collection, stop_flag, unless_refused
from workers.store.backend import Row
from workers.store.row_plans import RowPlans
from workers.store.rows import KEY
from workers.store.store import Store

log = logging.getLogger(__name__)

#: Milliseconds that a drain job waits for more when the stream is empty, so that events that come one by one do
#: not cost a job each.
LINGER_MS = 1000
#: Bytes of packed batches to claim at once: more would only sit in memory, less would fetch too often.
CLAIM_BYTES = 1024 * 1024
#: Batches to claim at once at most; a claim has to be acknowledged in one transaction.
CLAIM_MAX = 256
#: Batches to claim at first, while their size is unknown: one may hold a body of many megabytes.
CLAIM_FIRST = 4
#: Batches still unclaimed from which another worker is worth waking: about a second's work of one.
SIBLING_BATCHES = 512
#: Seconds between two reports for `status`: as often as anyone looks.
REPORT_EVERY = 1.0


@dataclass(slots=True)
class DrainSummary:
    """What one drain did with its calls: `stored` includes quarantined and unverified ones, not `doubles`."""

    stored: int = 0
    doubles: int = 0
    #: Not stored, because they are about people who were erased since.
    erased: int = 0
    #: Late: their events had been recovered, and say now what their calls do.
    upgraded: int = 0
    quarantined: int = 0
    unverified: int = 0
    dead: int = 0
    batches: int = 0
    seconds: float = 0.0

    @property
    def events(self) -> int:
        """Everything that was taken out of the stream."""
        return self.stored + self.doubles + self.erased + self.upgraded

    @property
    def events_stored(self) -> int:
        """What is new in the table of events; doubles of the other kinds make it a little less."""
        return max(0, self.stored - self.quarantined - self.unverified)

    def __str__(self) -> str:
        counts = (
            (self.doubles, "there already"),
            (self.erased, "about people who were erased"),
            (self.upgraded, "of events that had been recovered"),
            (self.quarantined, "unreadable and in quarantine"),
            (self.unverified, "to be verified later"),
            (self.dead, "dead batches"),
        )
        notes = "".join(f", {number} {what}" for number, what in counts if number)
        return f"stored {shown.counted(self.events_stored, 'event')} in {self.seconds:.1f} s{notes}"


def drain_job(seconds: float = SLICE, linger_ms: int | None = LINGER_MS) -> dict[str, float]:
    """Drain for one time slice; returns the fields of a `DrainSummary`. See `Drain.run`."""
    settings = Settings.read()
    deadline = time.monotonic() + seconds
    try:
        with redis_client.connect(settings.redis) as client:
            paused = PauseWatch(client, QUEUE + EVENTS_QUEUE)
            if paused():
                return asdict(DrainSummary())
            with patiently(lambda: lineage.opened(settings, client), deadline) as store:
                drain = Drain(client, store, settings.has_handlers, tracing.of(settings), paused)
                return asdict(drain.run(deadline, linger_ms))
    except (redis.RedisError, IngestError) as error:
        log.error("the drain broke off, nothing is lost: %s", error)
        return asdict(DrainSummary())


def drain_once(settings: Settings) -> tuple[DrainSummary, int]:
    """Drain in this process until nothing is left to claim; also returns how many batches other drains hold.

    Raises:
        Unavailable: Redis or the database is unavailable.
    """
    with redis_client.connect(settings.redis) as client:
        redis_client.require(client, settings.redis)
        with lineage.opened(settings, client) as store:
            try:
                drain = Drain(client, store, settings.has_handlers, tracing.of(settings))
                drained = drain.run(), Consumer(client).pending()
            except redis.RedisError as error:
                raise Unavailable(f"Lost Redis in the middle ({error}): nothing is lost, run it again.") from None
            for problem in store.make_room():  # where no worker runs the daily job
                log.warning("%s", problem, extra={"event": "no-room-made"})
            return drained


class Drain:
    """One run over the backlog."""

    def __init__(
        self,
        client: redis.Redis,
        store: Store,
        has_handlers: bool = False,
        traces: tracing.Tracing | None = None,
        paused: Callable[[], bool] = lambda: False,
    ) -> None:
        """With `has_handlers`, new events are put into the outbox for the handlers; once `paused`, ends early."""
        self._traces = traces
        self._paused = paused
        self._has_handlers = has_handlers
        # No other drain has this name or will have it.
        name = f"{process_name(DRAIN)}:{secrets.token_hex(4)}"
        self._consumer = Consumer(client, name)
        self._heartbeats = Heartbeats(client, name)
        self._announcements = Announcements(client)
        self._scheduler = JobScheduler(client)
        self._store = store
        self._groups = GroupStore(store, has_handlers, name)
        self._suspects = Suspects(client)
        self._plans = RowPlans()
        self.summary = DrainSummary()

    def run(self, deadline: float | None = None, linger_ms: int | None = 0) -> DrainSummary:
        """Drain until the stream is empty (and stays so for `linger_ms`), or until `deadline` (monotonic seconds).

        None: only until what is left has just come; while calls keep coming, the stream is never empty.
        A database that becomes unavailable is waited for until then.

        Raises:
            Unavailable, redis.RedisError: the database or Redis failed; what is unfinished stays pending.
        """
        began = time.monotonic()
        # Before the first claim: a batch written after it then wakes the next drain, one written before is seen.
        self._scheduler.clear_wake()
        try:
            with rare_garbage_collection():
                self._work(deadline, linger_ms)
                self._store.tidy()
        finally:
            with unless_refused():
                if self.summary.unverified:
                    self._scheduler.note_unverified(self._store.unverified(), self._store.unverified_bytes())
                if self.summary.events:
                    self._scheduler.note_stored()
            self.summary.seconds = time.monotonic() - began
            if self._traces is not None:
                self._traces.flush()
            self._consumer.leave()
            with unless_refused():
                self._heartbeats.retract()
            if self.summary.events or self.summary.dead:
                log.info("%s", self.summary, extra={"event": "drained"})
        return self.summary

    def _work(self, deadline: float | None, linger_ms: int | None) -> None:
        woke_sibling = False
        count = CLAIM_FIRST
        reporter = _Reporter(self._heartbeats)

        def over() -> bool:
            late = deadline is not None and time.monotonic() >= deadline
            return late or stop_flag.requested or self._paused()

        takeover = TakeOver(self._suspects, self._store, self, over)
        while not over():
            taken_over = self._consumer.reclaim(count)
            entries = taken_over or self._consumer.claim(count, linger_ms or 0)
            if not entries:
                return
            if failpoints.armed:
                failpoints.reach("batches-claimed")
            if taken_over:
                takeover.work(entries)
            else:
                self._process(entries, deadline)
            reporter.report(self.summary.events)
            if linger_ms is None and not taken_over and len(entries) < count:
                return
            if not woke_sibling and len(entries) == count:
                woke_sibling = self._wake_sibling(SIBLING_BATCHES)
            count = _next_count(count, entries)
        if not self._paused():
            self._wake_sibling(1)

    def _wake_sibling(self, backlog: int) -> bool:
        """Have another worker join if at least that many batches are unclaimed; returns whether there were."""
        if self._consumer.batches() - self._consumer.pending() < backlog:
            return False
        with unless_refused():
            self._scheduler.wake_drain()
        return True

    def _process(self, entries: Sequence[Entry], deadline: float | None) -> None:
        group = Group(self._plans)
        for entry in entries:
            try:
                records = unpack(entry.packed)
            except BatchError as error:
                self.bury(entry, error)
                continue
            if failpoints.armed:
                failpoints.reach("batch-unpacked")
            group.take_batch(entry, records)
            if group.full:
                self._finish(group, deadline)
                group = Group(self._plans)
        if group.ids:
            self._finish(group, deadline)

    # --- what `TakeOver` asks for ---

    def alone(self, entry: Entry) -> None:
        """Store a whole batch and acknowledge it; raise Unavailable at once if the database is."""
        self._process([entry], None)

    def commit(self, group: Group) -> None:
        """Store a group, at once or not at all."""
        self._store_group(group, None)
        self._announce(group.rows)

    def done(self, entry: Entry, calls: int) -> None:
        """Acknowledge a batch of so many calls, all of which are stored."""
        self._consumer.ack([entry.id], calls)
        self.summary.batches += 1

    def bury(self, entry: Entry, error: BatchError) -> bool:
        """Move a batch to the dead stream; False if Redis does not take it there now."""
        batch = entry.id.decode()
        log.error("batch %s goes to the dead stream: %s", batch, error, extra={"batch_id": batch})
        try:
            self._consumer.bury(entry, str(error))
        except redis.ResponseError as refusal:
            log.warning("the batch stays where it is, for a later drain: %s", refusal)
            return False
        self.summary.dead += 1
        return True

    # --- one commit ---

    def _finish(self, group: Group, deadline: float | None) -> None:
        """Commit a group, then acknowledge its batches."""
        began, stored_before = time.time_ns(), figures.events_stored
        doubles = self._store_group(group, deadline)
        if failpoints.armed:
            failpoints.reach("ack")
        self._consumer.ack(group.ids, group.calls, doubles)
        if failpoints.armed:
            failpoints.reach("acked")
        self._announce(group.rows)
        if self._traces is not None:
            new = figures.events_stored - stored_before
            self._traces.stored([row[KEY] for row in group.rows], new, began)
        self.summary.batches += len(group.ids)

    def _store_group(self, group: Group, deadline: float | None) -> int:
        """Commit a group; returns how many of its calls were there already."""
        if failpoints.armed:
            failpoints.reach("commit")
        began = time.monotonic()
        new, erased, upgraded, refused = self._groups.add(group, deadline)
        doubles = group.calls - new - erased - upgraded
        figures.committed(time.monotonic() - began)
        figures.doubles(doubles)
        if failpoints.armed:
            failpoints.reach("committed")
        if group.rows and self._has_handlers:
            self._wake_handlers()
        self.summary.stored += new
        self.summary.doubles += doubles
        self.summary.erased += erased
        self.summary.upgraded += upgraded
        self.summary.quarantined += len(group.quarantined) + refused
        self.summary.unverified += len(group.unverified)
        return doubles

    def _announce(self, rows: Sequence[Row]) -> None:
        if rows:
            with unless_refused():
                self._announcements.publish([row[KEY] for row in rows])

    def _wake_handlers(self) -> None:
        """Before the acknowledgement, so that another drain does it if this one is killed."""
        if failpoints.armed:
            failpoints.reach("handlers-wake")
        with unless_refused():
            self._scheduler.note_handoffs(True)
            self._scheduler.hand_on()


class _Reporter:
    """Tells `status` now and then how fast a drain is."""

    def __init__(self, heartbeats: Heartbeats) -> None:
        self._heartbeats = heartbeats
        self._events, self._at = 0, time.monotonic()

    def report(self, events: int) -> None:
        """Report the rate since the last report, if that is long enough ago; `events` is the total so far."""
        seconds = time.monotonic() - self._at
        if seconds >= REPORT_EVERY:
            with unless_refused():
                self._heartbeats.report(DrainReport(round((events - self._events) / seconds, 1)))
            self._events, self._at = events, time.monotonic()


def _next_count(count: int, entries: Sequence[Entry]) -> int:
    """How many batches to claim next time, so that they make up `CLAIM_BYTES`."""
    size = sum(len(entry.packed) for entry in entries) // len(entries)
    return max(1, min(CLAIM_BYTES // max(size, 1), count * 4, CLAIM_MAX))
