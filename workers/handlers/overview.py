"""What `ingest handlers` shows: what is registered, what waits for it, and what is kept of those that are gone."""

from collections.abc import Mapping
from dataclasses import dataclass

import redis

from ingest import redis_client
from ingest.errors import SchemaMissing, SettingsError, Unavailable
from ingest.jobs import HANDLERS_QUEUE
from ingest.settings import Settings
from ingest.stream.pauses import Pause, Pauses
from workers.handlers.listing import Described, registered
from workers.handlers.names import with_work
from workers.handlers.standing import Standing, standing
from workers.handlers.work_queue import WorkQueue
from workers.store.store import Store


@dataclass(frozen=True, slots=True)
class Overview:
    """The handlers; calls that `wait` and have `failed`, by name, also of handlers that are not registered."""

    handlers: tuple[Described, ...]
    waiting: Mapping[str, int]
    failed: Mapping[str, int]
    #: What is paused; None where Redis cannot say it.
    pauses: tuple[Pause, ...] | None
    #: Why handlers may be missing here, a sentence each.
    problems: tuple[str, ...]
    #: How each of which something is kept fares, and what is tried again.
    standings: Mapping[str, Standing]
    #: The queue of all handlers' jobs.
    queue: str = HANDLERS_QUEUE

    @property
    def gone(self) -> list[str]:
        """Names of which something is kept, and which no handler has any more; none while that is uncertain."""
        if self.problems:
            return []
        there = {handler.name for handler in self.handlers}
        return sorted(name for name in {*self.waiting, *self.failed} if name and name not in there)


def overview(settings: Settings) -> Overview:
    """Look at the handlers of these settings.

    Raises:
        Unavailable: the database cannot be used.
    """
    found = registered(settings)
    waiting: dict[str, int] = {}
    failed: dict[str, int] = {}
    standings: dict[str, Standing] = {}
    try:
        with Store.of(settings) as store:
            queue = WorkQueue(store)
            waiting, failed = queue.waiting(), queue.failed()
            standings = {name: standing(store, name) for name in with_work(store)}
    except SchemaMissing:  # nothing was stored yet
        pass
    return Overview(found.handlers, waiting, failed, _pauses(settings), found.problems, standings)


def _pauses(settings: Settings) -> tuple[Pause, ...] | None:
    try:
        with redis_client.connect(settings.redis) as client:
            return tuple(Pauses(client).all())
    except (redis.RedisError, SettingsError, Unavailable):
        return None
