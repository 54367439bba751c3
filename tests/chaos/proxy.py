"""A wire between two parts that can misbehave: a TCP proxy on the loopback address.

delay             every chunk is late
slow              a thin link far away: everything takes its time, the more the longer
lossy             now and then something is lost and sent again, and all behind it waits for that
cut               connections are cut off again and again, in the middle of what is being said
swallow replies   requests arrive, answers do not: the caller cannot know
swallow requests  nothing arrives, and nobody says so
half-close        the server's side has said its last word, the caller's goes on
refuse            nobody listens
deaf              connections stand, but nobody is there
"""

import asyncio
import random
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass, field

CHUNK = 64 * 1024
#: Seconds between two cuts.
CUT_EVERY = 0.3
#: How many of the chunks are cut off in their middle, too.
CUT_SHARE = 0.2
#: What does not come through.
SWALLOWED = {"swallow replies": ("reply",), "swallow requests": ("request",), "deaf": ("request", "reply")}
#: Seconds that a late chunk is late, from and to.
LATE = (0.01, 1.0)
#: A slow link: seconds that everything takes, and bytes a second.
FAR, THIN = 0.04, 128 * 1024
#: A lossy one: the share of chunks that are lost, and seconds until one is sent again, doubled each time.
LOST, SENT_AGAIN = 0.05, 0.2
#: Closing with this socket option sends a reset, as a crashed machine's successor does.
RESET = struct.pack("ii", 1, 0)


@dataclass
class Proxy:
    """Passes on what comes in at a port to a server's port or Unix socket."""

    upstream: int | str
    chance: random.Random
    port: int = 0
    how: str = ""
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _spoiled: set[asyncio.StreamWriter] = field(default_factory=set)
    _cutter: "asyncio.Task[None] | None" = None

    async def open(self) -> None:
        """Listen; at the same port as before, if there was one."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """End it and every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self._reset(self._writers)

    async def misbehave(self, how: str) -> None:
        """From now on."""
        self.how = how
        if how == "refuse":
            await self.close()
        elif how == "cut":
            self._cutter = asyncio.create_task(self._cut())

    async def behave(self) -> None:
        """Be a good wire again; connections on which something is missing are cut off."""
        how, self.how = self.how, ""
        if self._cutter is not None:
            self._cutter.cancel()
            self._cutter = None
        if how == "refuse":
            await self.open()
        self._reset(self._spoiled)

    async def _cut(self) -> None:
        while True:
            self._reset(self._writers)
            await asyncio.sleep(CUT_EVERY)

    def _reset(self, writers: set[asyncio.StreamWriter]) -> None:
        for writer in list(writers):
            sock = writer.get_extra_info("socket")
            if sock is not None and sock.family == socket.AF_INET:
                with suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            writer.transport.abort()
        writers.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        while self.how == "deaf":
            await asyncio.sleep(0.05)
        try:
            if isinstance(self.upstream, str):
                server, to_server = await asyncio.open_unix_connection(self.upstream, limit=CHUNK)
            else:
                server, to_server = await asyncio.open_connection("127.0.0.1", self.upstream, limit=CHUNK)
        except OSError:
            self._reset({writer})
            self._writers.discard(writer)
            return
        self._writers.add(to_server)
        ways = [self._pass(reader, to_server, "request"), self._pass(server, writer, "reply")]
        await asyncio.gather(*ways, return_exceptions=True)
        for end in (writer, to_server):
            end.transport.abort()
            self._writers.discard(end)
            self._spoiled.discard(end)

    async def _travel(self, size: int) -> None:
        """As long as a chunk takes on its way."""
        if self.how == "delay":
            await asyncio.sleep(self.chance.uniform(*LATE))
        elif self.how == "slow":
            await asyncio.sleep(FAR + size / THIN)
        elif self.how == "lossy":
            again = SENT_AGAIN
            while self.chance.random() < LOST:
                await asyncio.sleep(again)
                again *= 2

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, what: str) -> None:
        """One direction, until its sender has said its last word or the wire is cut."""
        try:
            while data := await reader.read(CHUNK):
                await self._travel(len(data))
                if what in SWALLOWED.get(self.how, ()):
                    self._spoiled.add(writer)
                elif self.how == "half-close" and what == "reply":
                    writer.write(data[: len(data) // 2])
                    self._spoiled.add(writer)
                    break
                elif self.how == "cut" and self.chance.random() < CUT_SHARE:
                    writer.write(data[: len(data) // 2])
                    await writer.drain()
                    self._reset({writer})
                else:
                    writer.write(data)
                    await writer.drain()
            if not writer.transport.is_closing():
                writer.write_eof()
        except OSError:
            writer.transport.abort()
