"""Both ways into the endpoint, open in this process at two ports, onto one real Redis."""

import asyncio
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import redis
import uvloop
from aiohttp import web

from ingest import redis_client
from ingest.batch import Record
from ingest.endpoint.app import create_app
from ingest.endpoint.connections import Connections
from ingest.endpoint.fallback import connection_factory
from ingest.endpoint.fast_path import FastPath
from ingest.endpoint.intake import Intake
from ingest.endpoint.spool_replay import SpoolReplayer
from ingest.endpoint.validation_files import ValidationFiles
from ingest.stream.appends import Stream
from ingest.stream.keys import Keys
from ingest.stream.producer import Producer
from ingest.verification import Verifier
from tests.support.stream import records


@dataclass
class Ways:
    """`fast` is the port of the fast path, `plain` that of aiohttp."""

    fast: int
    plain: int
    client: redis.Redis
    connections: Connections
    intake: Intake

    @property
    def refused(self) -> Counter[int]:
        """How many requests never became a call, by the status of their answer."""
        return self.intake.refused + self.connections.refused

    def records(self) -> list[Record]:
        """What was kept since the last look."""
        kept = records(self.client)
        self.client.delete(Keys().stream)
        return kept

    def kept(self) -> list[tuple[bytes, bytes, bytes]]:
        """Of these, target, content type and body."""
        return [(record.target, record.content_type, record.body) for record in self.records()]


@contextmanager
def both_ways(
    redis_url: str,
    max_body: int,
    verifier: Verifier | None = None,
    limit: int = 100,
    files: ValidationFiles | None = None,
) -> Iterator[Ways]:
    started: list[Ways] = []
    ready = threading.Event()
    loop = uvloop.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        client = redis_client.connect_async(redis_url)
        appender = Producer([Stream(client)], lambda: None)
        take = Intake(appender, max_body, verifier, keep_headers=verifier is not None)
        app = create_app(take, SpoolReplayer(appender), "/copernica", files)
        runner = web.AppRunner(app, shutdown_timeout=1.0)
        await runner.setup()
        assert runner.server is not None
        connections = Connections(limit, take.memory)
        plain = connection_factory(runner.server, connections)
        fast = FastPath(take, "/copernica", plain, connections)
        sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
        for sock in sockets:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # for answers that are not fetched
        servers = [
            await loop.create_server(fast, sock=sockets[0]),
            await loop.create_server(plain, sock=sockets[1]),
        ]
        fast_port, plain_port = (sock.getsockname()[1] for sock in sockets)
        started.append(Ways(fast_port, plain_port, redis_client.connect(redis_url), connections, take))
        watch = asyncio.create_task(connections.watch())
        ready.set()
        await stop.wait()
        watch.cancel()
        for server in servers:
            server.close()
        connections.abort()
        await runner.cleanup()
        await appender.close()
        await client.aclose()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert ready.wait(5)
    try:
        yield started[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(5)
        loop.close()
        started[0].client.close()
