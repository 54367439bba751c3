"""What is going on: the figures of `ingest status`, which `docs/status.md` describes field by field."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import date
from typing import Any, Literal

import redis
from redis import RedisError
from rq import Worker
from rq.serializers import JSONSerializer

from ingest import redis_client, spool
from ingest.errors import SchemaMissing, Unavailable
from ingest.jobs import EVENTS_QUEUE, HANDLERS_QUEUE
from ingest.settings import Settings
from ingest.shown import counted
from ingest.stream.consumer import Consumer
from ingest.stream.heartbeats import Heartbeats
from ingest.stream.reports import EndpointReport, host_of
from workers.handlers.work_queue import WorkQueue
from workers.reconcile.schedule import Schedule
from workers.store.store import Store


@dataclass(frozen=True, slots=True)
class EndpointFigures:
    """One endpoint process: its name, and what it reported."""

    name: str
    report: EndpointReport

    def as_json(self) -> dict[str, object]:
        """One object with the fields of both."""
        return {"name": self.name, **_shallow(self.report)}


@dataclass(frozen=True, slots=True)
class WorkerFigures:
    """One RQ worker."""

    name: str
    queues: tuple[str, ...]
    state: str


@dataclass(frozen=True, slots=True)
class RedisFigures:
    """What Redis knows."""

    backlog: int
    batches: int
    pending_batches: int
    oldest_age_seconds: float | None
    accepted: int
    doubles: int
    dead_batches: int
    accepted_per_second: float
    drained_per_second: float
    refused: Mapping[str, int]
    endpoints: tuple[EndpointFigures, ...]
    workers: tuple[WorkerFigures, ...]


@dataclass(frozen=True, slots=True)
class HandlerFigures:
    """One handler's events."""

    waiting: int
    failed: int


@dataclass(frozen=True, slots=True)
class ReconciledFigures:
    """The days that were compared with Copernica's log files."""

    complete_through: date | None
    since: date | None
    incomplete: tuple[date, ...]
    gone: tuple[date, ...]


@dataclass(frozen=True, slots=True)
class StoreFigures:
    """What the database knows."""

    stored: int
    quarantined: int
    unverified: int
    handlers: Mapping[str, HandlerFigures]
    reconciled: ReconciledFigures | None


@dataclass(frozen=True, slots=True)
class SpoolFigures:
    """What waits in the spools of all endpoint processes."""

    events: int
    size_bytes: int
    oldest_age_seconds: float | None
    bad_records: int
    endpoints_open: int


@dataclass(frozen=True, slots=True)
class StatusFigures:
    """Everything that `ingest status` shows.

    What cannot be reached is None, and `troubles` says why.
    """

    redis: RedisFigures | None
    store: StoreFigures | None
    spool: SpoolFigures | None
    warnings: tuple[str, ...]
    troubles: tuple[str, ...]
    #: Raised by a release in which a field is renamed, removed or means something else; not by one that adds some.
    schema_version: Literal[1] = 1

    def as_json(self) -> dict[str, object]:
        """What `ingest status --json` prints: the figures of Redis and the database are at its top level."""
        return {
            "schema_version": self.schema_version,
            **_redis_json(self.redis),
            **(_nulls(StoreFigures) if self.store is None else _shallow(self.store)),
            "spool": self.spool,
            "warnings": self.warnings,
            "troubles": self.troubles,
        }


def _shallow(figures: Any) -> dict[str, object]:
    return {field.name: getattr(figures, field.name) for field in fields(figures)}


def _nulls(kind: type[RedisFigures] | type[StoreFigures]) -> dict[str, object]:
    return {field.name: None for field in fields(kind)}


def _redis_json(figures: RedisFigures | None) -> dict[str, object]:
    if figures is None:
        return _nulls(RedisFigures)
    return _shallow(figures) | {"endpoints": [endpoint.as_json() for endpoint in figures.endpoints]}


