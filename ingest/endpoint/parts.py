"""What one process takes calls with, however they reach it: opened together, and closed in reverse.

A process of `ingest serve` and an application that the endpoint is mounted on differ in their connections only.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass

import redis

from ingest import container, partitions, redis_client, tracing
from ingest.endpoint.budget import UnverifiedBudget
from ingest.endpoint.covering import Covering
from ingest.endpoint.intake import Intake
from ingest.endpoint.key_sharing import KeySharing
from ingest.endpoint.limits import MAINTENANCE_TIMEOUT
from ingest.endpoint.maintenance import maintain, queues_serve
from ingest.endpoint.memory import Memory, most_held
from ingest.endpoint.spool_replay import SpoolReplayer
from ingest.endpoint.verification_thread import VerificationThread, has_free_processor
from ingest.jobs import JobScheduler
from ingest.lookout import Lookout
from ingest.metrics.histogram import Histogram
from ingest.settings import Settings
from ingest.spool import Spool
from ingest.stream.appends import Stream
from ingest.stream.coverage import Coverage
from ingest.stream.heartbeats import Heartbeats
from ingest.stream.known_keys import KnownKeys
from ingest.stream.owner import Owner
from ingest.stream.producer import Producer
from ingest.stream.refusals import Refusals
from ingest.stream.reports import ENDPOINT, process_name
from ingest.stream.writes import WriteTimes
from ingest.verification import Verifier

log = logging.getLogger(__name__)

#: Seconds that an endpoint waits, before it takes calls, to learn which database they are for.
OWNER_SECONDS = 0.5

Start = Callable[[Coroutine[object, object, None]], None]


@dataclass(frozen=True, slots=True)
class Parts:
    """What one process takes calls with."""

    intake: Intake
    producer: Producer
    replayer: SpoolReplayer
    covering: Covering
    #: Starts a task, which is cancelled when the parts are closed.
    start: Start
    #: What runs as long as calls are taken.
    _tasks: tuple[Callable[[], Coroutine[object, object, None]], ...]

    def begin(self) -> None:
        """Calls are taken from now on."""
        for task in self._tasks:
            self.start(task())


@asynccontextmanager
async def open_parts(settings: Settings, number: int = 1) -> AsyncIterator[Parts]:
    """Open what a process takes calls with; `number` is its own among those of the endpoint, from 1.

    At the end of the block all calls must be answered: tasks are stopped, and what is on its way is still written.

    Raises:
        SettingsError: a setting cannot be used.
        Unavailable: the spool cannot be used.
    """
    async with AsyncExitStack() as opened:
        blocking = opened.enter_context(redis_client.connect(settings.redis, MAINTENANCE_TIMEOUT))
        spool = None
        if settings.spool_dir is not None:
            spool = await opened.enter_async_context(Spool(settings.spool_dir, settings.spool_max))
        name = process_name(ENDPOINT)
        found = opened.enter_context(partitions.opened(settings, blocking, MAINTENANCE_TIMEOUT))
        scheduler = JobScheduler(blocking, found)
        producer = await _open_producer(settings, scheduler, spool, opened)
        owner = await _open_owner(blocking, producer, found.queues)
        verifier = Verifier.from_settings(settings) if settings.verify == "on" else None
        intake = _open_intake(settings, producer, verifier, opened)
        covering = await opened.enter_async_context(Covering(name, intake, Coverage(blocking), spool))
        start = await opened.enter_async_context(_background_tasks())
        replayer = SpoolReplayer(producer, settings.buffer_max, verifier)
        heartbeats, refusals = Heartbeats(blocking, name), Refusals(blocking)
        lookout = Lookout(settings, blocking, is_worker=False, speaks=number == 1)
        sharing = None
        watching: tuple[Callable[[], Coroutine[object, object, None]], ...] = ()
        if verifier is not None:
            sharing = KeySharing(verifier, intake.budget, KnownKeys(blocking), scheduler, found)
            watching = (verifier.watch_dns,)

        def keep() -> Coroutine[object, object, None]:
            common = settings, intake, producer, heartbeats, scheduler, number
            return maintain(*common, covering, sharing, lookout, refusals, found.queues, owner)

        yield Parts(intake, producer, replayer, covering, start, (covering.run, replayer.run, *watching, keep))


async def _open_producer(
    settings: Settings, scheduler: JobScheduler, spool: Spool | None, opened: AsyncExitStack
) -> Producer:
    """What writes the calls to the servers that take them."""
    servers = settings.stream_servers
    streams = []
    for server in servers:
        if server.takes:
            client = await opened.enter_async_context(redis_client.connect_async(server.url))
            streams.append(Stream(client, server.name, one_of_several=len(servers) > 1))
    queues = next(server.name for server in servers if server.has_queues)

    def wake() -> None:
        # While the server of the queues is away, workers drain without being woken.
        if queues_serve(producer, queues):
            scheduler.wake_drain()

    producer = Producer(streams, wake, spool=spool, spool_lasts=settings.spool_lasts)
    producer.times = WriteTimes(Histogram(), Histogram(), 0.0)
    opened.push_async_callback(producer.close)
    return producer


async def _open_owner(client: redis.Redis, producer: Producer, queues: str) -> Owner:
    """What knows which database the calls are for; where the queues' server is away, it learns of that later."""
    owner = Owner(client, producer.lanes, queues)
    with suppress(TimeoutError, redis.RedisError):
        await asyncio.wait_for(asyncio.to_thread(owner.look), OWNER_SECONDS)
    return owner


def _open_intake(
    settings: Settings, producer: Producer, verifier: Verifier | None, opened: AsyncExitStack
) -> Intake:
    """What takes the calls, with what it needs besides."""
    budget = UnverifiedBudget(settings.unverified_max, settings.web_concurrency)
    thread = _verification_thread(settings, opened) if verifier is not None else None
    traces = tracing.of(settings)
    arrived = None
    if traces is not None:
        arrived = traces.arrived
        opened.push_async_callback(asyncio.to_thread, traces.flush)
    held = Memory(most_held(settings.web_concurrency, settings.max_body, container.memory()))
    return Intake(producer, settings.max_body, verifier, bool(settings.forward_url), budget, thread, arrived, held)


def _verification_thread(settings: Settings, opened: AsyncExitStack) -> VerificationThread | None:
    """A thread that takes a part of the verifying, if there is a processor for it."""
    if not has_free_processor(settings.web_concurrency):
        return None
    thread = VerificationThread()
    opened.callback(thread.close)
    return thread


@asynccontextmanager
async def _background_tasks() -> AsyncIterator[Start]:
    """Yield what starts a task; at the end of the block, cancel all that were started and wait for them."""
    tasks: list[asyncio.Task[None]] = []

    def start(coroutine: Coroutine[object, object, None]) -> None:
        tasks.append(asyncio.create_task(coroutine))

    try:
        yield start
    finally:
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                log.error("a background task failed", exc_info=outcome)
