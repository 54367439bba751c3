"""A socket for what is shown beside the endpoint: metrics, the console. It imports little, so that parents may."""

import errno
import socket
from typing import NamedTuple

from ingest.errors import AddressInUse, SettingsError

#: What stands for all addresses of a machine, each with one that leads there from this machine.
ANY = {"*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # to connect to, not to listen at


def url_of(host: str, port: int) -> str:
    """How the URL of what listens at an address begins."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def host_from_here(host: str) -> str:
    """Where to connect, on this machine, to what listens at an address."""
    return ANY.get(host, host)


def url_from_here(host: str, port: int) -> str:
    """How a URL begins that leads there from this machine: none leads to all of its addresses."""
    return url_of(host_from_here(host), port)


class Shown(NamedTuple):
    """What is shown, and the settings that say where."""

    what: str
    host_setting: str
    port_setting: str


def bound(host: str, port: int, shown: Shown) -> socket.socket:
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
        raise SettingsError(
            f"{shown.host_setting}={host!r} cannot be used: {error.strerror}; name an address of this machine."
        ) from None
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(place)
        sock.listen()
    except OSError as error:
        sock.close()
        failed = f"Cannot show {shown.what} at {host} port {port} ({error.strerror})"
        if error.errno != errno.EADDRINUSE:
            raise SettingsError(f"{failed}: set another {shown.host_setting} or {shown.port_setting}.") from None
        raise AddressInUse(f"{failed}: stop what uses it, or choose another {shown.port_setting}.") from None
    return sock