def gather(settings: Settings) -> StatusFigures:
    """Everything that `status` shows. What cannot be reached does not keep it from the rest."""
    troubles: list[str] = []
    in_redis, in_store, in_spool = None, None, None
    try:
        in_redis = _redis_figures(settings)
    except Unavailable as error:
        troubles.append(str(error))
    try:
        in_store = _store_figures(settings)
    except Unavailable as error:
        troubles.append(str(error))
    try:
        in_spool = _spool_figures(settings, in_redis.endpoints if in_redis else ())
    except Unavailable as error:
        troubles.append(str(error))
    warnings = tuple(warnings_of(settings, in_redis, in_store, in_spool))
    return StatusFigures(in_redis, in_store, in_spool, warnings, tuple(troubles))


def warnings_of(
    settings: Settings, in_redis: RedisFigures | None, in_store: StoreFigures | None, in_spool: SpoolFigures | None
) -> Iterable[str]:
    """What an operator should know, a sentence each."""
    yield from _spool_warnings(in_spool)
    if in_redis is not None:
        yield from _redis_warnings(in_redis, in_store, in_spool)
    if in_store is not None:
        yield from _store_warnings(in_store, settings)


# --- Redis ---


def _redis_figures(settings: Settings) -> RedisFigures:
    with redis_client.connect(settings.redis) as client:
        redis_client.require(client, settings.redis)
        try:
            return _figures_of(client)
        except RedisError as error:
            raise redis_client.unavailable(settings.redis, error) from None


def _figures_of(client: redis.Redis) -> RedisFigures:
    stream = Consumer(client)
    counts = stream.counts()
    reports = Heartbeats(client).reports()
    endpoints, drains = reports.endpoints.values(), reports.drains.values()
    return RedisFigures(
        backlog=stream.backlog(),
        batches=stream.batches(),
        pending_batches=stream.pending(),
        oldest_age_seconds=stream.oldest_age(),
        accepted=counts.get("accepted", 0),
        doubles=counts.get("doubles", 0),
        dead_batches=stream.dead_batches(),
        accepted_per_second=round(sum(report.accepted_per_second for report in endpoints), 1),
        drained_per_second=round(sum(report.drained_per_second for report in drains), 1),
        refused=dict(sum((Counter(report.refused) for report in endpoints), Counter())),
        endpoints=tuple(EndpointFigures(name, report) for name, report in reports.endpoints.items()),
        workers=tuple(
            WorkerFigures(worker.name, tuple(worker.queue_names()), str(worker.get_state()))
            for worker in Worker.all(connection=client, serializer=JSONSerializer)
        ),
    )


def _redis_warnings(
    figures: RedisFigures, store: StoreFigures | None, spooled: SpoolFigures | None
) -> Iterable[str]:
    if any(endpoint.report.verify == "off" for endpoint in figures.endpoints):
        yield "Signatures are not verified: anyone who can reach the endpoint can add events."
    if not figures.endpoints and not (spooled and spooled.endpoints_open):
        yield "No endpoint is running: Copernica's calls are not received."
    if not any(EVENTS_QUEUE in worker.queues for worker in figures.workers):
        yield f"No worker is running on the queue `{EVENTS_QUEUE}`: the backlog only grows."
    handled = any(HANDLERS_QUEUE in worker.queues for worker in figures.workers)
    if store and store.handlers and not handled:
        yield f"No worker is running on the queue `{HANDLERS_QUEUE}`: your handlers are not called."
    if figures.dead_batches:
        batches = counted(figures.dead_batches, "batch was damaged and is", "batches were damaged and are")
        yield f"{batches} in the dead stream."


# --- the spool ---


