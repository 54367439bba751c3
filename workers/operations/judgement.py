"""What the figures say that an operator should know: the rules behind each warning of `ingest status`."""

from collections.abc import Iterable

from ingest.health import NEARLY_FULL
from ingest.jobs import EVENTS_QUEUE, HANDLERS_QUEUE
from ingest.settings import Settings
from ingest.shown import counted, span
from ingest.stream.exports import LastExport
from workers.operations.figures import (
    DiskFigures,
    GapFigures,
    ReconciledFigures,
    RedisFigures,
    SpoolFigures,
    StoreFigures,
    StreamFigures,
)
from workers.operations.warnings import Code, StatusWarning

#: Seconds after the last lost call for which that is an alarm; then it is a figure, and reconciling mends it.
LOST_LATELY = 900.0
#: Seconds for which a gap may be there before it is told of: longer than it takes to fill one.
UNFILLED_FOR = 1800.0
#: Seconds for which an export may fail before that is told, so that the next attempt may mend it; and seconds
#: after one by which the next has to be done: a day, and what reconciling may take before it.
EXPORT_FAILS, EXPORT_EVERY = 2 * 3600.0, 32 * 3600.0
#: Share of a disk that should be free …
DISK_FREE = 0.1
#: … unless it has so many bytes free.
DISK_FREE_BYTES = 50 * 1024**3


def warnings_of(
    settings: Settings,
    in_redis: RedisFigures | None,
    in_store: StoreFigures | None,
    in_spool: SpoolFigures | None,
    now: float,
    disks: Iterable[DiskFigures] = (),
) -> Iterable[StatusWarning]:
    """What the figures say that an operator should know; `now` is Unix time in seconds."""
    yield from _of_spool(in_spool)
    yield from _of_disks(disks)
    if in_redis is not None:
        yield from _of_processes(in_redis, in_store, in_spool)
        yield from _of_stream(in_redis, settings.alert_age, now)
        if settings.export_to is not None and in_redis.export is not None:
            yield from _of_export(in_redis.export, now)
        yield from _of_servers(in_redis.streams, now)
    if in_redis is not None and in_store is not None:
        yield from _of_both(in_redis, in_store, now)
    if in_store is not None:
        yield from _of_store(in_store)
        yield from _of_gaps(in_store.gaps, now)
        if in_store.reconciled is not None:
            yield from _of_days(in_store.reconciled, settings)


def _of_processes(
    figures: RedisFigures, store: StoreFigures | None, spooled: SpoolFigures | None
) -> Iterable[StatusWarning]:
    if any(endpoint.report.verify == "off" for endpoint in figures.endpoints):
        text = "Signatures are not verified: anyone who can reach the endpoint can add events."
        yield StatusWarning(Code.SIGNATURES_OFF, text)
    if not figures.endpoints and not (spooled and spooled.endpoints_open):
        yield StatusWarning(Code.NO_ENDPOINT, "No endpoint is running: Copernica's calls are not received.")
    for paused in figures.paused:
        kind, _, name = paused.name.partition(":")
        text = f"The {kind} `{name}` is paused, and its work waits: `ingest resume {name}` lets it go on."
        yield StatusWarning(Code.PAUSED, text)
    if figures.suspended:
        text = f"Workers are suspended (`rq suspend`): {_waiting(figures)}, and nothing is stored or handled."
        yield StatusWarning(Code.WORKERS_SUSPENDED, text)
        return  # they give no sign of life meanwhile, so nobody knows which of them are there
    if not any(EVENTS_QUEUE in worker.queues for worker in figures.workers):
        text = f"No worker is running on the queue `{EVENTS_QUEUE}`: the backlog only grows."
        yield StatusWarning(Code.NO_WORKER, text)
    handled = any(HANDLERS_QUEUE in worker.queues for worker in figures.workers)
    if store and store.handlers and not handled:
        text = f"No worker is running on the queue `{HANDLERS_QUEUE}`: your handlers are not called."
        yield StatusWarning(Code.NO_HANDLERS_WORKER, text)


