"""The RQ jobs of the queue `handlers`, which call users' functions with what was stored.

As with the drain, jobs are wake-ups and tables hold the work (`workers.handlers.work_queue`), so a job that is
lost, doubled or killed costs nothing. One job works for one handler, for a time slice, and leaves early when that
handler has to wait for its rate or its target, so that the others get their turn.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

import redis

from ingest import redis_client, tracing
from ingest.errors import IngestError
from ingest.jobs import HANDLERS_QUEUE, JobScheduler
from ingest.settings import Settings
from ingest.stream.clock import redis_time
from ingest.stream.pauses import HANDLER, QUEUE, Pause, Pauses
from workers.handlers.announced import announce
from workers.handlers.configured import known_handlers
from workers.handlers.registry import Handler
from workers.handlers.runner import HandlerRun
from workers.handlers.work_queue import WorkQueue
from workers.runtime import SLICE
from workers.store.store import Store

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Seconds until the next look at least, when something is due later: RQ's scheduler looks once a second.
SOONEST = 1.0


def hand_on_job() -> int:
    """Give each handler its share of what was stored, and wake those with something to do.

    Returns how many rows of the outbox there were. See `workers.jobs.hand_on`.
    """
    settings = Settings.read()

    def work(client: redis.Redis, store: Store) -> int:
        scheduler, queue, handlers = JobScheduler(client), _queue(client, store), known_handlers(settings)
        scheduler.clear_hand_on()
        if not handlers:  # dispatching now would throw away what waits for the handlers of other workers
            log.error("events wait for handlers, and this worker has none: set INGEST_HANDLERS as for the others")
            return 0
        announce(client, handlers.values())
        moved = queue.dispatch(handlers)
        _wake_all(client, queue, handlers)
        return moved

    return _unless_unavailable(settings, work, 0)


def handle_job(name: str) -> dict[str, int]:
    """Call one handler with what is due for it; returns how many calls were done, unwanted, failed.

    See `workers.jobs.handle`.
    """
    settings = Settings.read()

    def work(client: redis.Redis, store: Store) -> dict[str, int]:
        handlers = known_handlers(settings)
        if name not in handlers:
            log.error("no handler is called %r any more: what it has to do waits in the table `handoffs`", name)
            return {}
        queue = _queue(client, store)
        handler, traces = handlers[name], tracing.of(settings)
        if traces is not None:
            handler = replace(handler, call=traces.handling(name, handler.call))
        summary = HandlerRun(handler, queue, client, time.monotonic() + SLICE).run()
        if traces is not None:
            traces.flush()
        _wake_all(client, queue, handlers, waiting=name if summary.waits else None)
        return {"done": summary.done, "unwanted": summary.unwanted, "failed": summary.failed}

    return _unless_unavailable(settings, work, {})


def _queue(client: redis.Redis, store: Store) -> WorkQueue:
    return WorkQueue(store, partial(redis_time, client))


def _unless_unavailable(settings: Settings, work: Callable[[redis.Redis, Store], T], otherwise: T) -> T:
    """Do a job's work with Redis and the store; if either fails, log it in one line and return `otherwise`."""
    try:
        with redis_client.connect(settings.redis) as client, Store.of(settings) as store:
            return work(client, store)
    except (redis.RedisError, IngestError) as error:
        log.error("handlers have to wait, nothing is lost: %s", error)
        return otherwise


def _wake_all(
    client: redis.Redis, queue: WorkQueue, handlers: Mapping[str, Handler], waiting: str | None = None
) -> None:
    """Wake every handler with something to do, now or later, unless it is paused.

    Not the one that is `waiting` and is woken later.
    """
    scheduler, pauses = JobScheduler(client), Pauses(client).all()
    free = _not_paused(handlers, pauses)
    for name in scheduler.in_turn(queue.due()):
        if name in free and name != waiting:
            scheduler.wake_handler(name, handlers[name].timeout)
    seconds = queue.next_due(free)
    if seconds is not None:
        scheduler.hand_on_in(max(SOONEST, seconds))
    scheduler.note_handoffs(queue.next_due(handlers) is not None if pauses else seconds is not None)


def _not_paused(handlers: Mapping[str, Handler], pauses: Sequence[Pause]) -> list[str]:
    """Which handlers may be called now; the sweep of the endpoints looks at the others again."""
    paused = {pause.name for pause in pauses}
    if QUEUE + HANDLERS_QUEUE in paused:
        return []
    return [name for name in handlers if HANDLER + name not in paused]
