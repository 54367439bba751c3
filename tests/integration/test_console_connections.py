"""What strangers can do with the console's connections: over real sockets, as the process listens."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from ingest.console import access, connections, live, server
from ingest.console.app import create
from ingest.console.connections import listening
from ingest.console.listening import bound
from ingest.console.sessions import ABSOLUTE, IDLE, Role, Session
from ingest.errors import SettingsError
from ingest.settings import Settings

PASSWORD = "een-lang-wachtwoord"


class Clock:
    """Stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def app(tmp_path: Path, clock: Clock) -> web.Application:
    environ = {"DATABASE_URL": f"sqlite:///{tmp_path}/none.db", "REDIS_URL": "redis://127.0.0.1:1/0"}
    return create(Settings.read({**environ, "INGEST_CONSOLE_PASSWORD": PASSWORD}), clock=clock)


@pytest.fixture
async def port(app: web.Application) -> AsyncIterator[int]:
    async def told(request: web.Request) -> web.StreamResponse:
        async def events() -> AsyncIterator[tuple[str, str]]:
            for number in range(1000):
                yield "number", str(number)
                await asyncio.sleep(0.01)

        return await live.stream(request, events())

    app.router.add_get("/live/test", told)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    assert runner.server is not None
    with bound("127.0.0.1", 0) as sock:
        async with listening(runner.server, sock):
            yield sock.getsockname()[1]
        await runner.cleanup()


def test_a_console_without_a_port_is_a_mistake() -> None:
    with pytest.raises(SettingsError, match="name one"):
        server.run(Settings.read({"INGEST_CONSOLE_PORT": "off"}))


async def sent(port: int, request: str, eof: bool = False) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request.encode())
    if eof:
        writer.write_eof()
    answer = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    return answer


def head(app: web.Application, port: int, first: str, session: Session, length: int | None = None) -> str:
    cookie = f"ingest-{port}={app[access.SIGNER].cookie(session)}"
    lines = [first, f"Host: 127.0.0.1:{port}", f"Cookie: {cookie}", "Connection: close"]
    if length is not None:
        lines += ["Content-Type: application/x-www-form-urlencoded", f"Content-Length: {length}"]
    return "\r\n".join([*lines, "", ""])


def signed_in() -> Session:
    return Session.new(Role.OPERATOR, time.time())


async def test_half_a_form_is_not_taken_for_a_whole_one(app: web.Application, port: int) -> None:
    session = signed_in()
    form = f"_csrf={app[access.SIGNER].csrf(session, 'operator')}"
    whole = await sent(port, head(app, port, "POST /nothing HTTP/1.1", session, len(form)) + form)
    assert whole.startswith(b"HTTP/1.1 404")
    half = await sent(port, head(app, port, "POST /nothing HTTP/1.1", session, len(form) + 9) + form, eof=True)
    assert half.startswith(b"HTTP/1.1 400")


async def test_a_stream_ends_soon_after_its_session(app: web.Application, port: int) -> None:
    session = signed_in()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head(app, port, "GET /live/test HTTP/1.1", session).encode())
    assert b" 200 " in await reader.readline()
    await reader.readuntil(b"data: 0")
    await app[access.ENDED].add(session)
    assert await asyncio.wait_for(reader.read(), 5) is not None
    writer.close()


@pytest.mark.parametrize(("age", "left"), [(0, IDLE), (ABSOLUTE - 60, 60)], ids=["not used", "too old"])
async def test_a_stream_ends_when_the_time_of_its_session_is_over(
    app: web.Application, port: int, clock: Clock, age: int, left: int
) -> None:
    session = replace(signed_in(), began=int(clock.now) - age, seen=int(clock.now))
    request = head(app, port, "GET /live/test HTTP/1.1", session)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request.encode())
    await reader.readuntil(b"data: 0")
    clock.now += left - 1
    await reader.readuntil(b"event: number")
    clock.now += 1
    await asyncio.wait_for(reader.read(), 20)
    writer.close()
    assert (await sent(port, request)).startswith(b"HTTP/1.1 401")


async def test_who_loads_a_page_again_and_again_has_one_stream(
    app: web.Application, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "MOST_OF_ONE", 1)
    for _ in range(3):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head(app, port, "GET /live/test HTTP/1.1", signed_in()).encode())
        assert b" 200 " in await reader.readline()
        writer.transport.abort()
        await asyncio.sleep(0.02)


async def test_too_long_a_head_is_refused_and_nothing_tells_what_runs_here(port: int) -> None:
    long = await sent(port, f"GET /login HTTP/1.1\r\nHost: a\r\nX: {'x' * 20_000}\r\n\r\n")
    assert b" 400 " in long.split(b"\r\n")[0]
    short = await sent(port, "GET /login HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert b"Server:" not in short
    assert b"aiohttp" not in short


async def test_two_hosts_are_refused(port: int) -> None:
    assert (
        b" 400 "
        in (await sent(port, "GET /login HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n"))[:20]
    )


@pytest.mark.slow
async def test_idle_strangers_make_way(port: int) -> None:
    crowd = [await asyncio.open_connection("127.0.0.1", port) for _ in range(connections.MOST)]
    await asyncio.sleep(1.1)  # those that have only just come stay a moment
    answer = await sent(port, "GET /login HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200")
    for _, writer in crowd:
        writer.close()
