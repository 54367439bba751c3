"""What an endpoint process does besides taking calls: wake workers, enqueue daily jobs, report to `status`."""

import asyncio
import logging
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Self

from redis import RedisError, ResponseError

from ingest import shown, unknown_jobs
from ingest.endpoint.covering import Covering
from ingest.endpoint.intake import Intake
from ingest.endpoint.key_sharing import KeySharing, Ours, Shared
from ingest.endpoint.limits import LOG_INTERVAL, MAINTENANCE_INTERVAL
from ingest.endpoint.recent_times import RecentTimes
from ingest.endpoint.refusals import RefusalSample
from ingest.jobs import JobScheduler
from ingest.lookout import Lookout
from ingest.redis_errors import Outage
from ingest.settings import Settings
from ingest.spool import Spool
from ingest.stream import setback
from ingest.stream.coverage import Statement
from ingest.stream.heartbeats import Heartbeats
from ingest.stream.keys import Keys
from ingest.stream.owner import Owner
from ingest.stream.producer import Producer
from ingest.stream.refusals import Refusals
from ingest.stream.reports import EndpointReport, SpoolReport

log = logging.getLogger(__name__)


async def maintain(
    settings: Settings,
    intake: Intake,
    producer: Producer,
    heartbeats: Heartbeats,
    scheduler: JobScheduler,
    number: int,
    covering: Covering,
    sharing: KeySharing | None = None,
    lookout: Lookout | None = None,
    refusals: Refusals | None = None,
    queues: str = "",
    owner: Owner | None = None,
) -> None:
    """Do what `report_and_sweep` does, at once and every `MAINTENANCE_INTERVAL`, and log what was taken.

    Until cancelled. `queues` is the name of the server of the queues.
    """
    before = _Taken.now(intake, producer)
    logged = before
    outage = Outage(log, "maintenance waits for Redis")
    recent = RecentTimes()
    rounds = _Rounds(settings, heartbeats, scheduler, covering, outage, producer.spool, sharing, lookout, owner)
    try:
        if sharing is not None:
            await sharing.refresh(producer.spool)
        while True:
            now = _Taken.now(intake, producer)
            report = _report(
                settings.verify, intake, producer, now.rate_since(before), recent.look(producer.times)
            )
            before = now
            if queues_serve(producer, queues):
                await rounds.do(report)
                await _tell_refusals(intake.refusals, refusals, outage)
            elif lookout is not None:
                await asyncio.to_thread(lookout.redis_is_away)
            if now.at - logged.at >= LOG_INTERVAL:
                if now.calls > logged.calls:
                    summary = now.summary_since(logged)
                    log.info("web.%d: %s", number, summary, extra={"event": "calls-taken"})
                logged = now
            await asyncio.sleep(MAINTENANCE_INTERVAL)
    finally:
        rounds.over.set()
        if queues_serve(producer, queues):
            covering.told(await asyncio.to_thread(_say_goodbye, heartbeats, covering))


@dataclass(frozen=True, slots=True)
class _Rounds:
    """What of each round needs Redis: all of it with one hand-over to a thread."""

    settings: Settings
    heartbeats: Heartbeats
    scheduler: JobScheduler
    covering: Covering
    outage: Outage
    spool: Spool | None
    sharing: KeySharing | None
    lookout: Lookout | None
    owner: Owner | None
    #: Set before goodbye is said: a thread may be at a round that nobody waits for any more.
    over: threading.Event = field(default_factory=threading.Event)

    async def do(self, report: EndpointReport) -> None:
        """Do one; Redis is told `report`."""
        ours = None if self.sharing is None else self.sharing.ours()
        told, shared = await asyncio.to_thread(self._do, report, ours)
        self.covering.told(told)
        if self.sharing is not None:
            self.sharing.learn(shared, self.spool)

    def _do(self, report: EndpointReport, ours: Ours | None) -> tuple[list[Statement], Shared | None]:
        told = _tell(self.covering, self.outage)
        if not self.over.is_set():
            _look_whose(self.owner, self.outage)
        report = _with_disk(report, self.spool)
        if not self.over.is_set():
            report_and_sweep(self.settings, self.heartbeats, self.scheduler, report, self.outage, self.lookout)
        if self.sharing is None or ours is None or self.over.is_set():
            return told, None
        return told, self.sharing.exchange(ours)


def queues_serve(producer: Producer, queues: str) -> bool:
    """Whether the server of the queues serves, as far as is known: it may be none that calls are written to."""
    lane = producer.lanes.named(queues)
    return lane is None or lane.breaker.is_closed or lane.state == "drained"


def _report(
    verify: str,
    intake: Intake,
    producer: Producer,
    per_second: float,
    acknowledged: tuple[int, ...] = (),
) -> EndpointReport:
    return EndpointReport(
        verify=verify,
        accepted=intake.accepted,
        unverified=intake.unverified,
        refused=dict(intake.rejected),
        failed=intake.failed + intake.turned_away,
        accepted_per_second=per_second,
        breaker=producer.lanes.state,
        streams=producer.lanes.states,
        spool=_spool_report(producer.spool),
        first_failed_at=intake.losses.first_at,
        last_failed_at=intake.losses.last_at,
        acknowledged=acknowledged,
    )


def _spool_report(spool: Spool | None) -> SpoolReport | None:
    return None if spool is None else SpoolReport(spool.events, spool.size, spool.oldest_age, spool.bad)


