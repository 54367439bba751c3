"""What is going on: gathers the figures of `ingest status` (`workers.operations.figures`)."""

import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import groupby
from typing import TypeVar

import redis
from redis import RedisError
from rq.suspension import is_suspended

from ingest import partitions, redis_client, spool
from ingest.copernica.events import LOGFILE, MICROS, REST, WEBHOOK
from ingest.errors import SchemaMissing, SettingsError, Unavailable
from ingest.settings import Settings
from ingest.stream.exports import Exports
from ingest.stream.heartbeats import REPORT_TTL, Heartbeats
from ingest.stream.partitions import Partitions
from ingest.stream.pauses import Pauses
from ingest.stream.reports import EndpointReport, host_of
from workers.gaps import lineage
from workers.gaps.gap import State, cuts
from workers.handlers import dead_letters
from workers.handlers.work_queue import WorkQueue
from workers.operations import streams, working
from workers.operations.figures import (
    SPOOL_ON,
    DayFigures,
    DiskFigures,
    EndpointFigures,
    GapFigures,
    HandlerFigures,
    LostFigures,
    PausedFigures,
    ReconciledFigures,
    RedisFigures,
    SpoolFigures,
    StatusFigures,
    StoreFigures,
)
from workers.operations.judgement import warnings_of
from workers.operations.warnings import Code, StatusWarning
from workers.reconcile.schedule import Schedule
from workers.store import tables
from workers.store.store import Store
from workers.totals import ours
from workers.totals.history import verdicts

T = TypeVar("T")

#: Days before today that are shown one by one: as far back as anybody would still look.
DAYS = 7
#: Seconds that each stream server but that of the queues may take to answer.
PATIENCE = 2.0
#: What a database knows that has no tables.
NO_TABLES = StoreFigures(False, 0, 0, 0, {}, None)


def gather(settings: Settings, patience: float | None = None, for_people: bool = True) -> StatusFigures:
    """Everything that `status` shows. What cannot be reached does not keep it from the rest.

    `patience` is how many seconds the database may take, for who cannot wait; None: as long as it likes. What is
    only shown, and no warning depends on, is looked up `for_people`.
    """
    in_redis = tried(partial(redis_figures, settings))
    in_store = tried(partial(within, patience, partial(store_figures, settings, for_people)))
    return together(settings, in_redis, in_store)


def tried(ask: Callable[[], T]) -> T | Unavailable:
    """What somebody answers, or why not."""
    try:
        return ask()
    except Unavailable as error:
        return error


def together(
    settings: Settings, in_redis: RedisFigures | Unavailable, in_store: StoreFigures | Unavailable | None
) -> StatusFigures:
    """What Redis and the database know, which may be of two moments, with the spool, the disks and the warnings.

    None is no trouble: that was not asked.
    """
    troubles: list[StatusWarning] = []
    redis_known, store_known = _known(in_redis), _known(in_store)
    if isinstance(in_redis, Unavailable):
        troubles.append(StatusWarning(Code.REDIS_UNREACHABLE, str(in_redis)))
    if isinstance(in_store, Unavailable):
        troubles.append(StatusWarning(Code.DATABASE_UNREACHABLE, str(in_store)))
    endpoints = redis_known.endpoints if redis_known else ()
    in_spool = tried(partial(_spool_figures, settings, endpoints))
    if isinstance(in_spool, Unavailable):
        troubles.append(StatusWarning(Code.SPOOL_UNREADABLE, str(in_spool)))
    disks = tuple(_disks(settings, endpoints))
    warnings = warnings_of(settings, redis_known, store_known, _known(in_spool), time.time(), disks)
    return StatusFigures(redis_known, store_known, _known(in_spool), disks, (*troubles, *warnings))


def _known(answer: T | Unavailable) -> T | None:
    return None if isinstance(answer, Unavailable) else answer


def within(seconds: float | None, ask: Callable[[], T]) -> T:
    """What the database answers within so many seconds; a thread that is left waiting ends with the process.

    Raises:
        Unavailable: it does not answer within them, or cannot be used.
    """
    if seconds is None:
        return ask()
    answer: Future[T] = Future()

    def run() -> None:
        try:
            answer.set_result(ask())
        except BaseException as error:  # whatever it is, the caller gets it
            answer.set_exception(error)

    threading.Thread(target=run, name="ask-database", daemon=True).start()
    try:
        return answer.result(seconds)
    except TimeoutError:
        raise Unavailable(f"The database does not answer within {seconds:.0f} s.") from None


