"""Servers that have just not answered, in a process that looks: a command, the console.

A server that hangs is worse than one that is down: each question to it takes its whole time-out, and `ingest
status` asks a dozen. In a process that has called `ask_once`, a server that let one question time out is not asked
over a new connection for `SILENT_FOR`; what is asked all the same fails at once, in the same words. Endpoints and
workers do not call it: they have breakers of their own, and go on asking.
"""

import time
from typing import Any

#: Seconds for which a server is not asked again: longer than a command takes, not longer than a page is looked at.
SILENT_FOR = 10.0

_is_on = False
#: When each server last let a question time out (monotonic seconds), and the error.
_silent: dict[object, tuple[float, Exception]] = {}


def ask_once() -> None:
    """From now on, ask a server that does not answer once, and not again for a while."""
    global _is_on  # noqa: PLW0603  # how a process is, not who calls
    _is_on = True


def ask_always() -> None:
    """Ask each time."""
    global _is_on  # noqa: PLW0603
    _is_on = False
    _silent.clear()


def note(connection: Any, error: Exception) -> None:
    """A server let a question time out."""
    if _is_on:
        _silent[_server(connection)] = time.monotonic(), error


def require(connection: Any) -> None:
    """Before a connection is made.

    Raises:
        redis.TimeoutError: its server has just not answered.
    """
    at, error = _silent.get(_server(connection), (0.0, None))
    if _is_on and error is not None and time.monotonic() - at < SILENT_FOR:
        raise type(error)(str(error))


def _server(connection: Any) -> object:
    return getattr(connection, "path", None) or (
        getattr(connection, "host", None),
        getattr(connection, "port", None),
    )
