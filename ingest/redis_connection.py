"""Connections that lead to the primary, and end when the server at their other end turns out to be the wrong one.

After a fail-over the old primary often keeps its connections and serves on as a read-only replica. redis-py keeps
such a connection, since it works; here it is closed once the answer has been read, with all that lie idle in its
pool, and the next command opens one by the name in the URL, which is looked up anew. Where Sentinels know the
primary, each connection asks them first, and then the server itself. rq's scheduler makes a pool of its own of the
same connections.
"""

import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import redis.asyncio.connection as asyncio_connection
import redis.connection as blocking_connection
from redis import RedisError, ResponseError
from redis.exceptions import InvalidResponse, NoPermissionError, ReadOnlyError, TimeoutError

from ingest import redis_silence
from ingest.redis_errors import is_wrong_server
from ingest.redis_sentinel import PrimaryFinder

#: What redis-py and hiredis raise for what no server says, such as an error that cannot be taken apart.
UNREADABLE = (ValueError, TypeError, LookupError)


class _Leaving:
    """A blocking connection that is left after an answer of the wrong server."""

    pool: Callable[[], Any]

    def connect_check_health(self, *args: Any, **kwargs: Any) -> None:
        """Connect, if it is not and the server is one to ask."""
        this: Any = self
        if not this.is_connected:
            redis_silence.require(self)
        try:
            super().connect_check_health(*args, **kwargs)  # type: ignore[misc]
        except TimeoutError as error:
            redis_silence.note(self, error)
            raise

    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        """Read one answer; the pool closes the connection once all answers have been read."""
        try:
            return super().read_response(*args, **kwargs)  # type: ignore[misc]
        except TimeoutError as error:
            if "timeout" not in kwargs:  # else somebody waits for what may never come
                redis_silence.note(self, error)
            raise
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


class _ToPrimary:
    """A blocking connection to the server that is the primary when it is made."""

    finder: PrimaryFinder

    def connect_check_health(self, *args: Any, **kwargs: Any) -> None:
        """Connect, if it is not.

        Raises:
            redis.ReadOnlyError: the Sentinels do not know yet that it is a replica by now.
            redis.RedisError: there is no connection.
        """
        this: Any = self
        if this.is_connected:
            return
        this.host, this.port = self.finder.find()
        super().connect_check_health(*args, **kwargs)  # type: ignore[misc]
        try:
            this.send_command("ROLE", check_health=False)
            _require_primary(this.read_response())
        except NoPermissionError:
            pass  # then the first write shows it
        except RedisError:
            this.disconnect()
            raise


class _ToPrimaryAsync:
    """The same for asyncio."""

    finder: PrimaryFinder

    async def connect_check_health(self, *args: Any, **kwargs: Any) -> None:
        """Connect, if it is not.

        Raises:
            redis.ReadOnlyError: the Sentinels do not know yet that it is a replica by now.
            redis.RedisError: there is no connection.
        """
        this: Any = self
        if this.is_connected:
            return
        this.host, this.port = await self.finder.find_async()
        await super().connect_check_health(*args, **kwargs)  # type: ignore[misc]
        try:
            await this.send_command("ROLE", check_health=False)
            _require_primary(await this.read_response())
        except NoPermissionError:
            pass  # then the first write shows it
        except RedisError:
            await this.disconnect()
            raise


def _require_primary(role: Any) -> None:
    """Look at the answer to ROLE.

    Raises:
        redis.ReadOnlyError: it is not a primary's.
    """
    if not role or role[0] not in (b"master", "master"):
        raise ReadOnlyError("the Sentinels still name a server that is a replica", status_code="READONLY")


def lead_to_the_right_server(pool: Any, finder: PrimaryFinder | None) -> None:
    """Have a pool of redis-py, which has no connection yet, make connections of this kind."""
    ours = _OURS[pool.connection_class]
    bases: tuple[type, ...] = (ours,)
    # A class for each pool: rq's scheduler takes over the class of a pool, and its arguments.
    members: dict[str, Any] = {"pool": staticmethod(weakref.ref(pool))}
    if finder is not None:
        bases = (_ToPrimaryAsync if issubclass(ours, _LeavingAsync) else _ToPrimary, ours)
        members["finder"] = finder
    pool.connection_class = type(ours.__name__, bases, members)
