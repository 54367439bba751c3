"""Listening for connections, many at once.

uvloop accepts one connection in each round of its loop, and a round takes milliseconds when there is much to do:
the thousandth of those who come at once would wait for seconds. But it does so for each descriptor that it listens
on. So the one socket has several.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager, suppress

from ingest.endpoint.descriptors import listeners
from ingest.endpoint.limits import LISTEN_BACKLOG

#: Seconds that the event loop gets to close its side of a socket.
CLOSE_SECONDS = 0.01


@asynccontextmanager
async def listening(sock: socket.socket, protocol: Callable[[], asyncio.Protocol]) -> AsyncIterator[None]:
    """Accept connections for as long as the block runs, and at its end those that wait to be accepted.

    Args:
        sock: listens already, does not block, and is closed in the end.
        protocol: makes what serves a connection.
    """
    loop = asyncio.get_running_loop()
    with ExitStack() as opened:
        waiting = opened.enter_context(sock.dup())
        servers = []
        for one in (sock, *(sock.dup() for _ in range(listeners() - 1))):
            servers.append(await loop.create_server(protocol, sock=one, backlog=LISTEN_BACKLOG))
        try:
            yield
        finally:
            for server in servers:
                server.close()
            await asyncio.sleep(CLOSE_SECONDS)
            await _accept_rest(waiting, protocol)


async def _accept_rest(sock: socket.socket, protocol: Callable[[], asyncio.Protocol]) -> None:
    """Accept the connections that wait for it: closing the socket would cut them off together with their calls."""
    rest = []
    with suppress(BlockingIOError):
        while True:
            rest.append(sock.accept()[0])
    for connection in rest:
        connection.setblocking(False)
        await asyncio.get_running_loop().connect_accepted_socket(protocol, connection)
