"""The daily clean-up: delete what is older than the retention, and prepare the database for what is to come."""

import logging
import time
from contextlib import suppress
from datetime import UTC, datetime

import redis

from ingest import partitions, redis_client, shown, spool
from ingest.batch import Record
from ingest.copernica.events import DAY, MICROS, Event
from ingest.errors import IngestError, SettingsError, Unavailable
from ingest.jobs import JobScheduler
from ingest.settings import Settings
from ingest.stream.clock import redis_time
from workers.catch_up import keeping
from workers.gaps import filling, lineage
from workers.handlers import history
from workers.handlers.forgetting import forget
from workers.operations import audit
from workers.pausing import events_are_paused
from workers.records import read
from workers.runtime import unless_refused
from workers.store import commits
from workers.store.filling import fill
from workers.store.store import Store
from workers.totals.history import expire as expire_totals

log = logging.getLogger(__name__)


def daily_job() -> int:
    """The RQ job; returns how many events and calls were deleted. Outcomes:

    done      everything older than `INGEST_RETENTION_DAYS`, or `INGEST_RETENTION_TYPES` for its type, is gone
    killed    what was deleted stays deleted; the rest follows tomorrow
    failed    the database was unavailable, which is logged in one line; another job tries again in ten minutes
    """  # noqa: D415
    settings = Settings.read()
    if events_are_paused(settings, JobScheduler.retry_daily):
        return 0
    try:
        return clean_up(settings)
    except IngestError as error:
        log.error("the daily clean-up failed and will be tried again soon: %s", error)
        _retry_soon(settings)
        return 0


def _retry_soon(settings: Settings) -> None:
    try:
        with redis_client.connect(settings.redis) as client, unless_refused():
            JobScheduler(client).retry_daily()
    except redis.RedisError as error:
        log.warning("Redis is unreachable too, so it is tried again tomorrow: %s", error)


#: Seconds that a clean-up goes on from where the last one was, at most: a day, and one to make up for another.
STEP = 2 * DAY
#: The row of `marks` with the time (Unix seconds) of the last clean-up.
CLEANED = "cleaned"
#: Seconds for counting what an upgrade has left uncounted: the job that cleans up has a minute for everything.
FILL_SECONDS = 20.0


def clean_up(settings: Settings) -> int:
    """Delete what is older than the retention, if one is set; returns how many events and calls that were.

    Age is that of the call, whose time the delivery id begins with, not the time at which the event occurred.

    Raises:
        Unavailable: the database cannot be used now.
    """
    with Store.of(settings) as store:
        store.tidy()
        for problem in store.make_room():
            log.warning("%s", problem, extra={"event": "no-room-made"})
        now = _not_far_ahead(store, _earliest_now(settings, store))
        store.expire_notes(now, settings.retention_days * DAY or commits.KEPT)
        audit.expire(store, now)
        filling.forget(store, (now - filling.KEPT_DAYS * DAY) * MICROS)
        expire_totals(store, datetime.fromtimestamp(now, UTC).date(), settings.retention_days)
        keeping.expire(store, now - min(settings.retention_days * DAY or keeping.KEPT, keeping.KEPT))
        history.expire(store, now, min(settings.retention_days or history.KEPT_DAYS, history.KEPT_DAYS))
        deleted = _keep_to_retention(settings, store, now) if settings.shortest_retention else 0
        _note_clean_up(store, now)
        # Where an upgrade was ended before it was done; last, as it may take long.
        fill(store, seconds=FILL_SECONDS)
    return deleted


def _keep_to_retention(settings: Settings, store: Store, now: int) -> int:
    deleted = 0
    if settings.retention_days:
        before = now - settings.retention_days * DAY
        deleted = _expire(store, before)
        _expire_unreadable(settings, before)
        _note_deleted("event or call", "events and calls", deleted, settings.retention_days)
    for kind, days in settings.retention_types:
        expired = _expire_type(store, kind, now - days * DAY)
        _note_deleted(f"{kind} event", "", expired, days)
        deleted += expired
    return deleted


def _note_deleted(one: str, many: str, number: int, days: int) -> None:
    log.info("deleted %s older than %s", shown.counted(number, one, many), shown.counted(days, "day"))


def _expire_type(store: Store, kind: str, before: int) -> int:
    """Delete the events of a type that came in before a time (Unix seconds), also where they wait for handlers."""
    oldest_kept = before.to_bytes(4, "big")

    def is_expired(record: Record) -> bool:
        return record.delivery_id < oldest_kept and isinstance(event := read(record), Event) and event.type == kind

    deleted = store.expire_type(kind, before) + forget(store, is_expired)
    _empty_log(store)
    return deleted


def _expire(store: Store, before: int) -> int:
    """Delete what came in before a time (Unix seconds), also where it waits for handlers; returns how many."""
    oldest_kept = before.to_bytes(4, "big")
    deleted = store.expire(before) + forget(store, lambda record: record.delivery_id < oldest_kept)
    _empty_log(store)
    return deleted


def _empty_log(store: Store) -> None:
    try:
        store.empty_log()
    except Unavailable as error:
        log.warning("%s", error, extra={"event": "clean-up-incomplete"})


def _expire_unreadable(settings: Settings, before: int) -> None:
    """Delete what could not be read in Redis, and in the spool of this machine, and is too old."""
    batches = files = 0
    with suppress(redis.RedisError, SettingsError), partitions.opened(settings) as streams:
        batches = sum(streams.each(lambda stream: stream.expire_dead(before)).values())
    if settings.spool_dir is not None:
        files = spool.delete_bad(settings.spool_dir, before)
    if batches or files:
        log.info(
            "deleted %s of the dead stream and %s as well",
            shown.counted(batches, "batch", "batches"),
            shown.counted(files, "*.bad file"),
        )


def _earliest_now(settings: Settings, store: Store) -> int:
    """Unix time by the slowest of the clocks that there are: one that is ahead must not delete too much."""
    clocks = [time.time_ns() // 1000]
    if (of_database := store.time()) is not None:
        clocks.append(of_database)
    with suppress(redis.RedisError, SettingsError), redis_client.connect(settings.redis) as client:
        clocks.append(redis_time(client))
    return min(clocks) // MICROS


def _not_far_ahead(store: Store, now: int) -> int:
    """At most `STEP` after the last clean-up: where all clocks are one, and it jumps, everything seems too old.

    Where none ran for long, what is too old goes a few days at a time.
    """
    with store.reading() as connection:
        last = lineage.value(connection, CLEANED)
    bound = now if last is None else min(now, int(last) + STEP)
    if bound < now:
        log.warning(
            "no clean-up for %s, or a clock that jumped ahead: today nothing younger than it would be on %s is "
            "deleted; see that the time of this machine is right",
            shown.span(now - int(last or 0)),
            datetime.fromtimestamp(bound, UTC).date(),
            extra={"event": "clean-up-held-back"},
        )
    return bound


def _note_clean_up(store: Store, now: int) -> None:
    with store.writing() as connection:
        lineage.put(store, connection, CLEANED, str(now))
