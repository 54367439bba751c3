"""Who sends much is read in turns, so that a round of the event loop stays short."""

import asyncio
import socket
from collections import Counter
from contextlib import ExitStack, suppress
from typing import Any

import pytest
import uvloop
from aiohttp import web

from ingest.endpoint.connection import Connection
from ingest.endpoint.connections import Connections, TurnedAway
from ingest.endpoint.fallback import HANDLER_ARGS
from ingest.endpoint.memory import Memory
from ingest.endpoint.turns import TOGETHER

SENDERS = 16
SIZE = 4 * 1024 * 1024
#: Bytes that have to be read before it can be said who was.
ENOUGH = SENDERS * SIZE // 4
HEAD = b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % SIZE


class Rounds:
    """Counts, by round of the event loop, who is read in it, first reads aside."""

    def __init__(self) -> None:
        self.reads: Counter[int] = Counter()
        self.read = 0
        self._round = 0
        self._seen: set[object] = set()
        self._tick()

    def _tick(self) -> None:
        self._round += 1
        asyncio.get_running_loop().call_soon(self._tick)

    def note(self, protocol: object, size: int) -> None:
        self.read += size
        if size and protocol in self._seen:
            self.reads[self._round] += 1
        self._seen.add(protocol)


async def swallow(request: web.BaseRequest) -> web.Response:
    with suppress(ConnectionError):
        async for _ in request.content.iter_any():
            pass
    return web.Response()


async def send_all(port: int, rounds: Rounds) -> None:
    loop = asyncio.get_running_loop()
    with ExitStack() as opened:
        senders = [opened.enter_context(socket.socket()) for _ in range(SENDERS)]
        for sender in senders:
            sender.setblocking(False)
            await loop.sock_connect(sender, ("127.0.0.1", port))
        data = HEAD + bytes(SIZE)
        await asyncio.gather(*(loop.sock_sendall(sender, data) for sender in senders), return_exceptions=True)
        while rounds.read < ENOUGH:
            await asyncio.sleep(0)


@pytest.mark.parametrize("turned_away", [False, True])
def test_no_more_than_a_few_are_read_in_a_round(turned_away: bool) -> None:
    async def run() -> Rounds:
        rounds, connections = Rounds(), Connections(SENDERS, Memory())
        loop = asyncio.get_running_loop()
        away: list[asyncio.Transport] = []

        class Counted(Connection):
            def data_received(self, data: bytes) -> None:
                rounds.note(self, len(data))
                super().data_received(data)

        class CountedAway(TurnedAway):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                super().connection_made(transport)
                away.append(self._transport)

            def data_received(self, data: bytes) -> None:
                rounds.note(self, len(data))
                super().data_received(data)

        def protocol() -> Any:
            if turned_away:
                return CountedAway(connections.turns)
            return Counted(loop, connections, handler, **HANDLER_ARGS)

        handler = web.Server(swallow)
        server = await loop.create_server(protocol, "127.0.0.1", 0)
        await send_all(server.sockets[0].getsockname()[1], rounds)
        server.close()
        connections.abort()
        for one in away:
            one.abort()
        await asyncio.sleep(0.01)
        return rounds

    rounds = uvloop.run(run())
    assert max(rounds.reads.values()) <= TOGETHER