# --- Redis ---


def redis_figures(settings: Settings) -> RedisFigures:
    """What Redis knows.

    Raises:
        Unavailable: it cannot be used now.
    """
    with redis_client.connect(settings.redis) as client, partitions.opened(settings, client, PATIENCE) as found:
        redis_client.require(client, settings.redis)
        try:
            return of_redis(client, found)
        except RedisError as error:
            raise redis_client.unavailable(settings.redis, error) from None


def of_redis(client: redis.Redis, partitions: Partitions) -> RedisFigures:
    """What Redis knows.

    Raises:
        redis.RedisError: that of the queues failed.
    """
    reports = Heartbeats(client).reports()
    endpoints, drains = reports.endpoints.values(), reports.drains.values()
    looked = streams.look(partitions, client, endpoints)
    there = [one for one in looked.streams if one.state not in (streams.AWAY, streams.LEFT)]
    own = next((one for one in there if one.has_queues), None)
    return RedisFigures(
        backlog=sum(one.backlog or 0 for one in there),
        batches=sum(one.batches or 0 for one in there),
        pending_batches=sum(one.pending_batches or 0 for one in there),
        oldest_age_seconds=_most(one.oldest_age_seconds for one in there),
        last_call_at=_most(one.last_call_at for one in there),
        accepted=looked.counts.get("accepted", 0),
        doubles=looked.counts.get("doubles", 0),
        dead_batches=sum(one.dead_batches or 0 for one in there),
        accepted_per_second=round(sum(report.accepted_per_second for report in endpoints), 1),
        drained_per_second=round(sum(report.drained_per_second for report in drains), 1),
        refused=dict(sum((Counter(report.refused) for report in endpoints), Counter())),
        lost=_lost(endpoints),
        suspended=bool(is_suspended(client)),
        memory_bytes=own.memory_bytes or 0 if own else 0,
        memory_limit_bytes=own.memory_limit_bytes if own else None,
        endpoints=tuple(EndpointFigures(name, report) for name, report in reports.endpoints.items()),
        paused=tuple(
            PausedFigures(one.name, None if one.until is None else one.until / MICROS)
            for one in Pauses(client).all()
        ),
        workers=working.workers(client),
        export=Exports(client).last(),
        for_database=lineage.Opposite.read(client).database,
        streams=looked.streams,
    )


def _most(known: Iterable[float | None]) -> float | None:
    return max((one for one in known if one is not None), default=None)


def _lost(endpoints: Iterable[EndpointReport]) -> LostFigures | None:
    losing = [report for report in endpoints if report.failed]
    if not losing:
        return None
    return LostFigures(
        calls=sum(report.failed for report in losing),
        # An endpoint of an older release does not say when; it has been since its report at least.
        first_at=min(report.first_failed_at or report.reported_at for report in losing),
        last_at=max(report.last_failed_at or 0.0 for report in losing),
    )


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
    folder = spool.look(settings.spool_dir, REPORT_TTL)
    # Endpoints that have had the folder open for a while would report if they reached Redis.
    return SpoolFigures(
        folder.events, folder.size_bytes, folder.oldest_age_seconds, folder.bad_files, folder.owners
    )


# --- disks ---


def disk_figures(settings: Settings) -> tuple[DiskFigures, ...]:
    """How full the disks are that calls and events are on; while Redis is away, those of this machine."""
    endpoints: tuple[EndpointFigures, ...] = ()
    with suppress(RedisError, SettingsError), redis_client.connect(settings.redis) as client:
        reports = Heartbeats(client).reports().endpoints
        endpoints = tuple(EndpointFigures(name, report) for name, report in reports.items())
    return tuple(_disks(settings, endpoints))


