"""What is read of aiohttp's inside still means what `ingest.endpoint.aiohttp_compat` takes it to mean."""

import asyncio

from aiohttp import web

from ingest.endpoint import aiohttp_compat as compat
from ingest.endpoint.connection import Connection
from ingest.endpoint.connections import Connections
from ingest.endpoint.fallback import HANDLER_ARGS
from ingest.endpoint.memory import Memory

HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n"


class Transport(asyncio.Transport):
    def write(self, data: bytes | bytearray | memoryview) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def close(self) -> None:
        pass


async def test_the_state_of_a_connection_follows_its_request() -> None:
    handling, answer = asyncio.Event(), asyncio.Event()

    async def handler(_request: web.BaseRequest) -> web.Response:
        handling.set()
        await answer.wait()
        return web.Response()

    server = web.Server(handler)
    connection = Connection(asyncio.get_running_loop(), Connections(9, Memory()), server, **HANDLER_ARGS)
    connection.connection_made(Transport())
    async with asyncio.timeout(5):
        assert (compat.heads_parsed(connection), compat.newest_body(connection)) == (0, None)

        connection.data_received(HEAD)
        body = compat.newest_body(connection)
        assert compat.heads_parsed(connection) == 1
        assert body is not None
        assert not body.is_eof()
        assert connection.at_work

        await handling.wait()
        assert compat.newest_body(connection) is None
        connection.data_received(b"a=b")
        assert body.is_eof()

        answer.set()
        while compat.heads_parsed(connection) == 1:
            connection.data_received(HEAD)  # the next one is parsed when the first is answered
            await asyncio.sleep(0)
    connection.connection_lost(None)
    await server.shutdown()
