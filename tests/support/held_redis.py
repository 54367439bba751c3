"""A server that takes commands, tells what they were, and answers EVAL when the test wants it."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import hiredis


class HeldRedis:
    """Listens on the loopback address; one at a time may be connected."""

    def __init__(self) -> None:
        self.port = 0
        #: The arguments of each EVAL that has arrived and is not answered.
        self.held: deque[list[bytes]] = deque()
        #: How many have connected.
        self.connections = 0
        self._writer: asyncio.StreamWriter | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writer = writer
        commands = hiredis.Reader(notEnoughData=Ellipsis)
        while data := await reader.read(65536):
            commands.feed(data)
            while (command := commands.gets()) is not Ellipsis:
                if command[0].upper() == b"EVAL":
                    self.held.append(command)
                else:
                    writer.write(b"+OK\r\n")
        self.held.clear()
        writer.close()

    def answer(self, said: bytes = b":0\r\n") -> None:
        """Answer the oldest EVAL."""
        self.held.popleft()
        self.say(said)

    def say(self, said: bytes) -> None:
        assert self._writer is not None
        self._writer.write(said)

    def cut(self) -> None:
        """End the connection."""
        assert self._writer is not None
        self._writer.close()

    async def until(self, held: int) -> None:
        """Wait until so many are held."""
        async with asyncio.timeout(10):
            while len(self.held) != held:
                await asyncio.sleep(0)


@asynccontextmanager
async def held_redis() -> AsyncIterator[HeldRedis]:
    held = HeldRedis()
    server = await asyncio.start_server(held.serve, "127.0.0.1", 0)
    held.port = server.sockets[0].getsockname()[1]
    try:
        yield held
    finally:
        server.close()
