"""Those who come at once are let in at once."""

import asyncio
import socket
from collections import Counter
from contextlib import ExitStack

import uvloop

from ingest.endpoint.listening import listening

MANY = 160


def test_many_connections_are_accepted_in_a_few_rounds_of_the_event_loop() -> None:
    accepted: Counter[int] = Counter()

    async def run() -> None:
        loop, rounds = asyncio.get_running_loop(), 0

        def tick() -> None:
            nonlocal rounds
            rounds += 1
            loop.call_soon(tick)

        class Noted(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                accepted[rounds] += 1
                transport.close()

        with ExitStack() as opened:
            sock = socket.create_server(("127.0.0.1", 0), backlog=MANY)
            sock.setblocking(False)
            for _ in range(MANY):
                opened.enter_context(socket.create_connection(sock.getsockname()))
            async with listening(sock, Noted):
                tick()
                while accepted.total() < MANY:
                    await asyncio.sleep(0)

    uvloop.run(run())
    assert len(accepted) <= MANY // 8
