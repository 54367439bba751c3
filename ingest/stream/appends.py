"""The endpoint's way to Redis: what it writes there, and how it sees whether it can."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import redis
import redis.asyncio

from ingest import failpoints
from ingest.batch import Batch
from ingest.errors import ServerDrained, ServerForeign, WriteUnconfirmed
from ingest.redis_errors import is_wrong_server
from ingest.redis_pipeline import RedisPipeline
from ingest.stream.keys import RQ_SUSPENDED, WAKE_TTL, Keys
from ingest.stream.reports import ENDPOINT, process_name

log = logging.getLogger(__name__)

# Appends batches, with the name of the process that does it, counts their events, and says whether a worker is to
# be woken. A script, because it is done wholly or not at all, with one answer; and EVAL, because a server that has
# forgotten scripts after a restart needs no second attempt then.
_APPEND = b"""
for i = 5, #ARGV do redis.call('XADD', KEYS[1], '*', 'b', ARGV[i], 'e', ARGV[3]) end
redis.call('HINCRBY', KEYS[2], 'accepted', ARGV[1])
local woken = redis.call('SET', KEYS[3], 1, 'NX', 'EX', ARGV[2])
"""
_ANSWER = b"return woken and 1 or 0\n"
# Where there are several servers: not on one that is to be emptied (KEYS[4]), nor on one whose mark (KEYS[5]) says
# that it is another database's than ours (ARGV[4], if that is known). Asked there and then, so that it gets
# nothing from that moment on, whatever endpoints know.
_IF_OURS = b"""
if redis.call('EXISTS', KEYS[4]) == 1 then return -1 end
local owner = ARGV[4] ~= '' and redis.call('HGET', KEYS[5], 'database')
if owner and owner ~= ARGV[4] then return -2 end
"""
# One that is nobody's yet becomes ours with its first batch: so no other installation writes there after us.
_CLAIM = b"if ARGV[4] ~= '' then redis.call('HSETNX', KEYS[5], 'database', ARGV[4]) end\n"
# The same, and nothing is left of it. Only afterwards: a full Redis takes everything of a script that has begun to
# write.
_TRY = _APPEND + b"redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])\n"
#: What the script answers then.
CLOSED, FOREIGN = -1, -2
_DRAINED = "This server is being drained (`ingest streams drain`)."
_FOREIGN = "It is another database's, whose workers would store the calls (see `ingest streams`)."


class Condition(NamedTuple):
    """How Redis is."""

    #: Bytes of memory that the stream takes.
    stream: int
    #: Its answer to INFO.
    info: Mapping[str, Any]
    #: Whether rq was told to start no jobs.
    suspended: bool = False
    #: Seconds by which its clock is ahead of ours.
    ahead: float = 0.0


class Stream:
    """The endpoint's way to Redis: each write is tried once, and is certain or not within a time that is set."""

    def __init__(self, client: "redis.asyncio.Redis", name: str = "", one_of_several: bool = False) -> None:
        """`name` is that of the server; where it is `one_of_several`, it may be closed."""
        self.name = name
        self._client = client
        self._pipeline = RedisPipeline(client)
        #: Held by what does not append: so one connection is enough for all of that. Small plans have few of them.
        self._asking = asyncio.Lock()
        self._keys = keys = Keys()
        kept = keys.stream.encode(), keys.counts.encode(), keys.wake.encode()
        #: Which database the calls are for, as far as is known; a server that is another's takes none.
        self.database = b""
        self._append_to: tuple[bytes, ...] = (b"EVAL", _APPEND + _ANSWER, b"3", *kept)
        if one_of_several:
            asked = keys.closed.encode(), keys.mark.encode()
            self._append_to = (b"EVAL", _IF_OURS + _CLAIM + _APPEND + _ANSWER, b"5", *kept, *asked)
        self._is_one_of_several = one_of_several
        self._name = process_name(ENDPOINT).encode()

    @property
    def is_open(self) -> bool:
        """Whether a batch can be written without connecting first."""
        return self._pipeline.is_open

    async def close(self) -> None:
        """End the connection over which batches are written; the next one makes another."""
        await self._pipeline.close()

    async def append(self, batches: Sequence[Batch], seconds: float) -> bool:
        """Put batches into the stream, all or none; returns whether a worker is to be woken.

        Raises:
            WriteUnconfirmed: Redis refused, is unreachable, or did not answer within `seconds`. It may have
                them all the same.
        """
        async with _within(seconds):
            try:
                return await self._append(batches)
            except redis.ResponseError as error:
                if not is_wrong_server(error):
                    raise
            # It refused, so it has nothing of this; its connection is closed, and the next leads to the right one.
            return await self._append(batches)

    async def _append(self, batches: Sequence[Batch]) -> bool:
        return _woken(await self._pipeline.execute(self._command(batches)))

    def _trial(self) -> Sequence[bytes]:
        keys = self._keys
        several = keys.closed.encode(), keys.mark.encode(), self.database
        return trial(keys.probe, several if self._is_one_of_several else None)

    def _command(self, batches: Sequence[Batch]) -> Sequence[bytes]:
        if failpoints.armed:
            failpoints.reach("redis-write")
        events = sum(batch.events for batch in batches)
        counted = b"%d" % events, b"%d" % WAKE_TTL
        return *self._append_to, *counted, self._name, self.database, *(batch.packed for batch in batches)

    def send(self, batch: Batch, seconds: float, done: Callable[[bool | WriteUnconfirmed | None], None]) -> None:
        """Put one batch into the stream over the connection that `is_open`, without a task of its own.

        A task and its timer would cost more than all the rest. `done` is called with what `append` returns or
        raises, and with None if the batch was refused by the wrong server, so that the right one is to be asked.
        """

        def answered(said: object) -> None:
            if not isinstance(said, Exception):
                done(_refusal(said) or bool(said))
            elif isinstance(said, redis.ResponseError) and is_wrong_server(said):
                done(None)
            else:
                done(_no_answer(seconds) if isinstance(said, redis.TimeoutError) else _unconfirmed(said))

        self._pipeline.send(self._command([batch]), seconds, answered)

    async def probe(self, seconds: float) -> None:
        """See whether Redis takes a batch: by the same commands, over the same connection, on keys of its own.

        Raises:
            WriteUnconfirmed: it does not, or not within `seconds`.
        """
        async with _within(seconds):
            try:
                _woken(await self._pipeline.execute(self._trial()))
            except redis.ResponseError as error:
                if not is_wrong_server(error):
                    raise
                # Its connection is closed, and the next leads to the right one.
                _woken(await self._pipeline.execute(self._trial()))

    async def try_write(self, seconds: float) -> None:
        """The same over another connection: one that calls wait for is not broken off for a question.

        Raises:
            WriteUnconfirmed: it does not take a batch, or not within `seconds`.
        """
        async with _within(seconds), self._asking:
            _woken(await self._client.execute_command(*self._trial()))  # type: ignore[no-untyped-call]

    async def ping(self, seconds: float) -> None:
        """See whether Redis answers.

        Raises:
            WriteUnconfirmed: it does not, or not within `seconds`.
        """
        async with _within(seconds), self._asking:
            await self._client.ping()

    async def condition(self, seconds: float) -> Condition:
        """How Redis is, and whether those who work with it do.

        Raises:
            WriteUnconfirmed: it did not answer within `seconds`.
        """
        async with _within(seconds), self._asking:
            before = time.time()
            async with self._client.pipeline(transaction=False) as questions:
                questions.memory_usage(self._keys.stream)
                questions.info()
                questions.exists(RQ_SUSPENDED)
                questions.time()
                size, info, suspended, clock = await questions.execute()
            second, micros = clock
            ahead = int(second) + int(micros) / 1e6 - (before + time.time()) / 2
            return Condition(size or 0, info, bool(suspended), ahead)


