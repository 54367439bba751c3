"""The endpoint inside an aiohttp application of somebody else."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import redis
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.typedefs import Handler

from ingest import testing
from ingest.endpoint import spool_replay
from ingest.endpoint.mounting import mount, readyz
from ingest.errors import SettingsError
from ingest.testing import SimulatedCopernica
from tests.support.dnsserver import Behaviour, DnsServer
from tests.support.stream import records

CLICK = testing.click()
Client = TestClient[web.Request, web.Application]
Start = Callable[..., Awaitable[Client]]


@pytest.fixture
def environ(redis_url: str, tmp_path: Path, simulated_copernica: SimulatedCopernica) -> dict[str, str]:
    return {"REDIS_URL": redis_url, "INGEST_SPOOL_DIR": str(tmp_path / "spool"), **simulated_copernica.environ}


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Start an application; it is stopped when the test is over."""
    clients: list[Client] = []

    async def started(app: web.Application) -> Client:
        client = TestClient(TestServer(app))
        clients.append(client)
        await client.start_server()
        return client

    yield started
    for client in clients:
        await client.close()


async def hello(_request: web.Request) -> web.Response:
    return web.Response(text="hello")


async def send(client: Client, copernica: SimulatedCopernica, path: str = "/copernica/x?a=1") -> int:
    call = copernica.signed(str(client.make_url(path)), CLICK)
    async with client.post(path, data=call.body, headers=call.headers) as answer:
        return answer.status


def app_with(environ: dict[str, str], *middlewares: object) -> web.Application:
    app = web.Application(middlewares=middlewares)  # type: ignore[arg-type]
    app.router.add_get("/", hello)
    mount(app, environ)
    return app


async def test_calls_are_kept_beside_the_pages_of_the_application(
    start: Start, environ: dict[str, str], simulated_copernica: SimulatedCopernica, client: redis.Redis
) -> None:
    before = asyncio.all_tasks()
    served = await start(app_with(environ | {"INGEST_MAX_BODY": "2000"}))
    assert await send(served, simulated_copernica) == 200
    (record,) = records(client)
    assert record.target == b"/copernica/x?a=1"
    async with served.get("/") as answer:
        assert await answer.text() == "hello"
    for answered, status in (
        (served.get("/copernica"), 200),
        (served.put("/copernica"), 405),
        (served.post("/copernica", data=b"type=open"), 401),
        (served.post("/elsewhere"), 404),
        (served.post("/copernica", data=gzip.compress(b"x"), headers={"Content-Encoding": "gzip"}), 415),
        (served.post("/copernica", data=b"x" * 3000, headers={"Expect": "100-continue"}), 413),
    ):
        async with answered as answer:
            assert answer.status == status
    connected = len(client.client_list())
    await served.close()
    assert len(client.client_list()) < connected
    assert asyncio.all_tasks() == before


async def test_the_path_that_counts_is_the_one_that_was_called(
    start: Start, environ: dict[str, str], simulated_copernica: SimulatedCopernica, client: redis.Redis
) -> None:
    outer = web.Application()
    outer.add_subapp("/hooks", app_with(environ))
    assert await send(await start(outer), simulated_copernica, "/hooks/copernica") == 200
    assert [record.target for record in records(client)] == [b"/hooks/copernica"]


async def test_without_redis_calls_go_to_the_spool(
    start: Start, environ: dict[str, str], simulated_copernica: SimulatedCopernica, tmp_path: Path
) -> None:
    served = await start(app_with(environ | {"REDIS_URL": "redis://127.0.0.1:1"}))
    assert await send(served, simulated_copernica) == 200
    assert list((tmp_path / "spool").glob("*.spool"))


async def test_readyz_of_the_application_says_what_may_cost_calls(
    start: Start, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_replay, "CONDITION_INTERVAL", 0.0)
    with DnsServer(Behaviour.SERVFAIL) as dns:
        host, port = dns.address
        app = app_with(environ | {"INGEST_KEYS": "dns", "INGEST_DNS_SERVERS": f"{host}:{port}"})
        app.router.add_get("/readyz", readyz)
        served = await start(app)
        async with asyncio.timeout(30):
            while True:
                async with served.get("/readyz") as answer:
                    if "dns-silent" in (await answer.json())["codes"]:
                        break


async def test_readyz_of_an_application_that_keeps_no_calls_is_503(start: Start, environ: dict[str, str]) -> None:
    app = app_with(environ | {"REDIS_URL": "redis://127.0.0.1:1", "INGEST_SPOOL_DIR": ""})
    app.router.add_get("/readyz", readyz)
    async with (await start(app)).get("/readyz") as answer:
        assert answer.status == 503


@web.middleware
async def reads(request: web.Request, handler: Handler) -> web.StreamResponse:
    await request.read()
    return await handler(request)


@web.middleware
async def posts(request: web.Request, handler: Handler) -> web.StreamResponse:
    await request.post()
    return await handler(request)


@web.middleware
async def takes(request: web.Request, handler: Handler) -> web.StreamResponse:
    await request.content.read()
    return await handler(request)


@pytest.mark.parametrize("middleware", [reads, posts])
async def test_a_body_that_a_middleware_has_read_is_kept(
    start: Start, environ: dict[str, str], simulated_copernica: SimulatedCopernica, middleware: Handler
) -> None:
    assert await send(await start(app_with(environ, middleware)), simulated_copernica) == 200


async def test_a_body_that_a_middleware_has_taken_is_told_of_in_the_log(
    start: Start,
    environ: dict[str, str],
    simulated_copernica: SimulatedCopernica,
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert await send(await start(app_with(environ, takes)), simulated_copernica) == 500
    assert "a middleware of your application takes the body" in caplog.text


def test_what_cannot_be_mounted_is_said_before_the_application_starts(environ: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="INGEST_ACCOUNTS is not set"):
        mount(web.Application(), {})
    app = app_with(environ)
    with pytest.raises(SettingsError, match="mount the endpoint once"):
        mount(app, environ)
