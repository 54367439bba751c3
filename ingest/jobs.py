"""Waking workers: RQ jobs that only say "there is something to do"; one lost, doubled or killed costs nothing.

This is the only place that puts jobs on a queue. Two kinds of methods do so: those that are called by whoever has
just made work (`wake_…`, `hand_on`), and those of the sweep, which every endpoint process runs every few seconds
and which makes up for wake-ups that were lost (`sweep_…`) and starts what is due once a day (`enqueue_…`).
"""

import math
import time
from collections.abc import Iterable
from datetime import timedelta
from typing import cast
from uuid import uuid4

import redis
from rq import Queue
from rq.serializers import JSONSerializer

from ingest.copernica.events import DAY
from ingest.stream.clock import redis_time
from ingest.stream.consumer import Consumer
from ingest.stream.glance import Glance
from ingest.stream.keys import Keys
from ingest.stream.known_streams import KnownStreams
from ingest.stream.partitions import Partitions

#: The RQ queue of drain jobs, and of all other jobs that no handler is called in.
EVENTS_QUEUE = "events"
#: The RQ queue of jobs in which handlers are called.
HANDLERS_QUEUE = "handlers"
#: All queues.
QUEUES = (EVENTS_QUEUE, HANDLERS_QUEUE)

# Jobs are enqueued by name: the receiving side never imports the processing side.
#: Drains the stream.
DRAIN_JOB = "workers.jobs.drain"
#: Asks again for the keys of calls that could not be verified when they came in.
VERIFY_JOB = "workers.jobs.verify"
#: Deletes what is too old and makes room for what is to come.
DAILY_JOB = "workers.jobs.retention"
#: Compares yesterday's log files with the store.
RECONCILE_JOB = "workers.jobs.reconcile"
#: Exports days to a warehouse.
EXPORT_JOB = "workers.jobs.export"
#: Looks for gaps: periods in which calls may be missing.
FIND_GAPS_JOB = "workers.jobs.find_gaps"
#: Fills gaps from Copernica's results.
CATCH_UP_JOB = "workers.jobs.catch_up"
#: Brings the figures of mailings up to date.
MAILINGS_JOB = "workers.jobs.mailings"
#: Gives each handler its share of what was stored.
HAND_ON_JOB = "workers.jobs.hand_on"
#: Works for the one handler that its argument names.
HANDLE_JOB = "workers.jobs.handle"

#: Seconds that a job may take: its slice of 10 and one slow database commit.
JOB_TIMEOUT = 60
#: Seconds that the reconcile job may take: millions of lines have to be downloaded.
RECONCILE_TIMEOUT = 6 * 3600
#: Seconds that the export job may take: all days, the first time.
EXPORT_TIMEOUT = 6 * 3600
#: Seconds that the job may take that fills gaps: a gap can be as long as an outage was.
CATCH_UP_TIMEOUT = 6 * 3600
#: Seconds between two jobs that look for gaps: one is filled from a minute after its end on.
FIND_GAPS_EVERY = 30
#: Seconds between two jobs that look for gaps to fill: while there are some, so that they are filled soon after
#: their end, and otherwise.
GAPS_EVERY, GAPS_SWEEP_EVERY = 5, 60
#: Seconds that the job may take that makes the figures of mailings: an hour may have millions of events, and
#: drains have their turns meanwhile.
MAILINGS_TIMEOUT = 3600
#: Seconds between two of them where there was something to do, and otherwise; at most, whatever the last one took.
MAILINGS_EVERY, MAILINGS_SWEEP_EVERY, MAILINGS_REST = 5, 60, 600
#: Seconds that RQ keeps a failed job, for whoever looks for the reason.
FAILURE_TTL = DAY
#: Seconds between two verify jobs: as often as it is worth asking DNS again.
VERIFY_EVERY = 30
#: Seconds between two that look whether calls wait of which Redis knows nothing.
VERIFY_SWEEP_EVERY = 300
#: Seconds between two jobs that look for work that was left lying, and after which a wake-up counts as lost.
HAND_ON_EVERY = 15
#: Seconds between two daily jobs …
DAILY_EVERY = DAY
#: … and after one that failed.
DAILY_RETRY = 600