def _disks(settings: Settings, endpoints: Iterable[EndpointFigures]) -> Iterator[DiskFigures]:
    """The disks that calls and events are on, as far as they can be seen: of each machine's spool, of SQLite."""
    by_host = {host_of(endpoint.name): endpoint.report.spool for endpoint in endpoints}
    for host, report in by_host.items():
        if report is not None and report.disk_size_bytes:
            yield DiskFigures(f"{SPOOL_ON}{host}", report.disk_free_bytes, report.disk_size_bytes)
    if (file := settings.sqlite_file) is not None:
        try:
            usage = shutil.disk_usage(file.absolute().parent)
        except OSError:  # there is no database yet, or not on this machine
            return
        yield DiskFigures("the database", usage.free, usage.total)


# --- the database ---


def store_figures(settings: Settings, for_people: bool = True) -> StoreFigures:
    """What the database knows, as `of_store`.

    Raises:
        Unavailable: it cannot be used now.
    """
    try:
        with Store.of(settings) as store:
            return of_store(store, for_people)
    except SchemaMissing:
        return NO_TABLES


def of_store(store: Store, for_people: bool = True) -> StoreFigures:
    """What the database knows; last errors of handlers and single days are looked up for who shows them."""
    schedule, belonging = Schedule.of(store), lineage.look(store)
    return StoreFigures(
        has_tables=True,
        stored=store.stored(),
        quarantined=store.quarantined(),
        unverified=store.unverified(),
        handlers=_handler_figures(store, for_people),
        reconciled=_reconciled_figures(schedule),
        days=tuple(_days(store, schedule)) if for_people else (),
        gaps=_gap_figures(store),
        database_name=belonging.name,
        clashed_at=belonging.clashed_at,
    )


def _gap_figures(store: Store) -> GapFigures:
    with store.reading() as connection:
        unclosed = cuts(connection, tables.gaps.c.state != State.CLOSED.value)
    unfilled = [gap.since for gap in unclosed if gap.state is not State.CANNOT_BE_CLOSED]
    oldest = min(unfilled, default=None)
    return GapFigures(len(unfilled), len(unclosed) - len(unfilled), None if oldest is None else oldest / MICROS)


def _handler_figures(store: Store, last_errors: bool) -> dict[str, HandlerFigures]:
    """By handler; the empty name is for what no worker has handed on yet."""
    work_queue = WorkQueue(store)
    waiting, failed = work_queue.waiting(), work_queue.failed()
    again = {name: list(each) for name, each in groupby(work_queue.retries(), lambda one: one.handler)}
    figures = {}
    for name in sorted(waiting.keys() | failed.keys()):
        retried = again.get(name, [])
        retry_at = min((one.next_at / MICROS for one in retried), default=None)
        error = next((one.error for one in reversed(retried) if one.error), None)
        if last_errors and error is None and name in failed:
            error = dead_letters.last_error(store, name)
        calls = sum(one.calls for one in retried)
        figures[name] = HandlerFigures(waiting.get(name, 0), calls, retry_at, failed.get(name, 0), error)
    return figures


def _reconciled_figures(schedule: Schedule) -> ReconciledFigures | None:
    through, incomplete, gone = schedule.through, tuple(schedule.incomplete), tuple(schedule.gone)
    if through is None and not incomplete:
        return None
    differing = tuple(schedule.differing)
    return ReconciledFigures(through and through.day, through and through.since, incomplete, gone, differing)


def _days(store: Store, schedule: Schedule) -> Iterator[DayFigures]:
    """The last days of which something is known."""
    today = datetime.now(UTC).date()
    begin = ours.begin_of(today - timedelta(days=DAYS))
    came: dict[str, Counter[str]] = {}
    for name, source, number in store.sources(begin, begin + timedelta(days=DAYS + 1)):
        came.setdefault(name, Counter())[source] += number
    found = verdicts(store)
    for back in range(DAYS + 1):
        day = today - timedelta(days=back)
        numbers, verdict = came.get(day.isoformat(), Counter()), found.get(day)
        complete = schedule.is_complete(day) if back else None
        if not numbers and complete is None:
            continue
        yield DayFigures(
            day=day,
            complete=complete,
            log_files=schedule.log_files(day) if back else None,
            totals=None if verdict is None else verdict.agrees,
            differs=verdict.why or None if verdict is not None else None,
            webhook=numbers[WEBHOOK],
            logfile=numbers[LOGFILE],
            rest=numbers[REST],
        )
