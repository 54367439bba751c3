"""One process of the endpoint: it takes the connections of one listening socket, and stops without losing any.

A stop (SIGTERM, SIGINT) goes: no new connections; every request that has come in is answered, and its connection
closed; what is on its way to Redis is waited for; the process ends.
"""

import asyncio
import gc
import logging
import os
import resource
import signal
import socket
import time
from contextlib import suppress
from functools import partial

import uvloop
from aiohttp import web

from ingest import redis_client
from ingest.endpoint.app import CLOSING, create_app
from ingest.endpoint.connection import HANDLER_ARGS, connection_factory
from ingest.endpoint.fast_path import FastPath
from ingest.endpoint.intake import Intake
from ingest.endpoint.limits import LISTEN_BACKLOG, MAINTENANCE_TIMEOUT, MAX_CONNECTIONS
from ingest.endpoint.maintenance import maintain
from ingest.endpoint.spool_replay import SpoolReplayer
from ingest.endpoint.validation_files import ValidationFiles
from ingest.jobs import JobScheduler
from ingest.processes import follow_parent
from ingest.settings import Settings
from ingest.spool import Spool
from ingest.stream.heartbeats import Heartbeats
from ingest.stream.producer import Producer
from ingest.stream.reports import ENDPOINT, process_name
from ingest.verification import Verifier

log = logging.getLogger(__name__)

#: Seconds that the event loop gets to close its side of the listening socket.
CLOSE_SECONDS = 0.01
#: Seconds a stopping child waits for requests that are still coming in on open connections …
QUIET_SECONDS = 0.3
#: … and at most for those it is at work on.
ANSWER_SECONDS = 6.0
#: Objects after which Python looks for cyclic garbage, in a process of the endpoint.
GC_EVERY = 20_000


def serve_socket(settings: Settings, fd: int, number: int) -> None:
    """One process of the endpoint, on a listening socket that it inherited."""
    sock = socket.socket(fileno=fd)
    sock.setblocking(False)
    # What is loaded by now stays; and calls are too many to look for garbage among them every few hundred objects.
    gc.freeze()
    gc.set_threshold(GC_EVERY, 10, 10)
    uvloop.run(_serve_socket(settings, sock, number, _connection_limit()))


def _connection_limit() -> int:
    """As many connections as there may be open files, less some for ourselves."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS + 128 if hard == resource.RLIM_INFINITY else min(hard, MAX_CONNECTIONS + 128)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted - 128


async def _serve_socket(settings: Settings, sock: socket.socket, number: int, limit: int) -> None:
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stopping.set)
    follow_parent(partial(loop.call_soon_threadsafe, stopping.set))

    client = redis_client.connect_async(settings.redis)
    blocking = redis_client.connect(settings.redis, MAINTENANCE_TIMEOUT)
    heartbeats = Heartbeats(blocking, process_name(ENDPOINT))
    scheduler = JobScheduler(blocking)
    kept = None if settings.spool_dir is None else Spool(settings.spool_dir, settings.spool_max)
    producer = Producer(client, scheduler.wake_drain, spool=kept)
    verifier = Verifier.of(settings) if settings.verify == "on" else None
    intake = Intake(producer, settings.max_body, verifier, keep_headers=bool(settings.forward_url))
    replayer = SpoolReplayer(producer, settings.buffer_max)
    app = create_app(intake, replayer, settings.path, ValidationFiles.of(settings.validation_files, settings.path))
    runner = web.AppRunner(app, shutdown_timeout=1.0, **HANDLER_ARGS)
    await runner.setup()
    assert runner.server is not None
    fast_path = FastPath(intake, settings.path, connection_factory(runner.server, limit), limit)
    waiting = sock.dup()
    server = await loop.create_server(fast_path, sock=sock, backlog=LISTEN_BACKLOG)
    watch = asyncio.create_task(fast_path.watch())
    replay = asyncio.create_task(replayer.run())
    maintenance = asyncio.create_task(maintain(settings, intake, producer, heartbeats, scheduler, number))
    log.info("web.%d is ready (process %d)", number, os.getpid())

    await stopping.wait()
    app[CLOSING].set()
    fast_path.closing = True
    server.close()
    await asyncio.sleep(CLOSE_SECONDS)
    await _accept_rest(waiting, fast_path)
    await _until_answered(intake, fast_path)
    fast_path.close_idle()
    await runner.cleanup()
    await producer.close()
    for task in (watch, replay, maintenance):
        task.cancel()
    await asyncio.gather(watch, replay, maintenance, return_exceptions=True)
    if kept is not None:
        await kept.close()
    await client.aclose()
    log.info("web.%d took %d calls and stops", number, intake.accepted)


async def _accept_rest(listening: socket.socket, fast_path: FastPath) -> None:
    """Take the connections that wait to be accepted: closing the socket would cut them off with their calls."""
    rest = []
    with listening, suppress(BlockingIOError):
        while True:
            rest.append(listening.accept()[0])
    for connection in rest:
        connection.setblocking(False)
        await asyncio.get_running_loop().connect_accepted_socket(fast_path, connection)


async def _until_answered(intake: Intake, fast_path: FastPath) -> None:
    """Wait until no call is being taken: a moment for those just coming in, longer for those at work."""
    began = time.monotonic()
    while time.monotonic() - began < (ANSWER_SECONDS if intake.busy or fast_path.busy else QUIET_SECONDS):
        await asyncio.sleep(0.02)
