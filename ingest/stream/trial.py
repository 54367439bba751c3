"""Tries, on keys of its own, what endpoints, workers and rq ask of Redis: does it take all of it from us now?

A replica, a full Redis, one without its replicas, and a user without rights answer a PING all the same. Each
command is tried by itself, so that all that is missing is told at once.
"""

import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from enum import Enum
from typing import NamedTuple

import redis

from ingest.redis_errors import described
from ingest.stream import appends
from ingest.stream.consumer import GROUP
from ingest.stream.keys import Keys

#: Seconds after which what a trial has left is gone, if it was killed in the middle.
TRIAL_TTL = 60
#: Keys of rq that its workers and whoever enqueues use, by an example of each.
RQ_KEYS = (
    "rq:workers", "rq:worker:x", "rq:workers:events", "rq:queues", "rq:queue:events", "rq:job:x", "rq:suspended",
    "rq:wip:events", "rq:finished:events", "rq:failed:events", "rq:deferred:events", "rq:scheduled:events",
    "rq:canceled:events", "rq:scheduler-lock:events", "rq:clean_registries:events",
)  # fmt: skip  # a list to be read across
#: The channel on which rq's workers are told to stop.
RQ_CHANNEL = "rq:pubsub:trial"
#: A script that does nothing, and its SHA-1, by which rq's and others' scripts are called.
SCRIPT, SCRIPT_SHA = "return 1", "e0e1f9fabfc9d4800c877a703b823ac0578ff8db"
#: Commands whose second word is a command of its own, with a right of its own.
CONTAINERS = frozenset({"XGROUP", "XINFO", "MEMORY", "SCRIPT", "CLIENT", "PUBSUB"})
#: What is refused where a user may not use keys of these names.
ALL_OURS, ALL_OF_RQ = "the keys ingest:*", "the keys rq:*"
# "No permissions to access a key", or, before Redis 7, "… one of the keys used as arguments".
_ABOUT_KEYS = re.compile(r"\bkeys?\b")

# "User … has no permissions to run the 'xinfo|stream' command".
_NAMED = re.compile(r"run the '([a-z|]+)' command")

Word = str | int | bytes


class Kind(Enum):
    """Why a command is refused."""

    RIGHTS = "this user may not"
    UNKNOWN = "the server does not know the command"
    OTHER = "the server's state"


class Refusal(NamedTuple):
    """What Redis refuses, and its words."""

    what: str
    said: str
    kind: Kind


def try_batch(client: redis.Redis) -> None:
    """Do what an endpoint does with a batch.

    Raises:
        redis.RedisError: it was refused.
    """
    client.execute_command(*appends.trial(Keys().probe))  # type: ignore[no-untyped-call]


def refusals(client: redis.Redis, has_queues: bool = True) -> list[Refusal]:
    """Do everything once, and remove what came of it; returns what was refused.

    Of a server that has no queues, nothing is asked that only rq needs.

    Raises:
        redis.RedisError: Redis does not answer any more.
    """
    trial = _Trial(client, Keys(), has_queues)
    try:
        return [refusal for refusal in trial.run() if refusal is not None]
    finally:
        for key in trial.keys:
            with suppress(redis.RedisError):
                client.delete(key)


