"""One process of the endpoint: it serves the connections of one listening socket, and stops without losing any.

Asked to stop (SIGTERM, SIGINT, SIGHUP), it accepts no new connections, answers each request that has arrived (also
while it was starting), closes its connection, and ends when nothing is on its way to Redis any more.
"""

import asyncio
import gc
import logging
import os
import socket
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import cast

import uvloop
from aiohttp import web

from ingest import shown
from ingest.endpoint.app import CLOSING, create_app
from ingest.endpoint.connections import Connections
from ingest.endpoint.descriptors import connection_limit
from ingest.endpoint.fallback import connection_factory
from ingest.endpoint.fast_path import FastPath
from ingest.endpoint.intake import Intake
from ingest.endpoint.listening import CLOSE_SECONDS, listening
from ingest.endpoint.measuring import Measuring
from ingest.endpoint.memory import tune_allocator
from ingest.endpoint.parts import open_parts
from ingest.endpoint.validation_files import ValidationFiles
from ingest.metrics.board import Board
from ingest.processes import follow_parent
from ingest.settings import Settings
from ingest.stops import handled_stops, hear_stops
from ingest.stream.producer import Producer

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
    async with open_parts(settings, number) as parts:
        intake = parts.intake
        validation_files = ValidationFiles.from_folder(settings.validation_files, settings.path)
        app = create_app(intake, parts.replayer, settings.path, validation_files)
        async with _aiohttp_server(app) as server:
            connections = Connections(limit, intake.memory)
            fast_path = FastPath(intake, settings.path, connection_factory(server, connections), connections)
            async with listening(sock, fast_path):
                parts.begin()
                parts.start(connections.watch())
                parts.start(_measure(board, number, intake, parts.producer, connections))
                log.info("web.%d is ready (process %d)", number, os.getpid())
                await stopping.wait()
                parts.covering.stop()
                app[CLOSING].set()
                fast_path.closing = True
            await _until_answered(intake, connections)
            connections.close_idle()
            await asyncio.sleep(CLOSE_SECONDS)
            connections.abort()
            parts.covering.end()
    log.info("web.%d took %s and stops", number, shown.counted(intake.accepted, "call"))


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
    for number in handled_stops():
        loop.add_signal_handler(number, stopping.set)
    hear_stops()
    follow_parent(partial(loop.call_soon_threadsafe, stopping.set))
    return stopping


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