def _of_both(in_redis: RedisFigures, in_store: StoreFigures, now: float) -> Iterable[StatusWarning]:
    if len({in_redis.for_database, in_store.database_name} - {None}) > 1:
        text = "What is in Redis is for another database than this one, so nothing of it is stored here."
        yield StatusWarning(Code.OTHER_DATABASE, text)
    if in_store.clashed_at is not None and now - in_store.clashed_at < LOST_LATELY:
        text = "Two installations use this database, or a copy of it with the same Redis."
        yield StatusWarning(Code.TWO_INSTALLATIONS, text)


def _waiting(figures: RedisFigures) -> str:
    return counted(figures.backlog, "event waits", "events wait")


def _of_stream(figures: RedisFigures, bound: int, now: float) -> Iterable[StatusWarning]:
    age = figures.oldest_age_seconds
    if age is not None and age > bound:
        text = f"{_waiting(figures)}, the oldest for {span(age)}: more than {span(bound)} (INGEST_ALERT_AGE)."
        yield StatusWarning(Code.BACKLOG_OLD, text)
    lost = figures.lost
    if lost is not None and now - lost.last_at < LOST_LATELY:
        calls = counted(lost.calls, "call was", "calls were")
        text = f"{calls} answered 503 because nothing could keep them, the last {span(now - lost.last_at)} ago."
        yield StatusWarning(Code.CALLS_LOST, text)
    if figures.memory_limit_bytes and figures.memory_bytes > NEARLY_FULL * figures.memory_limit_bytes:
        text = f"Redis uses {figures.memory_bytes / figures.memory_limit_bytes:.0%} of the memory it may use."
        yield StatusWarning(Code.REDIS_NEARLY_FULL, text)
    if figures.dead_batches:
        batches = counted(figures.dead_batches, "batch was damaged and is", "batches were damaged and are")
        yield StatusWarning(Code.DEAD_BATCHES, f"{batches} in the dead stream.")


def _of_export(last: LastExport, now: float) -> Iterable[StatusWarning]:
    since = last.failed_at
    if since is not None and now - since > EXPORT_FAILS:
        text = f"Days are not exported for {span(now - since)}: {(last.why or 'it fails').rstrip('.')}."
        yield StatusWarning(Code.EXPORT_BEHIND, text)
    elif since is None and last.done_at is not None and now - last.done_at > EXPORT_EVERY:
        text = f"Days are not exported for {span(now - last.done_at)}: no worker has done it."
        yield StatusWarning(Code.EXPORT_BEHIND, text)


def _of_servers(streams: Iterable[StreamFigures], now: float) -> Iterable[StatusWarning]:
    for one in streams:
        if one.state == "away":
            text = f"The stream server {one.name} does not answer ({one.error}): what it has waits."
            yield StatusWarning(Code.STREAM_UNREACHABLE, text)
        elif one.error is not None:
            text = f"The stream server {one.name} is wrong: {one.error}"
            yield StatusWarning(Code.OTHER_DATABASE, text)
        elif one.state == "left":
            ago = span(max(0.0, now - (one.seen_at or now)))
            had = "we do not know how much" if one.batches is None else counted(one.batches, "batch", "batches")
            text = (
                f"The stream server {one.name} is not in INGEST_STREAM_URLS any more, and was not drained: it had "
                f"{had} {ago} ago, which nobody stores."
            )
            yield StatusWarning(Code.STREAM_LEFT, text)
        elif one.memory_limit_bytes and not one.has_queues:
            used = (one.memory_bytes or 0) / one.memory_limit_bytes
            if used > NEARLY_FULL:
                text = f"The stream server {one.name} uses {used:.0%} of the memory it may use."
                yield StatusWarning(Code.REDIS_NEARLY_FULL, text)


