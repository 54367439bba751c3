"""How aiohttp serves what is not a plain call, by what the fast path hands its connection to."""

import asyncio
from collections.abc import Callable
from typing import Any

from aiohttp import web

from ingest.endpoint import heads, limits
from ingest.endpoint.connection import Connection
from ingest.endpoint.connections import Connections

#: How aiohttp treats every connection.
HANDLER_ARGS: dict[str, Any] = {
    "keepalive_timeout": limits.KEEPALIVE,
    "lingering_time": limits.LINGER,
    "max_line_size": heads.TARGET_MAX,
    "max_field_size": heads.HEAD_MAX,
    "max_headers": heads.HEADERS_MAX,
    "auto_decompress": False,
    "access_log": None,
}


def connection_factory(server: web.Server, connections: Connections) -> Callable[[], Connection]:
    """What makes the protocols of aiohttp's connections."""
    loop = asyncio.get_running_loop()
    return lambda: Connection(loop, connections, server, **HANDLER_ARGS)
