"""The network of `make chaos MACHINES=3`: links are cut as real ones are, without a word, and mend themselves."""

import asyncio
import contextlib
import random
import sys
from collections.abc import AsyncIterator, Callable, Coroutine

import pytest

from tests.chaos.network import CUT, OUTSIDE, Network, Weather, between, in_own_network, why_none

#: What is sent back as it came, by a process on a machine.
ECHO = """
import socket
with socket.create_server(("", 7000)) as server:
    print("listening", flush=True)
    connection, _ = server.accept()
    while data := connection.recv(65536):
        connection.sendall(data)
"""
#: Seconds in which nothing comes over a link that is cut.
SILENCE = 0.3

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(why_none()), reason=f"no network of its own: {why_none()}"),
]


class Connected:
    """A network of two machines, on one of which somebody listens; and the way there."""

    def __init__(self, network: Network, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.network = network
        self._reader, self._writer = reader, writer

    async def echoed(self, said: bytes) -> None:
        """Say something, and wait until it came back."""
        self._writer.write(said)
        assert await self._reader.readexactly(len(said)) == said


@contextlib.asynccontextmanager
async def connected() -> AsyncIterator[Connected]:
    network = Network(["one", "two"], random.Random(1))
    await network.open()
    argv = network.inside("two", [sys.executable, "-c", ECHO])
    process = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"listening\n"
        reader, writer = await asyncio.open_connection(network.address("two"), 7000)
        yield Connected(network, reader, writer)
        writer.transport.abort()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        await network.close()


async def what_is_sent_over_a_cut_link_arrives_when_it_is_mended() -> None:
    there = between([OUTSIDE, "one"], "two")
    async with connected() as way:
        await way.echoed(b"before")
        await way.network.turn(there, CUT)
        said = asyncio.create_task(way.echoed(b"meanwhile"))
        while not way.network.packets["lost"]:
            await asyncio.sleep(0.01)
        await asyncio.sleep(SILENCE)
        assert not said.done()  # neither an answer nor an error
        await way.network.turn_back(there, CUT)
        await said


async def nothing_of_a_bad_link_is_missing_or_twice() -> None:
    there = between([OUTSIDE, "one"], "two")
    async with connected() as way:
        for weather in (Weather(lost=0.2), Weather(takes=(0.0, 0.05)), Weather(takes=(0.02, 0.02), width=1e6)):
            await way.network.turn(there, weather)
            for number in range(5):
                await way.echoed(b"%d" % number * 2000)
            await way.network.turn_back(there, weather)


@pytest.mark.parametrize(
    "what",
    [what_is_sent_over_a_cut_link_arrives_when_it_is_mended, nothing_of_a_bad_link_is_missing_or_twice],
    ids=["cut", "bad"],
)
def test_packets_arrive_as_links_let_them(what: Callable[[], Coroutine[object, object, None]]) -> None:
    in_own_network(what)