def _of_spool(figures: SpoolFigures | None) -> Iterable[StatusWarning]:
    if figures is None:
        return
    if figures.endpoints_open:
        text = counted(
            figures.endpoints_open,
            "endpoint process gets no answer from Redis, and writes to the spool.",
            "endpoint processes get no answer from Redis, and write to the spool.",
        )
        yield StatusWarning(Code.SPOOL_OPEN, text)
    if figures.events:
        events = counted(figures.events, "event is", "events are")
        text = f"{events} in the spool, to be sent on when Redis takes calls again."
        yield StatusWarning(Code.SPOOL_WAITING, text)
    if figures.bad_records:
        damaged = counted(figures.bad_records, "stretch of the spool was", "stretches of the spool were")
        yield StatusWarning(Code.SPOOL_DAMAGED, f"{damaged} damaged: see its *.bad files.")


def _of_disks(disks: Iterable[DiskFigures]) -> Iterable[StatusWarning]:
    for disk in disks:
        if disk.free_bytes < min(DISK_FREE * disk.size_bytes, DISK_FREE_BYTES):
            text = (
                f"The disk of {disk.what} has {disk.free_bytes >> 20:,} MiB of {disk.size_bytes >> 20:,} MiB free."
            )
            yield StatusWarning(Code.DISK_NEARLY_FULL, text)


def _of_store(figures: StoreFigures) -> Iterable[StatusWarning]:
    if not figures.has_tables:
        yield StatusWarning(Code.NO_TABLES, "The database has no tables yet: `ingest db upgrade` makes them.")
    if failed := sum(handler.failed for handler in figures.handlers.values()):
        text = f"{counted(failed, 'event')} could not be handled: see `ingest failed list`."
        yield StatusWarning(Code.DEAD_LETTERS, text)
    if figures.unverified:
        calls = counted(figures.unverified, "call waits", "calls wait")
        yield StatusWarning(Code.UNVERIFIED, f"{calls} to be verified: DNS does not answer for the key.")
    if figures.quarantined:
        calls = counted(figures.quarantined, "call could not be read and is", "calls could not be read and are")
        yield StatusWarning(Code.QUARANTINED, f"{calls} in the table `quarantine`.")


def _of_gaps(figures: GapFigures, now: float) -> Iterable[StatusWarning]:
    if figures.oldest_at is not None and now - figures.oldest_at > UNFILLED_FOR:
        gaps = counted(figures.unfilled, "gap is", "gaps are")
        age = span(now - figures.oldest_at)
        text = f"{gaps} not filled yet, the oldest began {age} ago: calls may be missing, see `ingest gaps`."
        yield StatusWarning(Code.GAPS_UNFILLED, text)
    if figures.cannot_be_closed:
        gaps = counted(figures.cannot_be_closed, "gap", "gaps")
        yield StatusWarning(Code.GAPS_LEFT, f"{gaps} cannot be closed: calls may be missing, see `ingest gaps`.")


def _of_days(figures: ReconciledFigures, settings: Settings) -> Iterable[StatusWarning]:
    if gone := figures.gone:
        missed = f"{counted(len(gone), 'day')} may lack events for ever, the last is {gone[-1]}"
        yield StatusWarning(Code.DAYS_GONE, f"{missed}: Copernica has deleted the log files.")
    if differing := figures.differing:
        text = (
            f"Copernica's totals of {counted(len(differing), 'day')} differ from the store, the last is "
            f"{differing[-1]}: `ingest audit-mailings {differing[-1]}` says where."
        )
        yield StatusWarning(Code.TOTALS_DIFFER, text)
    if days := [day for day in figures.incomplete if day not in gone and day not in differing]:
        missed = f"{counted(len(days), 'day')} may lack events, the last is {days[-1]}"
        text = f"{missed}: {_tried_again(settings)}. `ingest reconcile` says why."
        yield StatusWarning(Code.DAYS_INCOMPLETE, text)


def _tried_again(settings: Settings) -> str:
    """Whether incomplete days mend by themselves."""
    if not settings.has_logfiles and not settings.withheld & {"COPERNICA_TOKEN", "INGEST_SMTPETER_TOKEN"}:
        return "without COPERNICA_TOKEN, which is not set here, nothing tries again"
    if settings.reconcile_at == "off":
        return "with INGEST_RECONCILE_AT=off nothing tries again"
    return "the daily job tries again"
