"""Rates and circuit breakers that all workers share; they live in Redis and may be lost without harm.

Keys.bucket(name)    hash of a token bucket: `tokens` and the time `at` of the last look, in seconds
Keys.breaker(name)   hash of a circuit breaker: `failures` in a row, how often it `opened`, `until` when the target
                     is left alone, and `probing`, the time until which another probe has to wait

A rate of R calls per second means: in any t seconds at most R * (t + BURST) calls, by all workers together (and
always one). So after a pause a handler may catch up, by one second's worth of calls and no more.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import redis

from ingest.stream.clock import redis_time
from ingest.stream.keys import Keys

#: Seconds' worth of calls by which a handler may catch up after a pause: one that had to wait while others used
#: the worker still gets its rate on average.
BURST = 1.0
#: Seconds for which calls taken from a bucket may be held until they are made: asking Redis for each call would
#: take longer than many a call does. What is held is part of `BURST`, not on top of it.
HELD = 0.1
#: Failures in a row after which a target is left alone: fewer may be chance.
OPENS_AT = 5
#: Seconds for which a target is left alone: the first time, and at most.
OPEN_FIRST, OPEN_MOST = 1.0, 60.0
#: Seconds after which an empty bucket means nothing any more: nobody has wanted anything of it.
LATELY = 60.0
#: Seconds after which a target's failures are forgotten if it is not called.
FORGET = 3600

# Takes up to ARGV[3] tokens of a bucket that fills with ARGV[1] per second up to ARGV[2]; answers how many, and
# the milliseconds until there is another. By the server's clock, because there may be many clients.
_TAKE = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6
local rate, most, wanted = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local kept = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens = tonumber(kept[1]) or most
tokens = math.min(most, tokens + math.max(0, now - (tonumber(kept[2]) or now)) * rate)
local taken = math.min(wanted, math.floor(tokens))
tokens = tokens - taken
redis.call('HSET', KEYS[1], 'tokens', tostring(tokens), 'at', string.format('%.6f', now))
redis.call('EXPIRE', KEYS[1], math.ceil(most / rate) + 60)
return {taken, math.ceil(math.max(0, 1 - tokens) / rate * 1000)}
"""

# Counts a failure; from ARGV[1] in a row on, the breaker opens: for ARGV[2] seconds at first, each time twice as
# long, up to ARGV[3] seconds. All is forgotten after ARGV[4] seconds. Answers whether it opened.
_FAIL = """
local failures = redis.call('HINCRBY', KEYS[1], 'failures', 1)
redis.call('EXPIRE', KEYS[1], ARGV[4])
if failures < tonumber(ARGV[1]) then return 0 end
local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6
if now < (tonumber(redis.call('HGET', KEYS[1], 'until')) or 0) then return 0 end
local opened = redis.call('HINCRBY', KEYS[1], 'opened', 1)
local seconds = math.min(tonumber(ARGV[3]), tonumber(ARGV[2]) * 2 ^ (opened - 1))
redis.call('HSET', KEYS[1], 'until', string.format('%.6f', now + seconds))
redis.call('HDEL', KEYS[1], 'probing')
return 1
"""

# Answers 0 if any worker may call, -1 if this one may make one call as a probe (which has ARGV[1] seconds for it),
# else the milliseconds to wait.
_MAY_CALL = """
local kept = redis.call('HMGET', KEYS[1], 'until', 'probing')
if not kept[1] then return 0 end
local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6
local closed_until = math.max(tonumber(kept[1]), tonumber(kept[2] or 0))
if now < closed_until then return math.ceil((closed_until - now) * 1000) end
redis.call('HSET', KEYS[1], 'probing', string.format('%.6f', now + tonumber(ARGV[1])))
return -1
"""


class Taken(NamedTuple):
    """How many calls were taken from a bucket, and the seconds until it has another."""

    calls: int
    wait: float


