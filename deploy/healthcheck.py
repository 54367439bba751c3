"""The image's health check: whether the endpoint in this container is alive; other parts have nothing to ask.

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
#: The commands that listen at HOST and PORT.
LISTENING = ("serve", "all")
#: What HOST may be where the endpoint listens at all addresses.
EVERYWHERE = ("", "0.0.0.0", "::")


def exit_code(words: list[str], host: str, port: int) -> int:
    """0: healthy, 1: not; for a container whose process 1 has this command line."""
    if not any(word in LISTENING for word in words):
        return 0
    connection = HTTPConnection("127.0.0.1" if host in EVERYWHERE else host, port, timeout=TIMEOUT)
    try:
        connection.request("GET", "/healthz")
        return 0 if connection.getresponse().status == 200 else 1
    except (OSError, HTTPException) as error:
        print(f"no answer from the endpoint: {error}")
        return 1
    finally:
        connection.close()


if __name__ == "__main__":
    command_line = Path("/proc/1/cmdline").read_bytes().decode(errors="replace")
    place = os.environ.get("HOST", ""), int(os.environ.get("PORT", "8000"))
    sys.exit(exit_code(command_line.split("\0"), *place))
