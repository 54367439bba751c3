"""The connection for appends: like redis-py's own in all but its cost, on both event loops."""

import asyncio
import datetime
import ipaddress
import socket
import ssl
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ingest.batch import Batch
from ingest.errors import WriteUnconfirmed
from ingest.redis_client import connect_async
from ingest.redis_pipeline import RedisPipeline
from ingest.stream.appends import Stream
from ingest.stream.consumer import Consumer
from ingest.stream.keys import Keys
from tests.support.held_redis import held_redis
from tests.support.redis_proxy import RedisProxy, redis_proxy
from tests.support.valkey import valkey

Run = Callable[[Coroutine[Any, Any, None]], None]
OLD_PRIMARY = b"-READONLY You can't write against a read only replica.\r\n"


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    started: Run = request.param
    return started


@pytest.fixture
def proxy(redis_url: str) -> Iterator[RedisProxy]:
    with redis_proxy(redis_url.removeprefix("unix://")) as proxy:
        yield proxy


def test_each_command_gets_its_own_answer(run: Run, redis_url: str) -> None:
    async def scenario() -> None:
        async with connect_async(redis_url) as client:
            pipeline = RedisPipeline(client)
            words = [b"%d" % number * size for number, size in enumerate([1, 70_000, 3, 5_000_000, 2])]
            answers = await asyncio.gather(*(pipeline.execute((b"ECHO", word)) for word in words))
            assert answers == words
            with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
                await pipeline.execute(
                    (b"EVAL", b"redis.call('SET', 'a', 1) return redis.call('XLEN', 'a')", b"0")
                )
            assert await pipeline.execute((b"ECHO", b"after")) == b"after"
            await pipeline.close()

    run(scenario())


def test_it_connects_as_the_url_says(run: Run) -> None:
    async def scenario(url: str) -> None:
        async with connect_async(f"{url}?db=3&password=geheim&client_name=web.1") as client:
            pipeline = RedisPipeline(client)
            assert b"name=web.1 " in await pipeline.execute((b"CLIENT", b"INFO"))
            assert b"db=3 " in await pipeline.execute((b"CLIENT", b"INFO"))
            await pipeline.close()

    with valkey() as server:
        with redis.Redis.from_url(server.url) as admin:
            admin.config_set("requirepass", "geheim")
        run(scenario(server.url))
        with redis.Redis.from_url(f"{server.url}?password=geheim") as admin:
            admin.config_set("requirepass", "")


def test_no_answer_in_time_ends_the_connection_and_all_that_is_under_way(run: Run) -> None:
    async def scenario() -> None:
        async with held_redis() as server, connect_async(server.url) as client:
            stream, told = Stream(client), list[object]()
            opening = asyncio.create_task(stream.append([Batch(b"0", 1)], 5))
            await server.until(1)
            server.answer()
            assert await opening is False
            stream.send(Batch(b"1", 1), 5, told.append)
            stream.send(Batch(b"2", 1), 0.05, told.append)
            stream.send(Batch(b"3", 1), 5, told.append)
            with pytest.raises(WriteUnconfirmed, match="within"):
                await stream.append([Batch(b"4", 1)], 0.05)
            assert [type(one) for one in told] == [WriteUnconfirmed] * 3
            assert not stream.is_open
            opening = asyncio.create_task(stream.append([Batch(b"5", 1)], 5))
            await server.until(1)
            assert server.held[0][-1] == b"5"
            server.answer(b":1\r\n")
            assert await opening is True
            assert server.connections == 2
            await stream.close()

    run(scenario())


def test_a_send_that_is_not_answered_is_noticed_without_any_other(run: Run) -> None:
    async def scenario() -> None:
        async with held_redis() as server, connect_async(server.url) as client:
            stream = Stream(client)
            told = asyncio.get_running_loop().create_future()
            opening = asyncio.create_task(stream.append([Batch(b"0", 1)], 5))
            await server.until(1)
            server.answer()
            await opening
            for seconds in (0.02, 0.05):  # the alarm of the first, which is answered, is not that of the second
                told = asyncio.get_running_loop().create_future()
                stream.send(Batch(b"1", 1), seconds, told.set_result)
                await server.until(1)
                if seconds == 0.02:
                    server.answer()
                    assert await told is False
            assert "0.05 s" in str(await asyncio.wait_for(told, 5))
            await stream.close()

    run(scenario())


def test_a_connection_that_ends_while_nothing_is_under_way_costs_nothing(run: Run, proxy: RedisProxy) -> None:
    async def scenario() -> None:
        async with connect_async(proxy.url) as client:
            pipeline = RedisPipeline(client)
            for _ in range(3):
                assert await pipeline.execute((b"ECHO", b"a")) == b"a"
                proxy.cut()
                async with asyncio.timeout(10):
                    while pipeline.is_open:
                        await asyncio.sleep(0.001)
            await pipeline.close()

    run(scenario())


