"""`ingest console`: listens, serves, and stops when asked to."""

import asyncio
import logging
import signal
import socket

import uvloop
from aiohttp import web

from ingest.console.app import create
from ingest.errors import AddressInUse, SettingsError
from ingest.processes import follow_parent
from ingest.settings import Settings

log = logging.getLogger(__name__)

#: Seconds that pages under way get at a stop.
STOP_SECONDS = 2.0


def run(settings: Settings) -> None:
    """Serve the console until asked to stop.

    Raises:
        AddressInUse: another program uses the port.
        SettingsError: the host is not an address of this machine.
    """
    with bound(settings.console_host, settings.console_port or 0) as sock:
        uvloop.run(_serve(settings, sock))
    log.info("stopped")


async def _serve(settings: Settings, sock: socket.socket) -> None:
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    follow_parent(lambda: loop.call_soon_threadsafe(stopped.set))
    runner = web.AppRunner(create(settings), access_log=None, shutdown_timeout=STOP_SECONDS)
    await runner.setup()
    try:
        await web.SockSite(runner, sock).start()
        log.info("the console is at %s", address(sock))
        await stopped.wait()
    finally:
        await runner.cleanup()


def address(sock: socket.socket) -> str:
    """The address of what a socket listens at."""
    host, port = sock.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens at this address.

    Raises:
        AddressInUse: another program uses it.
        SettingsError: it is not an address of this machine, or not one that this user may take.
    """
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise SettingsError(f"INGEST_CONSOLE_HOST={host!r} cannot be used: {error.strerror}.") from None
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(place)
        sock.listen()
    except OSError as error:
        sock.close()
        raise AddressInUse(
            f"The console cannot listen at {host} port {port} ({error.strerror}): stop what uses it, or choose "
            "another INGEST_CONSOLE_PORT."
        ) from None
    return sock
