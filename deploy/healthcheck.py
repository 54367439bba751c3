"""The image's health check: whether the endpoint or console in it is alive; other parts have nothing to ask.

A worker that runs is as healthy as can be told from outside: when it cannot go on it ends, and is started again.
It must not be called unhealthy, or Docker Swarm and others would end it. Only the standard library is used, as
this runs every ten seconds.
"""

import os
import sys
from http.client import HTTPConnection, HTTPException
from pathlib import Path

#: Seconds for the whole answer; the endpoint gives it from memory.
TIMEOUT = 2.5
#: The commands that listen, each with the names of its host and port, and the port if that is not set.
LISTENING = {
    "serve": ("HOST", "PORT", 8000),
    "all": ("HOST", "PORT", 8000),
    "console": ("INGEST_CONSOLE_HOST", "INGEST_CONSOLE_PORT", 8001),
}
#: What a host may be where somebody listens at all addresses.
EVERYWHERE = ("", "0.0.0.0", "::")


def command(words: list[str]) -> str | None:
    """Which of the commands that listen a command line is, if it is one."""
    return next((word for word in words if word in LISTENING), None)


def exit_code(words: list[str], host: str, port: int) -> int:
    """0: healthy, 1: not; for a container whose process 1 has this command line."""
    if command(words) is None:
        return 0
    connection = HTTPConnection("127.0.0.1" if host in EVERYWHERE else host, port, timeout=TIMEOUT)
    try:
        connection.request("GET", "/healthz")
        return 0 if connection.getresponse().status == 200 else 1
    except (OSError, HTTPException) as error:
        print(f"no answer from `ingest {command(words)}`: {error}")
        return 1
    finally:
        connection.close()


if __name__ == "__main__":
    command_line = Path("/proc/1/cmdline").read_bytes().decode(errors="replace").split("\0")
    host, port, usual = LISTENING[command(command_line) or "serve"]
    sys.exit(exit_code(command_line, os.environ.get(host, ""), int(os.environ.get(port) or usual)))