class _Trial:
    def __init__(self, client: redis.Redis, keys: Keys, has_queues: bool) -> None:
        self._client, self._real, self._has_queues = client, keys, has_queues
        name = secrets.token_hex(4)
        ours, rqs = f"{keys.trial}:{name}", f"rq:{keys.trial}:{name}"
        self._stream, self._counts, self._wake = f"{ours}:stream", f"{ours}:counts", f"{ours}:wake"
        self._members, self._waiting = f"{rqs}:set", f"{rqs}:list"
        self._taken, self._due, self._job = f"{rqs}:taken", f"{rqs}:sorted", f"{rqs}:job"
        rq: tuple[str, ...] = (self._members, self._waiting, self._taken, self._due, self._job)
        if not has_queues:
            self._job = f"{ours}:job"
            rq = (self._job,)
        self.keys = (self._stream, self._counts, self._wake, *rq)

    def run(self) -> Iterator[Refusal | None]:
        """Each thing, one after the other."""
        for command in (*self._of_ours(), *(self._of_rq() if self._has_queues else ()), *self._of_looking()):
            yield self._try(*command)
        yield self._transaction()
        yield self._subscribe(self._real.stored)
        if self._has_queues:
            yield self._subscribe(RQ_CHANNEL)
        for key in self._real_keys():
            # A script that does nothing: whether a key may be used is seen before it runs.
            yield self._try("EVAL", SCRIPT, 1, key, what=f"the key {key}")
        # As an endpoint writes a batch: a server may allow a command, and refuse it in a script.
        yield self._try("EVAL", "return redis.call('XADD', KEYS[1], '*', 'b', 'trial')", 1, self._stream)
        for key in self.keys:
            yield self._try("EXPIRE", key, TRIAL_TTL)

    def _of_ours(self) -> Iterable[Sequence[Word]]:
        stream, counts, wake = self._stream, self._counts, self._wake
        return (
            ("XADD", stream, "*", "b", "trial"),
            ("EXPIRE", stream, TRIAL_TTL),
            ("HINCRBY", counts, "accepted", 1),
            ("SET", wake, 1, "NX", "EX", TRIAL_TTL),
            ("GET", wake),
            ("EXISTS", wake),
            ("XGROUP", "CREATE", stream, GROUP, "0"),
            ("XREADGROUP", "GROUP", GROUP, "trial", "COUNT", 1, "STREAMS", stream, ">"),
            ("XAUTOCLAIM", stream, GROUP, "trial", 0, "0-0", "COUNT", 1),
            ("XPENDING", stream, GROUP),
            ("XCLAIM", stream, GROUP, "trial", 0, "0-0", "JUSTID"),
            ("PTTL", stream),
            ("PEXPIRE", stream, TRIAL_TTL * 1000),
            ("SCAN", 0, "MATCH", stream, "COUNT", 1),
            ("XINFO", "CONSUMERS", stream, GROUP),
            ("XACK", stream, GROUP, "0-1"),
            ("XDEL", stream, "0-1"),
            ("XLEN", stream),
            ("XRANGE", stream, "-", "+", "COUNT", 1),
            ("XTRIM", stream, "MINID", "0-1"),
            ("XGROUP", "DELCONSUMER", stream, GROUP, "nobody"),
            ("HSET", counts, "drained", 1),
            ("HSETNX", counts, "drained", 1),
            ("HGET", counts, "drained"),
            ("HGETALL", counts),
            ("HDEL", counts, "drained"),
            ("PUBLISH", self._real.stored, b""),
        )

    def _of_rq(self) -> Iterable[Sequence[Word]]:
        members, waiting, taken, due, job = self._members, self._waiting, self._taken, self._due, self._job
        return (
            ("SADD", members, "trial"),
            ("SISMEMBER", members, "trial"),
            ("SMEMBERS", members),
            ("SREM", members, "nobody"),
            ("LPUSH", waiting, "trial"),
            ("RPUSH", waiting, "trial"),
            ("LLEN", waiting),
            ("LRANGE", waiting, 0, -1),
            ("LREM", waiting, 1, "nobody"),
            ("BLMOVE", waiting, taken, "RIGHT", "LEFT", 1),
            ("ZADD", due, 1, "trial"),
            ("ZCARD", due),
            ("ZRANGE", due, 0, -1),
            ("ZRANGEBYSCORE", due, 0, 1),
            ("ZREM", due, "nobody"),
            ("ZREMRANGEBYSCORE", due, -2, -1),
            ("HSET", job, "status", "trial"),
            ("HMGET", job, "status"),
            ("HINCRBYFLOAT", job, "seconds", 1),
            ("PERSIST", job),
            ("XREVRANGE", f"{job}:none", "+", "-", "COUNT", 1),
            ("LMOVE", taken, waiting, "RIGHT", "LEFT"),
            ("DEL", f"{job}:none"),
            ("SCRIPT", "LOAD", SCRIPT),
            ("SCRIPT", "EXISTS", SCRIPT_SHA),
            ("EVALSHA", SCRIPT_SHA, 0),
            ("CLIENT", "SETNAME", "trial"),
        )

    def _of_looking(self) -> Iterable[Sequence[Word]]:
        return (
            ("TIME",),
            ("ROLE",),
            ("INFO", "memory"),
            ("CLIENT", "INFO"),
            ("MEMORY", "USAGE", self._stream),
            ("XINFO", "STREAM", self._stream),
            ("PUBSUB", "NUMSUB", self._real.stored),
            ("UNWATCH",),
        )

    def _try(self, *command: Word, what: str = "") -> Refusal | None:
        """One command."""
        try:
            self._client.execute_command(*command)  # type: ignore[no-untyped-call]
        except redis.ResponseError as error:
            words = [str(word) for word in command]
            name = " ".join(words[: 2 if words[0] in CONTAINERS else 1])
            ours = not any(word.startswith("rq:") for word in words)
            return _of_keys(_refusal(name, error), what or (ALL_OURS if ours else ALL_OF_RQ))
        return None

    def _transaction(self) -> Refusal | None:
        """Drains acknowledge in one, and rq does nearly everything in one."""
        try:
            with self._client.pipeline(transaction=True) as transaction:
                transaction.watch(self._job)  # type: ignore[no-untyped-call]
                transaction.multi()
                transaction.hset(self._job, "status", "trial")
                transaction.execute()
        except redis.ResponseError as error:
            return _of_keys(_refusal("MULTI", error), ALL_OF_RQ if self._has_queues else ALL_OURS)
        return None

    def _subscribe(self, channel: str) -> Refusal | None:
        try:
            with self._client.pubsub(ignore_subscribe_messages=True) as subscribed:  # type: ignore[no-untyped-call]
                subscribed.subscribe(channel)
                subscribed.get_message(timeout=1.0)
                subscribed.unsubscribe(channel)
                subscribed.get_message(timeout=1.0)
        except redis.ResponseError as error:
            refusal = _refusal("SUBSCRIBE", error)
            about_it = refusal.kind is Kind.RIGHTS and "channel" in refusal.said
            return refusal._replace(what=f"the channel {channel}") if about_it else refusal
        return None

    def _real_keys(self) -> Iterator[str]:
        keys = self._real
        fixed = {name: key for name, key in vars(keys).items() if not name.startswith("_")}
        yield from (key for key in fixed.values() if key != keys.trial)
        if self._has_queues:
            yield from (keys.handler("x"), keys.bucket("x"), keys.breaker("x"), keys.away("x"), *RQ_KEYS)


def _of_keys(refusal: Refusal, which: str) -> Refusal:
    """The same; if it is about keys, these are what is refused."""
    about_keys = refusal.kind is Kind.RIGHTS and _ABOUT_KEYS.search(refusal.said)
    return refusal._replace(what=which) if about_keys else refusal


def _refusal(what: str, error: redis.ResponseError) -> Refusal:
    said = described(error)
    if isinstance(error, redis.exceptions.NoPermissionError) or "NOPERM" in said:
        named = _NAMED.search(said)  # of several that belong together, the one that is meant
        return Refusal(named[1].upper().replace("|", " ") if named else what, said, Kind.RIGHTS)
    unknown = re.search(r"unknown (?:command|subcommand)", said, re.IGNORECASE)
    return Refusal(what, said, Kind.UNKNOWN if unknown else Kind.OTHER)
