"""The clock of Redis: one for all processes, where a machine's own may be wrong."""

from typing import Any, cast

import redis


def redis_time(client: redis.Redis) -> int:
    """The time in µs since 1970 by the clock of Redis."""
    seconds, micros = cast(Any, client.time())
    return int(seconds) * 1_000_000 + int(micros)
