"""`ingest console`: listens, serves, and stops when asked to."""

import asyncio
import gc
import logging
import signal
import socket

import uvloop
from aiohttp import web

from ingest.console.app import create
from ingest.console.connections import listening
from ingest.console.listening import address, bound
from ingest.console.origins import UNKNOWN, Origins
from ingest.console.rules import Rules, plain_address
from ingest.errors import SettingsError
from ingest.processes import follow_parent
from ingest.settings import Settings
from ingest.stops import handled_stops

log = logging.getLogger(__name__)

#: Seconds that pages under way get at a stop.
STOP_SECONDS = 2.0


def run(settings: Settings, opened: int | None = None, origins: Origins = UNKNOWN) -> None:
    """Serve the console until asked to stop; `opened` is the descriptor of a socket that a parent has opened.

    `origins` is where the settings come from.

    Raises:
        AddressInUse: another program uses the port.
        SettingsError: there is no port, the host is not an address of this machine, or strangers would be let in.
    """
    rules = Rules.of(settings)
    with _socket(settings) if opened is None else socket.socket(fileno=opened) as sock:
        if rules.is_open:  # a name may lead elsewhere than a moment ago, and a parent may have been told another
            rules.require_loopback(plain_address(sock.getsockname()[0]))
        uvloop.run(_serve(settings, sock, origins))
    log.info("stopped")
    gc.freeze()  # Python would go through all objects once more: half a second, for nothing


def _socket(settings: Settings) -> socket.socket:
    if settings.console_port is None:  # at a port that nobody knows, no health check finds it either
        raise SettingsError(
            "INGEST_CONSOLE_PORT=off leaves `ingest dev` and `all` without a console, and `ingest console` needs "
            "a port: name one."
        )
    return bound(settings.console_host, settings.console_port)


async def _serve(settings: Settings, sock: socket.socket, origins: Origins) -> None:
    loop, stopped, stops = asyncio.get_running_loop(), asyncio.Event(), handled_stops()
    for number in stops:
        loop.add_signal_handler(number, stopped.set)
    follow_parent(lambda: loop.call_soon_threadsafe(stopped.set))
    runner = web.AppRunner(create(settings, origins), access_log=None, shutdown_timeout=STOP_SECONDS)
    await runner.setup()
    assert runner.server is not None  # since it is set up
    try:
        async with listening(runner.server, sock):
            log.info("the console is at %s", address(sock))
            await stopped.wait()
    finally:
        await runner.cleanup()
        for number in stops:  # the loop's handlers go with it: one signal more would kill what is about to end
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)