def test_what_is_under_way_when_the_connection_ends_is_unknown(run: Run) -> None:
    async def scenario() -> None:
        async with held_redis() as server, connect_async(server.url) as client:
            stream = Stream(client)
            writes = [asyncio.create_task(stream.append([Batch(b"%d" % n, 1)], 5)) for n in range(3)]
            await server.until(3)
            server.answer()
            server.cut()
            outcomes = await asyncio.gather(*writes, return_exceptions=True)
            assert [type(one) for one in outcomes] == [bool, WriteUnconfirmed, WriteUnconfirmed]
            await stream.close()

    run(scenario())


def test_whoever_sends_in_the_moment_in_which_it_ends_is_told_once(run: Run) -> None:
    async def scenario() -> None:
        async with held_redis() as server, connect_async(server.url) as client:
            stream = Stream(client)
            for turns in range(12):
                opening = asyncio.create_task(stream.append([Batch(b"0", 1)], 5))
                await server.until(1)
                server.answer()
                await opening
                server.cut()
                told = list[object]()
                sent = 0
                for _ in range(turns):
                    await asyncio.sleep(0)
                while stream.is_open:
                    sent += 1
                    stream.send(Batch(b"1", 1), 5, told.append)
                    await asyncio.sleep(0)
                assert [type(one) for one in told] == [WriteUnconfirmed] * sent
                await server.until(0)
            await stream.close()

    run(scenario())


@pytest.mark.parametrize("nonsense", [b"HTTP/1.1 400 Bad Request\r\n", b"$x\r\n", b":1\r\n" * 9, b"\0\r\n"])
def test_nonsense_ends_the_connection(run: Run, nonsense: bytes) -> None:
    async def scenario() -> None:
        async with held_redis() as server, connect_async(server.url) as client:
            stream = Stream(client)
            for _ in range(2):
                write = asyncio.create_task(stream.append([Batch(b"1", 1)], 5))
                await server.until(1)
                server.say(nonsense)
                with suppress(WriteUnconfirmed):
                    await write
                assert not stream.is_open
                await server.until(0)
            assert server.connections == 2
            await stream.close()

    run(scenario())


def test_several_that_the_wrong_server_refused_are_written_once_by_the_right_one(
    run: Run, proxy: RedisProxy, client: redis.Redis
) -> None:
    async def scenario() -> None:
        async with connect_async(proxy.url) as endpoint:
            stream = Stream(endpoint)
            await endpoint.set("idle", 1)  # a connection of the pool, which leads to the old primary as well
            await stream.append([Batch(b"0", 1)], 5)
            proxy.fail_over(OLD_PRIMARY)
            await asyncio.gather(*(stream.append([Batch(b"%d" % n, 1)], 5) for n in range(1, 6)))
            assert await endpoint.set("idle", 2)
            await stream.close()

    run(scenario())
    entries: Any = client.xrange(Keys().stream)
    assert sorted(fields[b"b"] for _, fields in entries) == [b"%d" % n for n in range(6)]
    assert Consumer(client).counts() == {"accepted": 6}


def test_its_name_is_looked_up_for_each_connection(
    run: Run, redis_url: str, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_up, path = socket.getaddrinfo, redis_url.removeprefix("unix://")
    with redis_proxy(path) as old, redis_proxy(path) as new:
        leads_to = [old.port]

        def looked_up(host: str, port: int, *more: Any, **options: Any) -> Any:
            return look_up("127.0.0.1" if host == "redis.test" else host, leads_to[-1], *more, **options)

        async def scenario() -> None:
            async with connect_async("redis://redis.test:6379/0") as endpoint:
                stream = Stream(endpoint)
                await stream.append([Batch(b"1", 1)], 5)
                leads_to.append(new.port)
                old.mood = lambda _: OLD_PRIMARY
                await stream.append([Batch(b"2", 1)], 5)
                await stream.close()

        monkeypatch.setattr(socket, "getaddrinfo", looked_up)
        asyncio.run(scenario())  # uvloop looks names up by itself
    assert Consumer(client).batches() == 2


def certificate(folder: Path) -> ssl.SSLContext:
    """What a server on 127.0.0.1 shows; `folder/cert.pem` proves it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "redis.test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


def test_it_speaks_tls(run: Run, redis_url: str, tmp_path: Path, client: redis.Redis) -> None:
    open_lines: set[asyncio.StreamWriter] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, RuntimeError):
            while data := await reader.read(65536):
                writer.write(data)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_lines.add(writer)
        upstream_reader, upstream = await asyncio.open_unix_connection(redis_url.removeprefix("unix://"))
        await asyncio.gather(pump(reader, upstream), pump(upstream_reader, writer))

    async def scenario() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=certificate(tmp_path))
        port = server.sockets[0].getsockname()[1]
        async with connect_async(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={tmp_path}/cert.pem") as endpoint:
            stream = Stream(endpoint)
            await stream.append([Batch(b"1", 1)], 5)
            await stream.append([Batch(b"2" * 3_000_000, 1)], 5)
            for writer in open_lines:
                writer.close()
            async with asyncio.timeout(10):
                while stream.is_open:
                    await asyncio.sleep(0.001)
            await stream.append([Batch(b"3", 1)], 5)
            await stream.close()
        server.close()
        async with asyncio.timeout(10):
            while len(asyncio.all_tasks()) > 1:
                await asyncio.sleep(0.001)

    run(scenario())
    assert Consumer(client).batches() == 3