def _with_disk(report: EndpointReport, spool: Spool | None) -> EndpointReport:
    """A report that also says how full the disk of the spool is, if that can be seen; in a thread."""
    if spool is None or report.spool is None:
        return report
    try:
        usage = shutil.disk_usage(spool.folder)
    except OSError:
        return report
    return replace(report, spool=replace(report.spool, disk_free_bytes=usage.free, disk_size_bytes=usage.total))


@dataclass(frozen=True, slots=True)
class _Taken:
    """What an endpoint process had taken at a moment."""

    #: Monotonic, in seconds.
    at: float
    calls: int
    batches: int

    @classmethod
    def now(cls, intake: Intake, producer: Producer) -> Self:
        """The counts as they are."""
        return cls(time.monotonic(), intake.accepted, producer.batches)

    def rate_since(self, before: "_Taken") -> float:
        """Calls per second; 0 for the same moment."""
        return round((self.calls - before.calls) / max(self.at - before.at, 0.001), 1)

    def summary_since(self, before: "_Taken") -> str:
        """A line for the log."""
        calls, batches = self.calls - before.calls, self.batches - before.batches
        taken = shown.counted(calls, "call")
        return f"{taken} taken in {self.at - before.at:.0f} s, {calls / max(batches, 1):.1f} to a batch"


def report_and_sweep(
    settings: Settings,
    heartbeats: Heartbeats,
    scheduler: JobScheduler,
    report: EndpointReport,
    outage: Outage,
    lookout: Lookout | None = None,
) -> None:
    """One round of what needs Redis: report to `status`, wake workers, enqueue what is due.

    Errors are logged, those of Redis by `outage`.
    """
    refused = False
    first: list[Callable[[], object]] = [
        partial(setback.look, scheduler.partitions),
        partial(heartbeats.report, report),
    ]
    sweeps: list[Callable[[], object]] = [
        scheduler.sweep_backlog,
        scheduler.note_streams,
        scheduler.sweep_unverified,
        scheduler.sweep_coverage,
        scheduler.enqueue_daily,
        partial(_reconcile, settings, scheduler),
        partial(_export, settings, scheduler),
        partial(_catch_up, settings, scheduler),
        scheduler.sweep_handoffs,
        scheduler.sweep_mailings,
        partial(_forget_unknown, scheduler),
    ]
    if lookout is not None:
        sweeps.append(lookout.look)
    try:
        for step in first:
            refused |= _refused(step, outage)
        with scheduler.glance.taken():
            for step in sweeps:
                refused |= _refused(step, outage)
    except RedisError as error:
        outage.failed(error)
        return  # the other steps would fail in the same way
    except Exception:  # the next round must come, whatever is wrong with this one
        log.exception("a round of maintenance broke off")
        return
    if not refused:
        outage.served()


def _refused(step: Callable[[], object], outage: Outage) -> bool:
    """Do it; whether Redis refused that.

    Raises:
        RedisError: Redis does not answer.
    """
    try:
        step()
    except ResponseError as error:
        outage.failed(error)
        return True
    except RedisError:
        raise
    except Exception:  # the next round must come, whatever is wrong with this one
        log.exception("a step of maintenance failed")
    return False


def _forget_unknown(scheduler: JobScheduler) -> None:
    if scheduler.glance.exists(Keys().unknown):
        return
    if names := unknown_jobs.sweep(scheduler.client):
        log.warning(
            "a worker of another release did not know the job %s: what that is for waits, until all are upgraded",
            ", ".join(sorted(names)),
            extra={"event": "job-unknown"},
        )


def _reconcile(settings: Settings, scheduler: JobScheduler) -> None:
    if day := settings.reconciles_on(datetime.now(UTC)):
        scheduler.enqueue_reconcile(day)


def _export(settings: Settings, scheduler: JobScheduler) -> None:
    if day := settings.exports_on(datetime.now(UTC)):
        scheduler.enqueue_export(day)


def _catch_up(settings: Settings, scheduler: JobScheduler) -> None:
    if settings.catches_up:
        scheduler.sweep_gaps()


def _tell(covering: Covering, outage: Outage) -> list[Statement]:
    """Tell Redis what is surely taken; returns what it knows now."""
    try:
        return covering.tell()
    except RedisError as error:
        outage.failed(error)
    except Exception:  # the next round must come, whatever is wrong with this one
        log.exception("what is taken could not be told")
    return []


async def _tell_refusals(sample: RefusalSample, refusals: Refusals | None, outage: Outage) -> None:
    """Have Redis keep what was refused lately; what it does not take now is told the next time."""
    if refusals is None or not (taken := sample.take()):
        return
    try:
        await asyncio.to_thread(refusals.add, taken)
    except RedisError as error:
        outage.failed(error)
        sample.give_back(taken)
    except Exception:  # the next round must come, whatever is wrong with this one
        log.exception("what was refused could not be told")


def _look_whose(owner: Owner | None, outage: Outage) -> None:
    """See which database the calls are for; while that cannot be asked, what was known counts."""
    if owner is None:
        return
    try:
        owner.look()
    except RedisError as error:
        outage.failed(error)


def _say_goodbye(heartbeats: Heartbeats, covering: Covering) -> list[Statement]:
    """Remove the report, and tell Redis up to when calls were taken; returns what it knows now."""
    try:
        heartbeats.retract()
        return covering.tell()
    except RedisError as error:
        log.debug("could not retract the report: %s", error)
        return []
