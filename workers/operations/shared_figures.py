"""What Redis and the database know, as metrics."""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, date, datetime, timedelta
from functools import partial

from redis import Redis, RedisError

from ingest import partitions, redis_client
from ingest.errors import SchemaMissing, Unavailable
from ingest.metrics.figures import Figures, Series
from ingest.settings import Settings
from ingest.stream.clock import redis_time
from workers.handlers.lateness import seconds_behind
from workers.operations import scale, status
from workers.operations.figures import ReconciledFigures, RedisFigures, StoreFigures, StreamFigures
from workers.operations.streams import AWAY, FOREIGN, LEFT
from workers.store.store import Store

#: Days that are over of which it is shown whether they are complete: as far back as anybody would still look.
DAYS = 7
#: Seconds that the database may take: less than a scrape waits, or what Redis knows would go with it.
DATABASE_PATIENCE = 5.0


def gather(settings: Settings) -> Figures:
    """All that can be asked for now, each once; what cannot be reached is left out."""
    gauges: dict[Series, float] = {("ingest_redis_up",): 0, ("ingest_database_up",): 0}
    with ExitStack() as opened:
        client = in_redis = None
        with suppress(Unavailable, RedisError):
            client = opened.enter_context(redis_client.connect(settings.redis))
            redis_client.require(client, settings.redis)
            found = opened.enter_context(partitions.opened(settings, client, status.PATIENCE))
            in_redis = status.of_redis(client, found)
            gauges |= {("ingest_redis_up",): 1, **dict(_of_redis(in_redis))}
        with suppress(Unavailable):
            ask = partial(_ask_store, settings, client if in_redis else None)
            in_store, behind = status.within(DATABASE_PATIENCE, ask)
            gauges["ingest_database_up",] = 1
            if in_store.has_tables:  # a machine without the database's URL has none
                gauges.update(of_store(in_store, datetime.now(UTC).date()))
            if client is not None and in_redis is not None and behind is not None:
                with suppress(RedisError):  # it went away between two questions
                    gauges.update(_of_scale(scale.of(settings, client, scale.of_figures(in_redis), behind)))
    return Figures(gauges=gauges)


def _ask_store(settings: Settings, client: Redis | None) -> tuple[StoreFigures, scale.InStore | None]:
    """What the database knows, and how far behind handlers are if Redis serves."""
    try:
        with Store.of(settings) as store:
            known = status.of_store(store, for_people=False)
            if client is None:
                return known, None
            waiting = sum(handler.waiting for handler in known.handlers.values())
            try:
                # A database without a clock goes by that of Redis.
                return known, scale.InStore(seconds_behind(store, partial(redis_time, client)), waiting)
            except RedisError:  # it went away since
                return known, None
    except SchemaMissing:
        return status.NO_TABLES, scale.NOTHING_WAITS


def _of_redis(known: RedisFigures) -> Iterator[tuple[Series, float]]:
    yield ("ingest_backlog_events",), known.backlog
    yield ("ingest_backlog_batches",), known.batches
    yield ("ingest_pending_batches",), known.pending_batches
    yield ("ingest_oldest_event_age_seconds",), known.oldest_age_seconds or 0.0
    yield ("ingest_dead_batches",), known.dead_batches
    yield ("ingest_workers_suspended",), known.suspended
    yield ("ingest_redis_memory_bytes",), known.memory_bytes
    if known.memory_limit_bytes is not None:
        yield ("ingest_redis_memory_limit_bytes",), known.memory_limit_bytes
    if known.last_call_at is not None:
        yield ("ingest_last_call_timestamp_seconds",), known.last_call_at
    yield ("ingest_endpoint_processes",), len(known.endpoints)
    for stream in known.streams if len(known.streams) > 1 else ():
        yield from _of_stream(stream)
    queues = Counter(queue for worker in known.workers for queue in worker.queues)
    for queue in scale.DYNOS:
        yield ("ingest_workers", queue), queues[queue]


def _of_stream(known: StreamFigures) -> Iterator[tuple[Series, float]]:
    yield ("ingest_stream_up", known.name), known.state not in (AWAY, LEFT)
    if known.state not in (AWAY, LEFT):
        yield ("ingest_stream_foreign", known.name), known.state == FOREIGN
    for name, value in (
        ("ingest_stream_backlog_events", known.backlog),
        ("ingest_stream_backlog_batches", known.batches),
        ("ingest_stream_memory_bytes", known.memory_bytes),
        ("ingest_stream_memory_limit_bytes", known.memory_limit_bytes),
    ):
        if value is not None:
            yield (name, known.name), value
    if known.state not in (AWAY, LEFT):
        yield ("ingest_stream_oldest_event_age_seconds", known.name), known.oldest_age_seconds or 0.0


def _of_scale(known: scale.Scale) -> Iterator[tuple[Series, float]]:
    for name, queue in known.queues.items():
        yield ("ingest_seconds_behind", name), queue.seconds_behind
        yield ("ingest_recommended_workers", name), queue.recommended_workers


def of_store(known: StoreFigures, today: date) -> Iterator[tuple[Series, float]]:
    """What the database knows, and what of each day."""
    yield ("ingest_stored_events",), known.stored
    yield ("ingest_quarantined_calls",), known.quarantined
    yield ("ingest_unverified_calls",), known.unverified
    # An empty name is for what no handler has been given yet.
    yield ("ingest_outbox_calls",), known.handlers[""].waiting if "" in known.handlers else 0
    for name, handler in known.handlers.items():
        if name:
            yield ("ingest_handler_waiting", name), handler.waiting
            yield ("ingest_handler_retries", name), handler.retries
            yield ("ingest_dead_letters", name), handler.failed
    yield ("ingest_gaps_unfilled",), known.gaps.unfilled
    yield ("ingest_gaps_left",), known.gaps.cannot_be_closed
    if known.reconciled is not None:
        yield from of_days(known.reconciled, today)


def of_days(known: ReconciledFigures, today: date) -> Iterator[tuple[Series, float]]:
    """The days of which something is known."""
    incomplete, through, since = {*known.incomplete, *known.gone}, known.complete_through, known.since
    for back in range(1, DAYS + 1):
        day = today - timedelta(days=back)
        if day in incomplete:
            yield ("ingest_day_complete", day.isoformat()), 0
        elif through is not None and since is not None and since <= day <= through:
            yield ("ingest_day_complete", day.isoformat()), 1
