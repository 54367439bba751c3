"""How far behind the workers are, and how many there should be: for what starts and stops them by itself.

How far behind is the age of the oldest that waits, be it claimed by a worker or not: work is done when it is
acknowledged. Redis's own `lag` of a consumer group does not tell that; it is 0 while all is claimed, and unknown
after a deletion.
"""

import math
import os
import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple, cast

import redis
from redis import RedisError
from rq import Worker
from rq.serializers import JSONSerializer
from rq.suspension import is_suspended

from ingest import __version__, partitions, redis_client
from ingest.errors import SchemaMissing
from ingest.jobs import EVENTS_QUEUE, HANDLERS_QUEUE
from ingest.settings import Settings
from ingest.stream.clock import redis_time
from workers.handlers.lateness import seconds_behind
from workers.handlers.throttle import is_held_up
from workers.handlers.work_queue import WorkQueue
from workers.operations.figures import RedisFigures
from workers.store.store import Store

#: Seconds that work may wait before there should be more workers.
TARGET_SECONDS = 30.0
#: Seconds that each stream server but that of the queues may take to answer.
PATIENCE = 2.0
#: What the workers of each queue are called in the Procfile, and so by what scales dynos.
DYNOS: Mapping[str, str] = {EVENTS_QUEUE: "worker", HANDLERS_QUEUE: "handlers"}


@dataclass(frozen=True, slots=True)
class QueueScale:
    """How things are with one queue."""

    #: Since the oldest of what waits could have been worked on; 0 when nothing waits.
    seconds_behind: float
    waiting: int
    workers: int
    busy: int
    recommended_workers: int


@dataclass(frozen=True, slots=True)
class Scale:
    """How things are with all queues."""

    queues: Mapping[str, QueueScale]

    @property
    def seconds_behind(self) -> float:
        """Of the queue that is furthest behind."""
        return max(queue.seconds_behind for queue in self.queues.values())

    def as_json(self) -> dict[str, object]:
        """What `ingest scale --json` prints and `/scale` answers, for KEDA among others."""
        return {"seconds_behind": self.seconds_behind, "queues": self.queues}

    def for_hirefire(self) -> list[dict[str, object]]:
        """The latency of each dyno's jobs in seconds, as HireFire asks for it."""
        return [{"name": DYNOS[name], "value": queue.seconds_behind} for name, queue in self.queues.items()]

    def for_judoscale(self) -> dict[str, object]:
        """A report of the latency of each queue in milliseconds, as Judoscale's adapters send it."""
        now = round(time.time())
        return {
            "container": os.environ.get("DYNO", platform.node()),
            "pid": os.getpid(),
            "config": {"log_level": "WARN", "report_interval_seconds": 10},
            "adapters": {"copernica-ingest": {"adapter_version": __version__}},
            "metrics": [
                [now, round(queue.seconds_behind * 1000), "queue_time", name]
                for name, queue in self.queues.items()
            ],
        }


class InRedis(NamedTuple):
    """What Redis knows of this."""

    seconds_behind: float
    #: Events that wait, and by queue how many workers there are and how many of them are busy.
    backlog: int
    workers: Mapping[str, tuple[int, int]]
    #: By `rq suspend`: neither more workers nor fewer would change anything.
    suspended: bool


class InStore(NamedTuple):
    """What the database knows of it: how far behind each handler is, and how many calls wait for all."""

    seconds_behind: Mapping[str, float]
    waiting: int


#: What a database without tables knows.
NOTHING_WAITS = InStore({}, 0)


def gather(settings: Settings) -> Scale:
    """How things are now.

    Raises:
        Unavailable: Redis or the database cannot be asked; then nobody should start or stop workers.
    """
    with redis_client.connect(settings.redis) as client, partitions.opened(settings, client, PATIENCE) as streams:
        redis_client.require(client, settings.redis)
        try:
            in_redis = InRedis(
                streams.oldest_age() or 0.0,
                streams.backlog(),
                _workers((worker.queue_names(), str(worker.get_state())) for worker in _all_workers(client)),
                bool(is_suspended(client)),
            )
            return of(settings, client, in_redis, _in_store(settings, client))
        except RedisError as error:
            raise redis_client.unavailable(settings.redis, error) from None


def of(settings: Settings, client: redis.Redis, in_redis: InRedis, in_store: InStore) -> Scale:
    """The same, for who knows already what both know.

    Raises:
        redis.RedisError: Redis failed.
    """
    (workers, busy), behind = in_redis.workers[EVENTS_QUEUE], in_redis.seconds_behind
    # One writer at a time is all that SQLite has: further drains would only wait for it.
    most = 1 if settings.sqlite_file else None
    wanted = recommended(workers, busy, behind, most)
    queues = {EVENTS_QUEUE: QueueScale(round(behind, 3), in_redis.backlog, workers, busy, wanted)}
    (workers, busy), of_each = in_redis.workers[HANDLERS_QUEUE], in_store.seconds_behind
    # More workers are no help to a handler that waits for its rate or its target.
    helped = max((seconds for name, seconds in of_each.items() if not is_held_up(client, name)), default=0.0)
    furthest, wanted = max(of_each.values(), default=0.0), recommended(workers, busy, helped, None)
    queues[HANDLERS_QUEUE] = QueueScale(round(furthest, 3), in_store.waiting, workers, busy, wanted)
    if in_redis.suspended:
        queues = {
            name: replace(queue, recommended_workers=max(1, queue.workers)) for name, queue in queues.items()
        }
    return Scale(queues)


def of_figures(figures: RedisFigures) -> InRedis:
    """What figures of Redis say of this."""
    workers = _workers((worker.queues, worker.state) for worker in figures.workers)
    return InRedis(figures.oldest_age_seconds or 0.0, figures.backlog, workers, figures.suspended)


def _in_store(settings: Settings, client: redis.Redis) -> InStore:
    try:
        with Store.of(settings) as store:
            # A database without a clock goes by that of Redis.
            behind = seconds_behind(store, partial(redis_time, client))
            return InStore(behind, sum(WorkQueue(store).waiting().values()))
    except SchemaMissing:
        return NOTHING_WAITS


def _all_workers(client: redis.Redis) -> list[Worker]:
    return cast(list[Worker], Worker.all(connection=client, serializer=JSONSerializer))


def _workers(found: Iterable[tuple[Sequence[str], str]]) -> dict[str, tuple[int, int]]:
    """How many workers each queue has, and how many of them are busy."""
    states = list(found)
    return {
        queue: (
            sum(queue in queues for queues, _ in states),
            sum(queue in queues and state == "busy" for queues, state in states),
        )
        for queue in DYNOS
    }


def recommended(workers: int, busy: int, seconds_behind: float, most: int | None) -> int:
    """How many workers a queue should have.

    As many more than now as it is behind `TARGET_SECONDS`, at most twice as many at a time, since whoever starts
    them asks again; at least those that are busy, so that none is stopped which is needed; and never none, since a
    worker also does what is to be done each day.
    """
    wanted = math.ceil(seconds_behind / TARGET_SECONDS * max(1, workers))
    number = max(1, busy, min(wanted, 2 * max(1, workers)))
    return number if most is None else min(number, most)
