"""Whether the clock is right by which gaps are known: a gap of other hours would be asked for, and closed."""

import time
from contextlib import suppress

import redis

from ingest import redis_client
from ingest.copernica.events import MICROS
from ingest.errors import SettingsError
from ingest.settings import Settings
from ingest.stream.clock import redis_time


def wrong_by(settings: Settings, copernica: float | None) -> float:
    """Seconds by which Redis' clock, that of gaps, is ahead of Copernica's.

    `copernica` is by how much that is ahead of this machine's; where it does not tell, nothing is wrong. Where
    Redis does not answer, its clock is taken for this machine's.
    """
    if copernica is None:
        return 0.0
    ahead = 0.0
    with suppress(redis.RedisError, SettingsError), redis_client.connect(settings.redis) as client:
        ahead = redis_time(client) / MICROS - time.time()
    return ahead - copernica
