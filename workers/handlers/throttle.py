"""Rates and circuit breakers that all workers share; they live in Redis and may be lost without harm.

Keys.bucket(name)    hash of a token bucket: `tokens` and the time `at` of the last look, in seconds
Keys.breaker(name)   hash of a circuit breaker: `failures` in a row, and `until` when nobody is to call
"""

import time
from typing import Any, cast

import redis

from ingest.stream.keys import Keys

#: Seconds' worth of calls that may be made at once after a pause.
BURST = 1.0
#: Failures in a row that open a breaker, and the seconds it then stays open: the first time, and the most.
OPENS_AT = 5
OPEN_FIRST, OPEN_MOST = 1.0, 60.0
#: Seconds after which a silent target's bad record is forgotten.
FORGET = 3600

# Takes up to ARGV[3] tokens of a bucket that fills with ARGV[1] per second up to ARGV[2]; answers how many, and in
# how many ms there will be one. By the server's clock, because there may be many clients.
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

# Notes a failure; from ARGV[1] in a row on, the breaker opens: for ARGV[2] s at first, each time twice as long, up
# to ARGV[3] s.
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

# Who may call: 0 anybody, -1 only you, as a probe, else the ms to wait.
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


class Bucket:
    """How many calls per second all workers together may make."""

    def __init__(self, client: redis.Redis, name: str, rate: float) -> None:
        self._client, self._key, self._rate = client, Keys().bucket(name), rate
        self._most = max(1.0, rate * BURST)

    def take(self, wanted: int) -> tuple[int, float]:
        """Take up to `wanted` calls; also says in how many seconds there will be the next."""
        answer = self._client.eval(_TAKE, 1, self._key, self._rate, self._most, wanted)
        taken, wait = cast(Any, answer)
        return int(taken), int(wait) / 1000


class Breaker:
    """Leaves a target alone that fails again and again, and lets one call find out when it is back."""

    def __init__(self, client: redis.Redis, name: str, timeout: float) -> None:
        self._client, self._key, self._timeout = client, Keys().breaker(name), timeout

    def wait(self) -> float:
        """Seconds for which nobody is to call: 0, call as you like; below 0, make one call to see."""
        answer = cast(Any, self._client.eval(_MAY_CALL, 1, self._key, self._timeout + 1))
        return int(answer) / 1000

    def failed(self) -> bool:
        """Note that a call failed; says whether that opened it."""
        arguments = (OPENS_AT, OPEN_FIRST, OPEN_MOST, FORGET)
        return bool(self._client.eval(_FAIL, 1, self._key, *arguments))

    def not_tried(self) -> None:
        """Give the leave to make one call back: there was none to make."""
        self._client.hdel(self._key, "probing")

    def succeeded(self) -> None:
        """Note that a call was taken."""
        self._client.delete(self._key)


def sleep(seconds: float) -> None:
    """Wait, but not past the moment in which this process could be asked to stop."""
    time.sleep(min(seconds, 0.25))
