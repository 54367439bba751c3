"""Where the console listens. It imports little: `ingest dev` opens the socket, and never serves it itself."""

import socket

from ingest.errors import AddressInUse, SettingsError


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


def address(sock: socket.socket) -> str:
    """The address of what a socket listens at."""
    host, port = sock.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"