#: How the ids of drain jobs begin: other jobs on their queue do not drain.
_DRAIN = "drain"
#: How those begin that verify, look for gaps, fill them, reconcile, make figures of mailings, and export.
_VERIFY, _FIND_GAPS, _CATCH_UP, _RECONCILE = "verify", "find-gaps", "catch-up", "reconcile"
_MAILINGS, _EXPORT = "mailings", "export"


class JobScheduler:
    """Puts jobs on RQ's queues, never more of them than are of use."""

    def __init__(self, client: redis.Redis, partitions: Partitions | None = None) -> None:
        """`client` leads to where the queues are; without `partitions`, the stream is there and nowhere else."""
        self.client = self._client = client
        self.glance = Glance(client)
        self._keys = Keys()
        self.partitions = partitions or Partitions.alone(client)
        self._events = Queue(EVENTS_QUEUE, connection=client, serializer=JSONSerializer)
        self._handlers = Queue(HANDLERS_QUEUE, connection=client, serializer=JSONSerializer)

    # --- drains ---

    def enqueue_drain(self) -> None:
        """Enqueue a drain job."""
        self._enqueue(DRAIN_JOB, _DRAIN)

    def wake_drain(self) -> bool:
        """Enqueue a drain job unless one is waiting already."""
        if any(job_id.startswith(_DRAIN) for job_id in self._events.job_ids):
            return False
        self.enqueue_drain()
        return True

    def others_than_drains_wait(self) -> bool:
        """Whether jobs other than drains wait for a worker of the drains' queue."""
        return not all(job_id.startswith(_DRAIN) for job_id in self._events.job_ids)

    def sweep_backlog(self) -> bool:
        """Wake a drain if there are batches, and no drain is at work on them or about to be."""
        return any(self.partitions.each(Consumer.wants_drain).values()) and self.wake_drain()

    def note_streams(self) -> None:
        """Remember which servers have a partition, where there are several, and what each has now."""
        KnownStreams(self._client).look_at(self.partitions)

    # --- late verification ---

    def note_unverified(self, calls: int, size: int) -> None:
        """Let endpoints know how many calls wait to be verified, and how many bytes those hold."""
        if calls:
            self._client.set(self._keys.unverified, f"{calls} {size}")
        else:
            self._client.delete(self._keys.unverified)

    def noted_unverified(self) -> tuple[int, int]:
        """What `note_unverified` noted last; zeros if nothing, or if Redis has lost it."""
        note = cast(bytes | None, self._client.get(self._keys.unverified)) or b"0"
        calls, _, size = note.partition(b" ")
        return int(calls), int(size or 0)

    def wake_verify(self) -> bool:
        """Enqueue a verify job unless one is waiting already."""
        if any(job_id.startswith(_VERIFY) for job_id in self._events.job_ids):
            return False
        self._enqueue(VERIFY_JOB, _VERIFY)
        return True

    def sweep_unverified(self) -> bool:
        """Enqueue a verify job if the last was a while ago: soon if calls are known to wait, else now and then.

        The job looks into the table itself. What Redis knows of it is lost when Redis is replaced or full, or when
        two workers write it at the same time.
        """
        every = VERIFY_EVERY if self.glance.exists(self._keys.unverified) else VERIFY_SWEEP_EVERY
        return self.glance.once(f"{self._keys.verify}:{every}", every) and self.wake_verify()

    # --- gaps ---

    def sweep_coverage(self) -> bool:
        """Enqueue a job that looks for gaps, if the last was a while ago and none waits for a worker."""
        if not self.glance.once(self._keys.gaps, FIND_GAPS_EVERY):
            return False
        if any(job_id.startswith(_FIND_GAPS) for job_id in self._events.job_ids):
            return False
        self._enqueue(FIND_GAPS_JOB, _FIND_GAPS)
        return True

    def note_gaps(self, some: bool) -> None:
        """Let the sweeps know whether there are gaps that are not filled."""
        if some:
            self._client.set(f"{self._keys.catch_up}:waits", 1)
        else:
            self._client.delete(f"{self._keys.catch_up}:waits")

    def sweep_gaps(self) -> bool:
        """Enqueue a job that looks for gaps to fill, if the last was a while ago and none waits or works."""
        every = GAPS_EVERY if self.glance.exists(f"{self._keys.catch_up}:waits") else GAPS_SWEEP_EVERY
        if not self.glance.once(f"{self._keys.catch_up}:{every}", every):
            return False
        working = self._events.started_job_registry.get_job_ids(cleanup=False)
        if any(job_id.startswith(_CATCH_UP) for job_id in (*self._events.job_ids, *working)):
            return False
        self._enqueue(CATCH_UP_JOB, _CATCH_UP, CATCH_UP_TIMEOUT)
        return True

    # --- figures of mailings ---

    def note_stored(self) -> None:
        """Let the sweeps know that events were stored, whose mailings' figures are out of date now."""
        self._client.set(f"{self._keys.mailings}:waits", 1)

    def sweep_mailings(self) -> bool:
        """Enqueue a job that makes figures: soon if events were stored, else now and then."""
        every = MAILINGS_EVERY if self.glance.exists(f"{self._keys.mailings}:waits") else MAILINGS_SWEEP_EVERY
        rests = self.glance.exists(f"{self._keys.mailings}:rests")
        if rests or not self.glance.once(f"{self._keys.mailings}:{every}", every):
            return False
        working = self._events.started_job_registry.get_job_ids(cleanup=False)
        if any(job_id.startswith(_MAILINGS) for job_id in (*self._events.job_ids, *working)):
            return False
        self._client.delete(f"{self._keys.mailings}:waits")
        self._enqueue(MAILINGS_JOB, _MAILINGS, MAILINGS_TIMEOUT)
        return True

    def rest_mailings(self, seconds: float, more: bool) -> None:
        """Enqueue none of these for so long; with `more` there is something to do after that."""
        self._client.set(f"{self._keys.mailings}:rests", 1, px=int(min(seconds, MAILINGS_REST) * 1000) + 1)
        if more:
            self.note_stored()

    # --- once a day ---

    def enqueue_daily(self) -> bool:
        """Enqueue the daily job, unless that was done within a day."""
        if not self.glance.once(self._keys.daily, DAILY_EVERY):
            return False
        self._enqueue(DAILY_JOB, "daily")
        return True

    def retry_daily(self) -> None:
        """Let the daily job be enqueued again in `DAILY_RETRY` seconds."""
        self._client.expire(self._keys.daily, DAILY_RETRY)

    def do_daily_again(self, today: str) -> None:
        """Let what was done today be enqueued once more: the database has forgotten what came of it."""
        self._client.delete(self._keys.daily, f"{self._keys.reconcile}:{today}")

    def enqueue_reconcile(self, today: str) -> bool:
        """Enqueue the reconcile job, unless that was done today (an ISO date)."""
        if not self.glance.once(f"{self._keys.reconcile}:{today}", 2 * DAILY_EVERY):
            return False
        self._enqueue(RECONCILE_JOB, _RECONCILE, RECONCILE_TIMEOUT)
        return True

    def reconciles(self) -> bool:
        """Whether a worker that lives compares log files now: its job is kept alive in the registry."""
        key = self._events.started_job_registry.key
        alive = cast(list[bytes], self._client.zrangebyscore(key, time.time(), "+inf"))
        return any(each.startswith(_RECONCILE.encode()) for each in alive)

    def retry_reconcile(self, today: str, seconds: int) -> None:
        """Let today's reconcile job be enqueued once more, `seconds` from now."""
        self._client.expire(f"{self._keys.reconcile}:{today}", seconds)

    def enqueue_export(self, today: str) -> bool:
        """Enqueue the export job, unless that was done today (an ISO date), or days are reconciled first."""
        key = f"{self._keys.export}:{today}"
        if self.glance.exists(key) or any(job_id.startswith(_RECONCILE) for job_id in self._events.job_ids):
            return False
        if self.reconciles() or not self.glance.once(key, 2 * DAILY_EVERY):
            return False
        self._enqueue(EXPORT_JOB, _EXPORT, EXPORT_TIMEOUT)
        return True

    def retry_export(self, today: str, seconds: int) -> None:
        """Let today's export job be enqueued once more, `seconds` from now."""
        self._client.expire(f"{self._keys.export}:{today}", seconds)

    # --- handlers ---

    def note_handoffs(self, some: bool) -> None:
        """Let the sweeps know whether handlers have something to do, now or later."""
        if some:
            self._client.set(self._keys.handoffs, 1)
        else:
            self._client.delete(self._keys.handoffs)

    def hand_on(self) -> None:
        """Enqueue the job that hands on what was stored, unless one is on its way already."""
        if self._client.set(self._keys.hand_on, 1, nx=True, ex=HAND_ON_EVERY):
            self._enqueue_handlers(HAND_ON_JOB)

    def hand_on_in(self, seconds: float) -> None:
        """The same some time from now, by RQ's scheduler; at most once for each second."""
        due = int(time.time() + seconds + 1)
        if self._client.set(f"{self._keys.hand_on}:{due}", 1, nx=True, ex=int(seconds) + 60):
            self._handlers.enqueue_in(
                timedelta(seconds=seconds),
                HAND_ON_JOB,
                job_timeout=JOB_TIMEOUT,
                result_ttl=0,
                failure_ttl=FAILURE_TTL,
            )

    def clear_hand_on(self) -> None:
        """Let `hand_on` enqueue again; to be called before the job's first look."""
        self._client.delete(self._keys.hand_on)

    def sweep_handoffs(self) -> bool:
        """Enqueue the job that looks for work that was left lying, if there may be some."""
        if not self.glance.exists(self._keys.handoffs):
            return False
        self.hand_on()
        return True

    def wake_handler(self, name: str, timeout: float = 0.0) -> None:
        """Enqueue a job for a handler, unless one is on its way; one call of it may take `timeout` seconds."""
        if self._client.set(self._keys.handler(name), 1, nx=True, ex=HAND_ON_EVERY):
            self._enqueue_handlers(HANDLE_JOB, name, timeout=timeout)

    def clear_handler(self, name: str) -> None:
        """Let `wake_handler` enqueue again; to be called before the job's first claim."""
        self._client.delete(self._keys.handler(name))

    def take_turn(self, name: str) -> None:
        """Note that a handler has its turn on a worker now."""
        self._client.hset(self._keys.turns, name, redis_time(self._client))

    def in_turn(self, names: Iterable[str]) -> list[str]:
        """Handlers in the order in which they should have their turns: first who has waited longest for one.

        So one whose calls take long, or kill their worker, keeps another waiting for one turn and not for two.
        """
        last = cast(dict[bytes, bytes], self._client.hgetall(self._keys.turns))
        return sorted(names, key=lambda name: (int(last.get(name.encode(), 0)), name))

    def forget_handler(self, name: str) -> None:
        """Delete what Redis knows of a handler that is gone."""
        self._client.hdel(self._keys.turns, name)
        self._client.hdel(self._keys.handlers, name)
        self._client.delete(self._keys.handler(name), self._keys.bucket(name), self._keys.breaker(name))

    def others_wait(self) -> bool:
        """Whether jobs of other handlers wait for a worker."""
        return bool(len(self._handlers))

    def _enqueue(self, job: str, description: str, timeout: int = JOB_TIMEOUT) -> None:
        self._events.enqueue(
            job,
            job_id=f"{description}-{uuid4().hex}",
            job_timeout=timeout,
            result_ttl=0,
            failure_ttl=FAILURE_TTL,
            description=description,
        )

    def _enqueue_handlers(self, job: str, *arguments: str, timeout: float = 0.0) -> None:
        self._handlers.enqueue(
            job,
            *arguments,
            job_timeout=JOB_TIMEOUT + math.ceil(timeout),
            result_ttl=0,
            failure_ttl=FAILURE_TTL,
            description=" ".join([job.rpartition(".")[2], *arguments]),
        )
