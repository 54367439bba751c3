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

Where there are several stream servers, one drain works on all of them in turn, so that a single worker serves them
all; one that fails, or is another database's, is left out, with what it has, until the next drain.
"""

import logging
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict

import redis

from ingest import failpoints, partitions, redis_client, tracing
from ingest.batch import unpack
from ingest.errors import BatchError, IngestError, OtherDatabase
from ingest.jobs import EVENTS_QUEUE
from ingest.settings import Settings
from ingest.stream.consumer import Entry
from ingest.stream.partitions import Partitions
from ingest.stream.pauses import QUEUE
from ingest.stream.reports import DRAIN, process_name
from workers.drain.desk import Desk
from workers.drain.group import Group, GroupStore
from workers.drain.source import Source
from workers.drain.summary import DrainSummary
from workers.gaps import lineage
from workers.metrics import figures
from workers.pausing import PauseWatch
from workers.runtime import SLICE, patiently, rare_garbage_collection, stop_flag
from workers.store.backend import Row
from workers.store.row_plans import RowPlans
from workers.store.rows import KEY
from workers.store.store import Store

log = logging.getLogger(__name__)

#: Milliseconds that a drain job waits for more when the stream is empty, so that events that come one by one do
#: not cost a job each.
LINGER_MS = 1000
#: The same on each of several partitions in turn.
LINGER_PIECE_MS = 50
#: Seconds from one look at the stream to the next while less comes than can be read at once: a commit costs the
#: same for one call as for twenty. What comes after a pause is stored at once.
GATHER = 0.05
#: Batches still unclaimed from which another worker is worth waking: about a second's work of one.
SIBLING_BATCHES = 512


def drain_job(seconds: float = SLICE, linger_ms: int | None = LINGER_MS) -> dict[str, float]:
    """Drain for one time slice; returns the fields of a `DrainSummary`. See `Drain.run`."""
    settings = Settings.read()
    deadline = time.monotonic() + seconds
    try:
        with redis_client.connect(settings.redis) as client, partitions.opened(settings, client) as streams:
            paused = PauseWatch(client, QUEUE + EVENTS_QUEUE)
            if paused():
                return asdict(DrainSummary())
            with patiently(lambda: lineage.opened(settings, client), deadline) as store:
                drain = Drain(client, store, settings.has_handlers, tracing.of(settings), paused, streams)
                return asdict(drain.run(deadline, linger_ms))
    except (redis.RedisError, IngestError) as error:
        log.error("the drain broke off, nothing is lost: %s", error)
        return asdict(DrainSummary())


class Drain:
    """One run over the backlog of all partitions, which have their turns."""

    def __init__(
        self,
        client: redis.Redis,
        store: Store,
        has_handlers: bool = False,
        traces: tracing.Tracing | None = None,
        paused: Callable[[], bool] = lambda: False,
        partitions: Partitions | None = None,
        desk: type[Desk] = Desk,
    ) -> None:
        """`client` leads to where the queues are; without `partitions`, the stream is there and nowhere else.

        With `has_handlers`, new events are put into the outbox for the handlers; once `paused`, ends early.
        """
        self._traces = traces
        self._paused = paused
        self._has_handlers = has_handlers
        # No other drain has this name or will have it.
        name = f"{process_name(DRAIN)}:{secrets.token_hex(4)}"
        partitions = partitions or Partitions.alone(client)
        self._desk = desk(client, partitions, name)
        self._are_several = partitions.are_several
        self._sources = [Source(partition, name) for partition in partitions]
        #: The partition that is worked on now.
        self._at = self._sources[0]
        self._woke_sibling = False
        #: Whether a partition is done with when what is left of it has just come.
        self._stops_at_the_end = False
        #: Whether it ends for other jobs once it has caught up, and whether it has.
        self._gives_way = self._caught_up = False
        #: Whether any partition had all that can be read at once, when it last had its turn.
        self._is_behind = False
        self._store = store
        self._groups = GroupStore(store, has_handlers, name)
        self._plans = RowPlans()
        self.summary = DrainSummary()

    def run(self, deadline: float | None = None, linger_ms: int | None = 0) -> DrainSummary:
        """Drain until all is empty (and stays so for `linger_ms`), or until `deadline` (monotonic seconds).

        None: only until what is left has just come; while calls keep coming, the stream is never empty.
        A database that becomes unavailable is waited for until then.

        Raises:
            Unavailable, redis.RedisError: the database or Redis failed, or all of several stream servers; what is
                unfinished stays pending.
        """
        began = time.monotonic()
        self._begin()
        try:
            with rare_garbage_collection():
                self._work(deadline, linger_ms)
                self._store.tidy()
        finally:
            unverified = self._unverified if self.summary.unverified else None
            self._desk.note_stored(unverified, bool(self.summary.events))
            self.summary.seconds = time.monotonic() - began
            if self._traces is not None:
                self._traces.flush()
            self._on_each(lambda source: source.consumer.leave())
            self._desk.leave()
            if self.summary.events or self.summary.dead:
                log.info("%s", self.summary, extra={"event": "drained"})
        return self.summary

    def _unverified(self) -> tuple[int, int]:
        return self._store.unverified(), self._store.unverified_bytes()

    def _begin(self) -> None:
        """Before the first claim: a batch written after this wakes the next drain, one written before is seen."""
        away = self._desk.away(source.name for source in self._sources)
        if there := [source for source in self._sources if source.name not in away]:
            self._sources = there
        if self._are_several:
            self._on_each(self._claim)
        self._on_each(lambda source: source.consumer.clear_wake())

    def _on_each(self, do: Callable[[Source], object]) -> bool:
        """Do something on each partition; whether it was worth doing on one of them.

        Of several servers, those that fail are left out from then on.

        Raises:
            redis.RedisError: none is left.
        """
        any_worth = False
        for source in list(self._sources):
            self._at = source
            try:
                any_worth |= bool(do(source))
            except redis.RedisError as error:
                self._leave_out(source, error)
        return any_worth

    def _claim(self, source: Source) -> None:
        """Leave out a server whose calls are for another database: somebody has named the wrong one."""
        try:
            lineage.claim(self._store, source.client)
        except OtherDatabase as error:
            log.error("%s is left out: %s", source.name, error, extra={"event": "other-database"})
            self._sources.remove(source)

    def _leave_out(self, source: Source, error: redis.RedisError) -> None:
        if not self._are_several:
            raise error
        log.warning("the stream server %s is left out, and its batches stay there: %s", source.name, error)
        self._desk.note_away(source.name)
        self._sources.remove(source)
        if not self._sources:
            raise error

    def _work(self, deadline: float | None, linger_ms: int | None) -> None:
        def over() -> bool:
            late = deadline is not None and time.monotonic() >= deadline
            return late or stop_flag.requested or self._paused() or self._is_in_the_way()

        def turn(source: Source) -> bool:
            return not (self._are_several and over()) and self._turn(source, deadline, wait, over)

        # One stream is waited for at once; of several, each is for a moment.
        self._stops_at_the_end = linger_ms is None
        self._gives_way = bool(linger_ms)
        linger_ms = linger_ms or 0
        wait, piece = (0, LINGER_PIECE_MS) if self._are_several else (linger_ms, 0)
        waited = 0
        while not over():
            began, self._is_behind = time.monotonic(), False
            if self._on_each(turn):
                if linger_ms and not self._is_behind:
                    time.sleep(max(0.0, began + GATHER - time.monotonic()))
                waited, wait = 0, 0 if self._are_several else linger_ms
            elif self._are_several and waited < linger_ms:
                wait = piece
                waited += piece * len(self._sources)
            else:
                return
        if not self._paused():
            self._on_each(lambda source: self._wake_sibling(source, 1))

    def _is_in_the_way(self) -> bool:
        """Whether other jobs wait for this worker, and what is left has just come: a trickle never ends."""
        return self._gives_way and self._caught_up and self._desk.others_wait()

    def _turn(self, source: Source, deadline: float | None, wait_ms: int, over: Callable[[], bool]) -> bool:
        """Work on what one partition has, once; returns whether there may be more."""
        taken_over = source.consumer.reclaim(source.count)
        entries = taken_over or source.consumer.claim(source.count, wait_ms)
        if not entries:
            return False
        if failpoints.armed:
            failpoints.reach("batches-claimed")
        if taken_over:
            source.takeover(self._store, self, over).work(entries)
        else:
            self._process(entries, deadline)
        self._desk.report(self.summary.events)
        self._caught_up = not taken_over and len(entries) < source.count
        self._is_behind |= not self._caught_up
        if self._stops_at_the_end and self._caught_up:
            return False
        if not self._woke_sibling and len(entries) == source.count:
            self._woke_sibling = self._wake_sibling(source, SIBLING_BATCHES)
        source.learn(entries)
        return True

    def _wake_sibling(self, source: Source, backlog: int) -> bool:
        """Have another worker join if at least that many batches are unclaimed; returns whether there were."""
        if source.unclaimed() < backlog:
            return False
        self._desk.wake_sibling()
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
        self._at.consumer.ack([entry.id], calls)
        self.summary.batches += 1

    def bury(self, entry: Entry, error: BatchError) -> bool:
        """Move a batch to the dead stream; False if Redis does not take it there now."""
        batch = entry.id.decode()
        log.error("batch %s goes to the dead stream: %s", batch, error, extra={"batch_id": batch})
        try:
            self._at.consumer.bury(entry, str(error))
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
        self._at.consumer.ack(group.ids, group.calls, doubles)
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
            self._desk.announce([row[KEY] for row in rows])

    def _wake_handlers(self) -> None:
        """Before the acknowledgement, so that another drain does it if this one is killed."""
        if failpoints.armed:
            failpoints.reach("handlers-wake")
        self._desk.wake_handlers()
