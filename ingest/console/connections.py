"""The console's connections: bounded, and with the deadlines of the endpoint's, which aiohttp lacks.

A head has to arrive within 10 s and be 16 KiB at most, and an answer has to be fetched. Where there are too many,
those go first that are idle or do not come to their end.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from socket import socket

from aiohttp import web

from ingest.endpoint.connections import Connections, TurnedAway
from ingest.endpoint.fallback import connection_factory
from ingest.endpoint.memory import Memory

#: Connections at the same time: browsers open six each.
MOST = 400


@asynccontextmanager
async def listening(server: web.Server, sock: socket) -> AsyncIterator[Connections]:
    """Serve a socket's connections for as long as the block runs; those under way are not waited for."""
    connections = Connections(MOST, Memory())
    served = connection_factory(server, connections)

    def accept() -> asyncio.BaseProtocol:
        return served() if connections.has_place() else TurnedAway(connections.turns)

    watch = asyncio.create_task(connections.watch())
    listener = await asyncio.get_running_loop().create_server(accept, sock=sock)
    try:
        yield connections
    finally:
        listener.close()
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
        connections.close_idle()
