"""Where the console listens. It imports little: `ingest dev` opens the socket, and never serves it itself."""

import socket

from ingest import listening

SHOWN = listening.Shown("the console", "INGEST_CONSOLE_HOST", "INGEST_CONSOLE_PORT")


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens at this address.

    Raises:
        AddressInUse: another program uses it.
        SettingsError: it is not an address of this machine, or not one that this user may take.
    """
    return listening.bound(host, port, SHOWN)


def address(sock: socket.socket) -> str:
    """The address of what a socket listens at."""
    host, port = sock.getsockname()[:2]
    return f"{listening.url_of(host, port)}/"
