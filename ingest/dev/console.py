"""The console beside the other parts: they never depend on it, so whatever is wrong with it is said, once.

It starts when it is opened first: it is the largest part, and most of the time nobody looks.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import NamedTuple

from ingest.console.listening import address, bound
from ingest.console.rules import Rules
from ingest.dev.parts import Output
from ingest.errors import AddressInUse, IngestError
from ingest.processes import Child, own_command
from ingest.settings import Settings

#: What the extra `console` brings.
EXTRA = ("jinja2", "babel")
#: Ports that are tried where the usual one is in use and none was asked for: one `ingest dev` runs beside another.
TRIES = 10


class Console(NamedTuple):
    """The child that is the console, if there is one; and its address, or why there is none."""

    children: list[Child]
    said: str


@contextmanager
def prepared(settings: Settings, environ: dict[str, str], output: Output | None = None) -> Iterator[Console]:
    """The console, for `watch` to start when it is opened; its port is kept for as long as the block runs."""
    if settings.console_port is None:
        yield Console([], "off, as INGEST_CONSOLE_PORT says")
        return
    if not all(map(find_spec, EXTRA)):
        yield Console([], "none: pip install 'copernica-ingest[console]'")
        return
    try:
        Rules.of(settings)
        sock = _listening(settings, settings.console_port)
    except IngestError as error:
        yield Console([], f"none: {error}")
        return
    with sock:
        sock.set_inheritable(True)
        command = own_command("console", "--listening", str(sock.fileno()))
        child = Child(
            "console",
            command,
            environ,
            [sock.fileno()],
            output,
            own_session=True,
            dispensable=True,
            on_demand=sock,
        )
        yield Console([child], address(sock))


def needs_signing_in(settings: Settings) -> bool:
    """Whether people have to say who they are before they see the console."""
    return any((settings.console_password, settings.console_read_password, settings.console_auth_header))


def _listening(settings: Settings, port: int) -> socket.socket:
    """The console's socket, at the port that was asked for or else the first free one from the usual one on."""
    ports = [port] if "console_port" in settings.model_fields_set else range(port, port + TRIES)
    for tried in ports:
        try:
            return bound(settings.console_host, tried)
        except AddressInUse as error:
            taken = error
    raise taken
