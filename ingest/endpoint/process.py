"""One process of the endpoint: it serves the connections of one listening socket, and stops without losing any.

Asked to stop (SIGTERM, SIGINT), it accepts no new connections, answers every request that has arrived, closes its
connection, and ends when nothing is on its way to Redis any more.
"""

import asyncio
import gc
import logging
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import cast

import redis
import uvloop
from aiohttp import web

from ingest import partitions, redis_client, shown, tracing
from ingest.endpoint.app import CLOSING, create_app
from ingest.endpoint.budget import UnverifiedBudget
from ingest.endpoint.connections import Connections
from ingest.endpoint.covering import Covering
from ingest.endpoint.descriptors import connection_limit
from ingest.endpoint.fallback import connection_factory
from ingest.endpoint.fast_path import FastPath
from ingest.endpoint.intake import Intake
from ingest.endpoint.key_sharing import KeySharing
from ingest.endpoint.limits import MAINTENANCE_TIMEOUT
from ingest.endpoint.listening import CLOSE_SECONDS, listening
from ingest.endpoint.maintenance import maintain, queues_serve
from ingest.endpoint.measuring import Measuring
from ingest.endpoint.memory import tune_allocator
from ingest.endpoint.spool_replay import SpoolReplayer
from ingest.endpoint.validation_files import ValidationFiles
from ingest.endpoint.verification_thread import VerificationThread, has_free_processor
from ingest.jobs import JobScheduler
from ingest.lookout import Lookout
from ingest.metrics.board import Board
from ingest.metrics.histogram import Histogram
from ingest.processes import follow_parent
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

#: Seconds that a stopping process waits for requests that may still be arriving on open connections …
QUIET_SECONDS = 0.3
#: … for requests that it is receiving, since a sender may never come to the end of one …
RECEIVE_SECONDS = 3.0
#: … and, in all, for calls that it is keeping; then Redis has had its time too.
ANSWER_SECONDS = 6.0
#: Seconds between two checks for whether all calls are answered.
ANSWER_CHECK_INTERVAL = 0.02
#: Seconds that aiohttp gives its handlers to end, after all calls have been answered.
SHUTDOWN_SECONDS = 1.0
#: Seconds that an endpoint waits, before it takes calls, to learn which database they are for.
OWNER_SECONDS = 0.5
#: New objects after which Python looks for cyclic garbage among them, and how often until it looks at those that
#: stayed: enough for hundreds of calls, and little enough for no look to last longer than some milliseconds.
GC_THRESHOLDS = 2_000, 5, 10


def serve_socket(settings: Settings, fd: int, number: int, board: int | None = None) -> None:
    """One process of the endpoint, on a listening socket that it inherited; returns when it has stopped.

    `board` is the descriptor of the one where figures are left for the metrics port.

    Raises:
        SettingsError: a setting cannot be used.
        Unavailable: the spool cannot be used, or too few files may be opened.
    """
    with socket.socket(fileno=fd) as sock:
        sock.setblocking(False)
        tune_allocator()
        # All that is loaded by now stays, so the garbage collector need not go through it again.
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        uvloop.run(_serve_socket(settings, sock, number, connection_limit(), board))


