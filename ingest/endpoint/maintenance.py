"""What a process of the endpoint does besides taking calls: wake workers, put daily jobs on the queue, report."""

import asyncio
import logging
import time
from datetime import UTC, datetime
from functools import partial

from redis import RedisError, ResponseError

from ingest.endpoint.intake import Intake
from ingest.jobs import JobScheduler
from ingest.settings import Settings
from ingest.spool import Spool
from ingest.stream.heartbeats import Heartbeats
from ingest.stream.producer import Producer
from ingest.stream.reports import EndpointReport, SpoolReport

log = logging.getLogger(__name__)

#: Seconds between two looks at whether the workers need waking, and two reports for `status`.
SWEEP_EVERY = 3.0
#: Seconds that Redis may take over one of these, so that they never hold up a stop for long.
CHORE_TIMEOUT = 1.5
#: Seconds between two lines in the log about what was taken.
LOG_EVERY = 10.0


async def do_chores(
    settings: Settings,
    take: Intake,
    appender: Producer,
    heartbeats: Heartbeats,
    scheduler: JobScheduler,
    number: int,
) -> None:
    """Now and then: wake workers that were not woken, tell `status` and the log what was taken."""
    before = _Taken(take, appender)
    logged = before
    try:
        while True:
            await asyncio.sleep(SWEEP_EVERY)
            now = _Taken(take, appender)
            report = EndpointReport(
                verify=settings.verify,
                accepted=take.accepted,
                unverified=take.unverified,
                refused=dict(take.refused),
                failed=take.failed,
                accepted_per_second=now.rate_since(before),
                breaker=appender.breaker.state,
                spool=_spool_report(appender.spool),
            )
            before = now
            if appender.breaker.is_closed:
                await asyncio.to_thread(report_and_sweep, settings, heartbeats, scheduler, report)
            if now.at - logged.at >= LOG_EVERY:
                if now.calls > logged.calls:
                    log.info("web.%d: %s", number, now.told_since(logged))
                logged = now
    finally:
        if appender.breaker.is_closed:
            await asyncio.to_thread(_retract, heartbeats)


def _spool_report(spool: Spool | None) -> SpoolReport | None:
    return None if spool is None else SpoolReport(spool.events, spool.size, spool.oldest_age, spool.bad)


class _Taken:
    """What an endpoint process had taken at a moment."""

    def __init__(self, take: Intake, appender: Producer) -> None:
        self.at = time.monotonic()
        self.calls = take.accepted
        self.batches = appender.batches

    def rate_since(self, before: "_Taken") -> float:
        """Calls per second."""
        return round((self.calls - before.calls) / (self.at - before.at), 1)

    def told_since(self, before: "_Taken") -> str:
        """For the log."""
        calls, batches = self.calls - before.calls, self.batches - before.batches
        return f"{calls} calls taken in {self.at - before.at:.0f} s, {calls / max(batches, 1):.1f} to a batch"


def report_and_sweep(
    settings: Settings, heartbeats: Heartbeats, scheduler: JobScheduler, report: EndpointReport
) -> None:
    """One round of what needs Redis; `report` is for `status`. What goes wrong is logged."""
    for chore in (
        partial(heartbeats.report, report),
        scheduler.sweep_backlog,
        scheduler.sweep_unverified,
        scheduler.enqueue_daily,
        partial(_reconcile, settings, scheduler),
        scheduler.sweep_handoffs,
    ):
        try:
            chore()
        except ResponseError as error:
            log.warning("Redis refuses a chore: %s", error)
        except RedisError as error:
            log.warning("Redis does not serve us: %s", error)
            return  # the others would wait for the same answer
        except Exception:  # the next round must come, whatever is wrong with this one
            log.exception("a chore failed")


def _reconcile(settings: Settings, scheduler: JobScheduler) -> None:
    if day := settings.reconciles_on(datetime.now(UTC)):
        scheduler.enqueue_reconcile(day)


def _retract(heartbeats: Heartbeats) -> None:
    try:
        heartbeats.retract()
    except RedisError as error:
        log.debug("could not retract the report: %s", error)
