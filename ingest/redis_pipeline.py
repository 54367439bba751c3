"""A connection for commands that follow each other closely: each is written at once, answers come in that order.

redis-py makes it (address, TLS, credentials, name, database) and knows nothing of it afterwards: taking a
connection from its pool, waiting for the answer and giving it back cost more than all the rest of a small batch.

    closed ──a command──▶ open ──no answer in time, broken off, or nonsense──▶ closed: all under way are unknown
                            └────an answer of the wrong server───────────────▶ left: closed once all have answered

There is never more than one that takes commands. What is under way when it ends has an unknown outcome, and
whoever sent it is told so; nothing here sends anything twice.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from math import inf
from typing import Any

import hiredis
import redis
import redis.asyncio
from redis.exceptions import InvalidResponse

from ingest.redis_connection import UNREADABLE
from ingest.redis_errors import is_wrong_server

#: Bytes of a command's last word from which on it is not copied to join the others.
LARGE = 64 * 1024
#: What the parser says when an answer is not there wholly.
_INCOMPLETE = object()

#: Called with the answer, or with the `redis.RedisError` for which there is none.
Answered = Callable[[Any], None]


class RedisPipeline:
    """Sends commands to where a client's connections lead."""

    def __init__(self, client: "redis.asyncio.Redis") -> None:
        self._pool = client.connection_pool
        self._line: _Line | None = None
        self._connecting = asyncio.Lock()
        self._tidying: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether a command can be sent without connecting first."""
        return self._line is not None and self._line.is_open

    def send(self, command: Sequence[bytes], seconds: float, answered: Answered) -> None:
        """Send a command over the open connection, which is closed if there is no answer within `seconds`."""
        line = self._line
        assert line is not None
        line.send(command, seconds, partial(self._pass_on, line, answered))

    def _pass_on(self, line: "_Line", answered: Answered, said: Any) -> None:
        if isinstance(said, redis.ResponseError) and is_wrong_server(said):
            self._leave(line)
        answered(said)

    async def execute(self, command: Sequence[bytes]) -> Any:
        """Send a command, connecting if need be; broken off, it closes the connection, as redis-py does.

        Raises:
            redis.ResponseError: Redis refused; if it is the wrong server, the next command goes to another one.
            redis.RedisError, OSError: there is no connection, or it has ended; what became of it is unknown.
        """
        line = await self._connected()
        answer = asyncio.get_running_loop().create_future()
        line.send(command, inf, partial(self._pass_on, line, partial(_settle, answer)))
        try:
            return await answer
        except asyncio.CancelledError:
            line.abort()
            raise

    async def close(self) -> None:
        """End the connection; the next command makes another."""
        line, self._line = self._line, None
        if line is not None:
            line.abort()
        if self._tidying is not None:
            await self._tidying

    async def _connected(self) -> "_Line":
        async with self._connecting:  # who comes later finds it made
            if self._line is None or not self._line.is_open:
                self._line = None
                self._line = await _connect(self._pool)
            return self._line

    def _leave(self, line: "_Line") -> None:
        """Have the next command open a connection by name; those that lie idle in the pool lead there as well."""
        line.leave()
        if self._line is line:
            self._line = None
        if self._tidying is None or self._tidying.done():
            self._tidying = asyncio.create_task(self._leave_pool())

    async def _leave_pool(self) -> None:
        with suppress(redis.RedisError, OSError):  # one that cannot be closed is of no use to anybody
            await self._pool.disconnect(inuse_connections=False)


def _settle(answer: "asyncio.Future[Any]", said: Any) -> None:
    if answer.done():
        return
    if isinstance(said, redis.RedisError):
        answer.set_exception(said)
    else:
        answer.set_result(said)


async def _connect(pool: Any) -> "_Line":
    """Have redis-py make a connection; of its own, since those in the pool are for all the other commands."""
    # By RESP2, in which a server says nothing unasked.
    connection = pool.connection_class(**pool.connection_kwargs | {"protocol": 2})
    try:
        await connection.connect()
        return _Line(connection)
    except BaseException:
        connection._close()
        raise


class _Line(asyncio.Protocol):
    """One connection, taken over from redis-py.

    Uses of its inside, as of redis-py 8.1: `_writer`, for its transport, and `_close`.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._transport: asyncio.Transport = connection._writer.transport
        #: What redis-py had in this place; it is told of the end.
        self._former = self._transport.get_protocol()
        self._reader = hiredis.Reader(
            protocolError=InvalidResponse, replyError=redis.ResponseError, notEnoughData=_INCOMPLETE
        )
        #: What waits for an answer, in the order in which they come, and until when (the loop's time).
        self._under_way: deque[tuple[Answered, float]] = deque()
        #: Whether commands can be sent.
        self.is_open = not self._transport.is_closing()
        self._loop = asyncio.get_running_loop()
        self._alarm: asyncio.TimerHandle | None = None
        self._transport.set_protocol(self)

    def send(self, command: Sequence[bytes], seconds: float, answered: Answered) -> None:
        """Write a command, and wait so long for its answer."""
        parts = [b"*%d\r\n" % len(command)]
        for word in command:
            parts += (b"$%d\r\n" % len(word), word, b"\r\n")
        self._under_way.append((answered, self._loop.time() + seconds))
        try:
            if len(command[-1]) > LARGE:
                self._transport.writelines(parts)
            else:
                self._transport.write(b"".join(parts))
        except (OSError, RuntimeError) as error:  # how uvloop says that it was closed a moment ago
            self._end(redis.ConnectionError(str(error)))
        if self._alarm is None and seconds != inf and self.is_open:
            self._alarm = self._loop.call_later(seconds, self._look_at_the_clock)

    def _look_at_the_clock(self) -> None:
        """Close if an answer is overdue. One timer for all commands: one for each would cost as much as it."""
        self._alarm = None
        left = min((until for _, until in self._under_way), default=inf) - self._loop.time()
        if left <= 0:
            self._end(redis.TimeoutError("no answer in time"))
        elif left != inf:
            self._alarm = self._loop.call_later(left, self._look_at_the_clock)

    def data_received(self, data: bytes) -> None:
        """Answers have come."""
        under_way = self._under_way
        for said in self._read(data):
            if not under_way:
                self._end(InvalidResponse("an answer to nothing"))
                return
            answered, _ = under_way.popleft()
            answered(said)
        if not (self.is_open or under_way):
            self.abort()

    def _read(self, data: bytes) -> list[Any]:
        """The answers that are complete; what is none ends the connection."""
        said: list[Any] = []
        try:
            self._reader.feed(data)
            while (one := self._reader.gets()) is not _INCOMPLETE:
                said.append(one)
        except (redis.RedisError, *UNREADABLE) as error:
            self._end(InvalidResponse(f"not an answer of Redis ({error})"))
        return said

    def eof_received(self) -> None:
        """The other side will say nothing more."""
        self._end(redis.ConnectionError("Redis closed the connection"))

    def connection_lost(self, exc: Exception | None) -> None:
        """The other side has closed the connection, or we have."""
        self._end(redis.ConnectionError(f"the connection was closed{f' ({exc})' if exc else ''}"))
        self._former.connection_lost(exc)

    def leave(self) -> None:
        """Send nothing more, and close once all that is under way has been answered."""
        self.is_open = False

    def abort(self) -> None:
        """Close at once; of what is under way nobody will ever know."""
        self._end(redis.ConnectionError("the connection was closed before the answer"))

    def _end(self, error: redis.RedisError) -> None:
        self.is_open = False
        self._transport.abort()
        self._connection._close()
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        while self._under_way:
            answered, _ = self._under_way.popleft()
            answered(error)
