"""Where the metrics port is: at its setting, or next to it where another process of the machine has taken that."""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress

from ingest import listening
from ingest.errors import AddressInUse

log = logging.getLogger(__name__)

SHOWN = listening.Shown("metrics", "INGEST_METRICS_HOST", "INGEST_METRICS_PORT")

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
    return listening.bound(host, port, SHOWN)
