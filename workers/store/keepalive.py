"""When a database counts as gone that says nothing, as its machine has lost its power or is cut off.

Whoever waits for an answer then sends nothing, and TCP asks after two hours whether anybody is there. The time
limit of a job ends a drain before; but not one that works without rq, nor a comparison, an export or the console.
The machine of a server that is busy answers these questions, however long a statement takes.
"""

import socket

#: Seconds of silence until the other side's machine is asked, between two questions, and how many have no answer.
IDLE, EVERY, TIMES = 30, 10, 3
#: Seconds that what was sent may be on its way without having arrived.
UNCONFIRMED = IDLE + EVERY * TIMES


def watch(sock: socket.socket) -> None:
    """Set this on a connection by TCP, as far as this system has it."""
    if sock.family == socket.AF_UNIX:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    idle = "TCP_KEEPIDLE" if hasattr(socket, "TCP_KEEPIDLE") else "TCP_KEEPALIVE"  # its name on macOS
    for name, value in {
        idle: IDLE,
        "TCP_KEEPINTVL": EVERY,
        "TCP_KEEPCNT": TIMES,
        "TCP_USER_TIMEOUT": UNCONFIRMED * 1000,
    }.items():
        if (option := getattr(socket, name, None)) is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