def _spool_figures(settings: Settings, endpoints: Iterable[EndpointFigures]) -> SpoolFigures | None:
    """What endpoints say of their spools; if none says anything, what lies in the folder on this machine."""
    spooling = [(endpoint, endpoint.report.spool) for endpoint in endpoints if endpoint.report.spool]
    if spooling:
        # Processes of one machine share a folder, and each counts what is damaged in all of it.
        bad_by_host = {host_of(endpoint.name): report.bad_records for endpoint, report in spooling}
        ages = [report.oldest_age_seconds for _, report in spooling if report.oldest_age_seconds is not None]
        return SpoolFigures(
            events=sum(report.events for _, report in spooling),
            size_bytes=sum(report.size_bytes for _, report in spooling),
            oldest_age_seconds=max(ages, default=None),
            bad_records=sum(bad_by_host.values()),
            endpoints_open=sum(endpoint.report.breaker != "closed" for endpoint, _ in spooling),
        )
    if settings.spool_dir is None:
        return None
    folder = spool.look(settings.spool_dir)
    # Endpoints that have the folder open would report if they reached Redis.
    return SpoolFigures(
        folder.events, folder.size_bytes, folder.oldest_age_seconds, folder.bad_files, folder.owners
    )


def _spool_warnings(figures: SpoolFigures | None) -> Iterable[str]:
    if figures is None:
        return
    if figures.endpoints_open:
        yield counted(
            figures.endpoints_open,
            "endpoint process gets no answer from Redis, and writes to the spool.",
            "endpoint processes get no answer from Redis, and write to the spool.",
        )
    if figures.events:
        events = counted(figures.events, "event is", "events are")
        yield f"{events} in the spool, to be sent on when Redis takes calls again."
    if figures.bad_records:
        damaged = counted(figures.bad_records, "stretch of the spool was", "stretches of the spool were")
        yield f"{damaged} damaged: see its *.bad files."


# --- the database ---


def _store_figures(settings: Settings) -> StoreFigures:
    try:
        with Store.open(settings.database) as store:
            return StoreFigures(
                stored=store.stored(),
                quarantined=store.quarantined(),
                unverified=store.unverified(),
                handlers=_handler_figures(WorkQueue(store)),
                reconciled=_reconciled_figures(store),
            )
    except SchemaMissing:
        return StoreFigures(0, 0, 0, {}, None)


def _handler_figures(work_queue: WorkQueue) -> dict[str, HandlerFigures]:
    """By handler; the empty name is for what no worker has handed on yet."""
    waiting, failed = work_queue.waiting(), work_queue.failed()
    return {
        name: HandlerFigures(waiting.get(name, 0), failed.get(name, 0))
        for name in sorted(waiting.keys() | failed.keys())
    }


def _reconciled_figures(store: Store) -> ReconciledFigures | None:
    schedule = Schedule.of(store)
    through, incomplete, gone = schedule.through, tuple(schedule.incomplete), tuple(schedule.gone)
    if through is None and not incomplete:
        return None
    return ReconciledFigures(through and through.day, through and through.since, incomplete, gone)


def _tried_again(settings: Settings) -> str:
    """Whether incomplete days mend by themselves."""
    if settings.copernica_token is None:
        return "without COPERNICA_TOKEN, which is not set here, nothing tries again"
    if settings.reconcile_at == "off":
        return "with INGEST_RECONCILE_AT=off nothing tries again"
    return "the daily job tries again"


def _store_warnings(figures: StoreFigures, settings: Settings) -> Iterable[str]:
    if failed := sum(handler.failed for handler in figures.handlers.values()):
        yield f"{counted(failed, 'event')} could not be handled: see `ingest failed list`."
    if figures.unverified:
        calls = counted(figures.unverified, "call waits", "calls wait")
        yield f"{calls} to be verified: DNS does not answer for the key."
    if figures.reconciled and (gone := figures.reconciled.gone):
        missed = f"{counted(len(gone), 'day')} may lack events for ever, the last is {gone[-1]}"
        yield f"{missed}: Copernica has deleted the log files."
    if figures.reconciled and (days := [day for day in figures.reconciled.incomplete if day not in gone]):
        yield (
            f"{counted(len(days), 'day')} may lack events, the last is {days[-1]}: {_tried_again(settings)}. "
            "`ingest reconcile` says why."
        )
    if figures.quarantined:
        calls = counted(figures.quarantined, "call could not be read and is", "calls could not be read and are")
        yield f"{calls} in the table `quarantine`."
