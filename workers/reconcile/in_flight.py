"""Calls that were accepted and are not in the store yet: in the backlog, in an endpoint's spool, or unverified."""

import time
from collections.abc import Callable
from typing import NamedTuple

import redis

from ingest import partitions, redis_client
from ingest.errors import SettingsError
from ingest.settings import Settings
from ingest.stream.consumer import Consumer
from ingest.stream.heartbeats import Heartbeats
from workers.store.store import Store

#: Seconds between two looks at Redis: too short for anyone to notice the delay.
POLL_INTERVAL = 0.25


class InFlight(NamedTuple):
    """How many calls are where."""

    backlog: int = 0
    spooled: int = 0
    unverified: int = 0

    @property
    def calls(self) -> int:
        """All of them."""
        return sum(self)


def look(settings: Settings, store: Store, since: float | None = None) -> InFlight | None:
    """How many calls are in flight; None if Redis is unreachable, or one of several stream servers.

    What came in later than `since` (Unix time) does not count: on a busy site there is always something.
    """
    try:
        with redis_client.connect(settings.redis) as client:
            with partitions.opened(settings, client) as streams:
                ages = [age for age in streams.every(Consumer.oldest_age) if age is not None]
                old = bool(ages) and (since is None or time.time() - max(ages) <= since)
                waiting = sum(streams.every(Consumer.backlog)) if old else 0
            spooled = sum(
                endpoint.spool.events
                for endpoint in Heartbeats(client).reports().endpoints.values()
                if endpoint.spool
            )
    except (redis.RedisError, SettingsError):
        return None
    return InFlight(waiting, spooled, store.unverified())


def wait(
    settings: Settings, store: Store, seconds: float, watch: Callable[[str, int, int | None], object]
) -> InFlight | None:
    """Wait until what was in flight at the start is in the store, but at most for `seconds`.

    Calls whose key is unavailable are not waited for: that can take days.
    """
    began = time.time()
    first = None
    while True:
        in_flight = look(settings, store, since=began)
        if in_flight is None:
            return None
        left = in_flight.backlog + in_flight.spooled
        first = left if first is None else max(first, left)
        if first:
            watch("waiting for calls in flight", first - left, first)
        if not left or time.time() - began >= seconds:
            return in_flight
        time.sleep(POLL_INTERVAL)
