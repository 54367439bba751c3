"""The least that an ASGI application does: a raw RPUSH, and 200 when Redis has confirmed it; or nothing.

PEERS_REDIS in the environment is the path of Redis's socket.
"""

import os
from typing import Any

import redis.asyncio

# As many connections as are of use: without a bound, each call that waits would open one.
pool = redis.asyncio.BlockingConnectionPool(
    connection_class=redis.asyncio.UnixDomainSocketConnection,
    path=os.environ["PEERS_REDIS"],
    max_connections=64,
    timeout=60,
)
client = redis.asyncio.Redis(connection_pool=pool)


async def bare(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Look at nothing and keep nothing."""
    if scope["type"] == "http":
        await _answer(send)


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Keep the body of a POST."""
    if scope["type"] != "http":
        return
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    if scope["method"] == "POST":
        await client.execute_command("RPUSH", "peers", body)
    await _answer(send)


async def _answer(send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})
