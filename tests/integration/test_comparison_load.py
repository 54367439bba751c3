"""The sender of `make bench-peers`, against a server of a few lines."""

import asyncio

import pytest

from tests.benchmarks.peers.load import Ask, Load

REQUEST = b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"


class Server(asyncio.Protocol):
    """Answers each request; every hundredth with an error, every other hundredth not at all."""

    calls = open = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        Server.open += 1

    def connection_lost(self, exc: Exception | None) -> None:
        Server.open -= 1

    def data_received(self, data: bytes) -> None:
        assert data == REQUEST
        Server.calls += 1
        if Server.calls % 100 == 50:
            self._transport.close()
            return
        status = b"503 X" if Server.calls % 100 == 0 else b"200 OK"
        self._transport.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\n\r\nok")


@pytest.mark.parametrize("keep_alive", [True, False])
@pytest.mark.parametrize("rate", [0.0, 4000.0])
async def test_every_call_is_counted_as_answered_or_failed(keep_alive: bool, rate: float) -> None:
    Server.calls = 0
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        sent = await asyncio.to_thread(Load(Ask(port, "POST", "/", keep_alive, 8, 0.1, rate), [REQUEST]).run)
        while Server.open:  # until it has seen that all have left
            await asyncio.sleep(0.01)
    assert sent.answered + sent.failed == Server.calls
    assert sent.failed == Server.calls // 50
    assert sent.answered <= sent.due