class Bucket:
    """The calls that all workers together may make now for one handler."""

    def __init__(self, client: redis.Redis, name: str, rate: float) -> None:
        """`rate` is in calls per second."""
        self._client = client
        self._key = Keys().bucket(name)
        self.rate = rate
        # Calls that are held were taken up to `HELD` seconds ago, so that much less may be taken at once.
        self._most = max(1.0, rate * (BURST - HELD))

    def take(self, wanted: int) -> Taken:
        """Take up to `wanted` calls."""
        calls, wait_ms = cast(Any, self._client.eval(_TAKE, 1, self._key, self.rate, self._most, wanted))
        return Taken(int(calls), int(wait_ms) / 1000)


class Allowance:
    """Calls that a job has taken from a bucket, a few at a time; those not made within `HELD` seconds are lost."""

    def __init__(self, bucket: Bucket, clock: Callable[[], float] = time.monotonic) -> None:
        self._bucket = bucket
        self._clock = clock
        self._share_most = max(1, int(bucket.rate * HELD))
        #: How many calls to take at a time: as many as are made within `HELD` seconds.
        self._share = 1
        self._taken = self._left = 0
        self._taken_at = -HELD

    def take(self, wanted: int) -> float:
        """Take one of so many calls that are `wanted`; returns 0, or the seconds to wait if there is none."""
        age = self._clock() - self._taken_at
        if self._left and age >= HELD:
            self._share = self._taken - self._left
            self._left = 0
        elif not self._left and age < HELD / 2:
            self._share = min(self._share * 2, self._share_most)
        if not self._left:
            self._taken, wait = self._bucket.take(min(wanted, self._share))
            if not self._taken:
                return wait
            self._left, self._taken_at = self._taken, self._clock()
        self._left -= 1
        return 0


class Permission(NamedTuple):
    """In how many seconds a target may be called; and whether by one call only, which finds out if it is back."""

    wait: float
    probe: bool


class TargetBreaker:
    """Leaves a target alone that fails again and again, and lets one call find out when it is back."""

    def __init__(self, client: redis.Redis, name: str, timeout: float) -> None:
        """`timeout` is the seconds that one call may take."""
        self._client = client
        self._key = Keys().breaker(name)
        self._timeout = timeout

    def permission(self) -> Permission:
        """Whether this worker may call the target now."""
        answer = int(cast(Any, self._client.eval(_MAY_CALL, 1, self._key, self._timeout + 1)))
        return Permission(wait=max(answer, 0) / 1000, probe=answer < 0)

    def failed(self) -> bool:
        """Count a failed call; returns whether the target is left alone from now on."""
        return bool(self._client.eval(_FAIL, 1, self._key, OPENS_AT, OPEN_FIRST, OPEN_MOST, FORGET))

    def not_tried(self) -> None:
        """Give a probe back, because there was no call to make."""
        self._client.hdel(self._key, "probing")

    def succeeded(self) -> None:
        """Forget all failures: the target took a call."""
        self._client.delete(self._key)


def is_held_up(client: redis.Redis, name: str) -> bool:
    """Whether a handler waits for its rate or its target at this moment: more workers would not help it."""
    keys, now = Keys(), redis_time(client) / 1e6
    tokens, at = cast(list[bytes | None], client.hmget(keys.bucket(name), ["tokens", "at"]))
    (until,) = cast(list[bytes | None], client.hmget(keys.breaker(name), ["until"]))
    is_empty = tokens is not None and at is not None and float(tokens) < 1 and now - float(at) < LATELY
    return is_empty or (until is not None and float(until) > now)


class Target(NamedTuple):
    """The breaker of a handler's target: failures in a row, and until when (Unix seconds) it is left alone."""

    failures: int
    until: float | None


def target(client: redis.Redis, name: str) -> Target | None:
    """How a handler's target fares; None if it works, or if the handler has none."""
    failures, until = cast(list[bytes | None], client.hmget(Keys().breaker(name), ["failures", "until"]))
    if not failures:
        return None
    is_open = until is not None and float(until) > redis_time(client) / 1e6
    return Target(int(failures), float(until) if is_open and until else None)
