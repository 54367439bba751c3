"""`ingest drain`: drains in this process, without a job."""

import logging
import time

import redis

from ingest import partitions, redis_client, tracing
from ingest.errors import RedisUnavailable, Unavailable
from ingest.settings import Settings
from workers.drain.desk import MuteDesk
from workers.drain.drain import Drain
from workers.drain.summary import DrainSummary
from workers.gaps import lineage
from workers.runtime import SLICE, patiently, stop_flag
from workers.store.store import Store

log = logging.getLogger(__name__)

#: Seconds between two drains that failed: the database or all servers are away, and a second is soon.
TRY_AGAIN = 1.0


def drain_once(settings: Settings) -> tuple[DrainSummary, int]:
    """Drain in this process until nothing is left to claim; also returns how many batches other drains hold.

    Raises:
        Unavailable: Redis or the database is unavailable; of several stream servers, all are.
    """
    with redis_client.connect(settings.redis) as client, partitions.opened(settings, client) as streams:
        is_away = False
        try:
            redis_client.require(client, settings.redis)
        except RedisUnavailable as error:
            if not streams.are_several:
                raise
            is_away = True
            log.warning("drained are the other stream servers: %s", error)
        with _opened(settings, client, is_away) as store:
            try:
                drain = Drain(client, store, settings.has_handlers, tracing.of(settings), partitions=streams)
                drained = drain.run(), streams.pending()
            except redis.RedisError as error:
                raise Unavailable(f"Lost Redis in the middle ({error}): nothing is lost, run it again.") from None
            for problem in store.make_room():  # where no worker runs the daily job
                log.warning("%s", problem, extra={"event": "no-room-made"})
            return drained


def _opened(settings: Settings, client: redis.Redis, is_away: bool) -> Store:
    """The database; while the server of the queues is away, each stream server itself says whose it is."""
    return Store.of(settings) if is_away else lineage.opened(settings, client)


def drain_beside(settings: Settings) -> None:
    """Drain the other stream servers until asked to stop, while the server of the queues is away: it is not asked.

    A drain each `SLICE`, so that servers that were left out get another chance.
    """
    with redis_client.connect(settings.redis) as client, partitions.opened(settings, client) as streams:
        while not stop_flag.requested:
            deadline = time.monotonic() + SLICE
            try:
                with patiently(lambda: Store.of(settings), deadline) as store:
                    traces = tracing.of(settings)
                    drain = Drain(client, store, settings.has_handlers, traces, partitions=streams, desk=MuteDesk)
                    drain.run(deadline, linger_ms=int(SLICE * 1000))
            except (Unavailable, redis.RedisError) as error:
                log.warning("nothing can be drained now, nothing is lost: %s", error)
                time.sleep(TRY_AGAIN)