def trial(prefix: str, several: tuple[bytes, bytes, bytes] | None = None) -> Sequence[bytes]:
    """A command that does what a batch does, on keys that begin so, and leaves nothing.

    `several`: the keys that say whether it is closed, and whose it is, and the name of our database; then a server
    that takes no batch refuses this, too.
    """
    keys = (f"{prefix}:{name}".encode() for name in ("stream", "counts", "wake"))
    arguments = b"0", b"%d" % WAKE_TTL, b""
    if several is None:
        return b"EVAL", _TRY, b"3", *keys, *arguments, b"", b""
    *asked, database = several
    return b"EVAL", _IF_OURS + _TRY, b"5", *keys, *asked, *arguments, database, b""


def _refusal(said: object) -> WriteUnconfirmed | None:
    """Why a server takes no batch, by what it said of a write; None if it took it."""
    if said == CLOSED:
        return ServerDrained(_DRAINED)
    return ServerForeign(_FOREIGN) if said == FOREIGN else None


def _woken(said: object) -> bool:
    """Whether a worker is to be woken, by what Redis said of a write.

    Raises:
        ServerDrained, ServerForeign: it is closed, or not ours, and has nothing of it.
    """
    if (refusal := _refusal(said)) is not None:
        raise refusal
    return bool(said)


@asynccontextmanager
async def _within(seconds: float) -> AsyncIterator[None]:
    """Whatever goes wrong with Redis in this block, and whatever takes too long, is a `WriteUnconfirmed`.

    A command that is broken off leaves an answer behind that belongs to no one: its connection is closed.
    """
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise _no_answer(seconds) from None
    except WriteUnconfirmed:
        raise
    except Exception as error:
        # RuntimeError is how uvloop says that the other side has closed the connection a moment ago.
        if not isinstance(error, redis.RedisError | OSError | RuntimeError):
            log.exception("the request to Redis failed")
        raise _unconfirmed(error) from None


def _no_answer(seconds: float) -> WriteUnconfirmed:
    return WriteUnconfirmed(f"Redis did not answer within {seconds:g} s.")


def _unconfirmed(error: Exception) -> WriteUnconfirmed:
    return WriteUnconfirmed(f"Redis did not confirm the write ({type(error).__name__}: {error}).")
