"""Connections that end when the server at their other end turns out to be the wrong one.

After a fail-over the old primary often keeps its connections and serves on as a read-only replica. redis-py keeps
such a connection, since it works; here it is closed once the answer has been read, with all that lie idle in its
pool, and the next command opens one by the name in the URL, which is looked up anew. rq's scheduler makes a pool
of its own of the same connections.
"""

import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import redis.asyncio.connection as asyncio_connection
import redis.connection as blocking_connection
from redis import RedisError, ResponseError
from redis.exceptions import InvalidResponse

from ingest.redis_errors import is_wrong_server

#: What redis-py and hiredis raise for what no server says, such as an error that cannot be taken apart.
UNREADABLE = (ValueError, TypeError, LookupError)


class _Leaving:
    """A blocking connection that is left after an answer of the wrong server."""

    pool: Callable[[], Any]

    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        """Read one answer; the pool closes the connection once all answers have been read."""
        try:
            return super().read_response(*args, **kwargs)  # type: ignore[misc]
        except ResponseError as error:
            if pool := _pool_to_leave(self, error):
                pool.disconnect(inuse_connections=False)
            raise
        except UNREADABLE as error:
            raise InvalidResponse(f"not an answer of Redis ({error})") from None


class _LeavingAsync:
    """The same for asyncio."""

    pool: Callable[[], Any]

    async def read_response(self, *args: Any, **kwargs: Any) -> Any:
        """Read one answer; the pool closes the connection once all answers have been read."""
        try:
            return await super().read_response(*args, **kwargs)  # type: ignore[misc]
        except ResponseError as error:
            if pool := _pool_to_leave(self, error):
                with suppress(RedisError, OSError):  # one that cannot be closed is of no use to anybody
                    await pool.disconnect(inuse_connections=False)
            raise
        except UNREADABLE as error:
            raise InvalidResponse(f"not an answer of Redis ({error})") from None


def _pool_to_leave(connection: Any, error: ResponseError) -> Any:
    """Mark a connection to the wrong server, and give its pool, of which the idle ones lead there as well."""
    if not is_wrong_server(error):
        return None
    connection.mark_for_reconnect()
    return connection.pool()


class Connection(_Leaving, blocking_connection.Connection):
    """Over TCP."""


class SSLConnection(_Leaving, blocking_connection.SSLConnection):
    """Over TLS."""


class UnixDomainSocketConnection(_Leaving, blocking_connection.UnixDomainSocketConnection):
    """Over a Unix socket."""


class AsyncConnection(_LeavingAsync, asyncio_connection.Connection):
    """Over TCP, for asyncio."""


class AsyncSSLConnection(_LeavingAsync, asyncio_connection.SSLConnection):
    """Over TLS, for asyncio."""


class AsyncUnixDomainSocketConnection(_LeavingAsync, asyncio_connection.UnixDomainSocketConnection):
    """Over a Unix socket, for asyncio."""


_OURS: dict[type, type] = {
    kind.__bases__[1]: kind
    for kind in (
        Connection,
        SSLConnection,
        UnixDomainSocketConnection,
        AsyncConnection,
        AsyncSSLConnection,
        AsyncUnixDomainSocketConnection,
    )
}


def leave_wrong_servers(pool: Any) -> None:
    """Have a pool of redis-py, which has no connection yet, make connections of this kind."""
    ours = _OURS[pool.connection_class]
    # A class for each pool: rq's scheduler takes over the class of a pool, and its arguments.
    pool.connection_class = type(ours.__name__, (ours,), {"pool": staticmethod(weakref.ref(pool))})
