"""Honouring pauses: jobs of what is paused leave the work where it is, and those under way end early."""

import logging
import time
from collections.abc import Callable

import redis

from ingest import redis_client
from ingest.jobs import EVENTS_QUEUE, JobScheduler
from ingest.settings import Settings
from ingest.stream.pauses import QUEUE, Pauses

log = logging.getLogger(__name__)

#: Seconds between two looks of a job that runs for long: as soon as a person expects it to stop.
LOOK_EVERY = 1.0
#: Seconds until the next look after one that failed: each may take as long as Redis is waited for.
LOOK_AGAIN = 15.0


class PauseWatch:
    """Says whether any of some names is paused: asks Redis now and then; while that fails, its answer stays."""

    def __init__(self, client: redis.Redis, *names: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._pauses = Pauses(client)
        self._names = frozenset(names)
        self._clock = clock
        self._next_look = 0.0
        self._paused = False

    def __call__(self) -> bool:
        """Whether work should stop."""
        if (now := self._clock()) >= self._next_look:
            try:
                self._paused = any(pause.name in self._names for pause in self._pauses.all())
                self._next_look = now + LOOK_EVERY
            except redis.RedisError:
                self._next_look = now + LOOK_AGAIN
        return self._paused


def events_are_paused(settings: Settings, put_off: Callable[[JobScheduler], object] = lambda _: None) -> bool:
    """Whether the queue `events` is paused; then `put_off` sees to it that there is another job later.

    A Redis that fails pauses nothing: the job finds that out by itself.
    """
    try:
        with redis_client.connect(settings.redis) as client:
            if Pauses(client).of(QUEUE + EVENTS_QUEUE) is None:
                return False
            put_off(JobScheduler(client))
    except redis.RedisError as error:
        log.debug("not known whether the queue is paused: %s", error)
        return False
    return True