async def _serve_socket(
    settings: Settings, sock: socket.socket, number: int, limit: int, board: int | None = None
) -> None:
    """Open what a process needs, serve until asked to stop, and close it in reverse, also if opening fails."""
    stopping = _stop_event()
    async with AsyncExitStack() as opened:
        blocking = opened.enter_context(redis_client.connect(settings.redis, MAINTENANCE_TIMEOUT))
        spool = None
        if settings.spool_dir is not None:
            spool = await opened.enter_async_context(Spool(settings.spool_dir, settings.spool_max))
        name = process_name(ENDPOINT)
        found = opened.enter_context(partitions.opened(settings, blocking, MAINTENANCE_TIMEOUT))
        scheduler = JobScheduler(blocking, found)
        producer = await open_producer(settings, scheduler, spool, opened)
        owner = await open_owner(blocking, producer, found.queues)
        verifier = Verifier.from_settings(settings) if settings.verify == "on" else None
        intake = open_intake(settings, producer, verifier, opened)
        covering = await opened.enter_async_context(Covering(name, intake, Coverage(blocking), spool))
        start = await opened.enter_async_context(background_tasks())
        sharing = (
            KeySharing(verifier, intake.budget, KnownKeys(blocking), scheduler, found)
            if verifier is not None
            else None
        )
        replayer = SpoolReplayer(producer, settings.buffer_max, verifier)
        validation_files = ValidationFiles.from_folder(settings.validation_files, settings.path)
        app = create_app(intake, replayer, settings.path, validation_files)
        server = await opened.enter_async_context(_aiohttp_server(app))
        connections = Connections(limit, intake.memory)
        fast_path = FastPath(intake, settings.path, connection_factory(server, connections), connections)
        async with listening(sock, fast_path):
            start(covering.run())
            start(connections.watch())
            start(_measure(board, number, intake, producer, connections))
            start(replayer.run())
            if verifier is not None:
                start(verifier.watch_dns())
            lookout = Lookout(settings, blocking, is_worker=False, speaks=number == 1)
            keep = partial(maintain, settings, intake, producer, Heartbeats(blocking, name), scheduler, number)
            start(keep(covering, sharing, lookout, Refusals(blocking), found.queues, owner))
            log.info("web.%d is ready (process %d)", number, os.getpid())
            await stopping.wait()
            covering.stop()
            app[CLOSING].set()
            fast_path.closing = True
        await _until_answered(intake, connections)
        connections.close_idle()
        await asyncio.sleep(CLOSE_SECONDS)
        connections.abort()
        covering.end()
    log.info("web.%d took %s and stops", number, shown.counted(intake.accepted, "call"))


async def open_producer(
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


async def open_owner(client: redis.Redis, producer: Producer, queues: str) -> Owner:
    """What knows which database the calls are for; where the queues' server is away, it learns of that later."""
    owner = Owner(client, producer.lanes, queues)
    with suppress(TimeoutError, redis.RedisError):
        await asyncio.wait_for(asyncio.to_thread(owner.look), OWNER_SECONDS)
    return owner


def open_intake(
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
    return Intake(producer, settings.max_body, verifier, bool(settings.forward_url), budget, thread, arrived)


def _verification_thread(settings: Settings, opened: AsyncExitStack) -> VerificationThread | None:
    """A thread that takes a part of the verifying, if there is a processor for it."""
    if not has_free_processor(settings.web_concurrency):
        return None
    thread = VerificationThread()
    opened.callback(thread.close)
    return thread


def _measure(
    fd: int | None, number: int, intake: Intake, producer: Producer, connections: Connections
) -> Coroutine[object, object, None]:
    """Leave figures on the board with this descriptor, if there is one, until cancelled."""
    if fd is None:
        return asyncio.sleep(0)
    return Measuring(Board(fd), number - 1, intake, producer, connections).run()


def _stop_event() -> asyncio.Event:
    """An event that is set when this process should stop: by a signal, or because its parent is gone."""
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stopping.set)
    follow_parent(partial(loop.call_soon_threadsafe, stopping.set))
    return stopping


@asynccontextmanager
async def background_tasks() -> AsyncIterator[Callable[[Coroutine[object, object, None]], None]]:
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


@asynccontextmanager
async def _aiohttp_server(app: web.Application) -> AsyncIterator[web.Server]:
    """What makes the connections that aiohttp serves."""
    runner = web.AppRunner(app, shutdown_timeout=SHUTDOWN_SECONDS)
    try:
        await runner.setup()
        yield cast(web.Server, runner.server)  # None only before `setup`
    finally:
        await runner.cleanup()


async def _until_answered(intake: Intake, connections: Connections) -> None:
    """Wait until all calls are answered: longest for those being kept, shortest for those just arriving."""
    began = time.monotonic()
    while True:
        patience = (
            ANSWER_SECONDS if intake.under_way.count else RECEIVE_SECONDS if connections.busy else QUIET_SECONDS
        )
        if time.monotonic() - began >= patience:
            return
        await asyncio.sleep(ANSWER_CHECK_INTERVAL)
