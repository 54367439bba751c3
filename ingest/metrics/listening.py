"""Where the metrics port is: at its setting, or next to it where another process of the machine has taken that."""

import asyncio
import errno
import logging
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress

from ingest.errors import AddressInUse, SettingsError

log = logging.getLogger(__name__)

#: Ports that are tried where several processes on one machine have the same setting: it, and those after it.
PORTS = 16
#: Seconds between two attempts to find a free one.
PORT_INTERVAL = 30.0


async def find_port(
    host: str, port: int, avoid: int | None, stopped: Callable[[], Awaitable[object]]
) -> socket.socket | None:
    """A socket at the first port that is free, from this one on; None if asked to stop before there is one."""
    said = False
    while True:
        for candidate in range(port, min(port + PORTS, 65536)):
            try:
                if candidate != avoid:
                    return bind(host, candidate)
            except AddressInUse:
                continue
        if not said:
            log.warning(
                "there are no metrics: other programs use the ports %d to %d; set another INGEST_METRICS_PORT",
                port, min(port + PORTS - 1, 65535),
            )  # fmt: skip
            said = True
        try:
            await asyncio.wait_for(stopped(), PORT_INTERVAL)
        except TimeoutError:
            continue
        return None


def require(host: str, port: int) -> None:
    """Fail at the start on what cannot be listened at, other than because somebody does.

    Raises:
        SettingsError: it is not an address of this machine, or not one that this user may take.
    """
    with suppress(AddressInUse):
        bind(host, port).close()


def bind(host: str, port: int) -> socket.socket:
    """A socket at this address.

    Raises:
        AddressInUse: another program uses it.
        SettingsError: it is not an address of this machine, or not one that this user may take.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise SettingsError(f"INGEST_METRICS_HOST={host!r} cannot be used: {error.strerror}.") from None
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen()
    except OSError as error:
        sock.close()
        if error.errno != errno.EADDRINUSE:
            raise SettingsError(
                f"Metrics cannot be shown at {host} port {port} ({error.strerror}): set another "
                "INGEST_METRICS_HOST or INGEST_METRICS_PORT."
            ) from None
        raise AddressInUse(
            f"Cannot show metrics at {host} port {port} ({error.strerror}): stop what uses it, or choose another "
            "INGEST_METRICS_PORT."
        ) from None
    return sock
