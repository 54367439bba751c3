"""What to do when the clock of a Redis server has gone back.

That happens when a machine that started with a wrong clock is set right, and when a replica whose clock is behind
takes over. Redis keeps moments, not periods: what should be gone in ten seconds stays for ten seconds and all the
time by which the clock went back, and a batch that a dead drain has claimed is not taken over before that. So no
drain is woken, no gap looked for, nothing cleaned up, for an hour or a year, though nothing is lost. Each round of
maintenance compares the clock with what it was in the round before, and moves such moments back with the clock.
"""

import logging
from typing import Any, cast

import orjson
import redis

from ingest.stream.clock import redis_time
from ingest.stream.consumer import Consumer
from ingest.stream.keys import Keys
from ingest.stream.partitions import Partitions

log = logging.getLogger(__name__)

#: Milliseconds by which a clock may go back unnoticed: what stays a little longer for that does no harm.
UNNOTICED = 2000


def look(partitions: Partitions) -> None:
    """See whether a server's clock has gone back since the last look, and mend what came of it.

    Raises:
        redis.RedisError: none of the servers answers.
    """
    _, error = partitions.looked_at(lambda partition: _look_at(partition.client, partition.name))
    if error is not None and not partitions.are_several:
        raise error


def _look_at(client: redis.Redis, name: str) -> None:
    keys = Keys()
    with client.pipeline(transaction=False) as questions:
        questions.get(keys.clock)
        questions.time()
        before, (seconds, micros) = questions.execute()
    now = int(seconds) * 1000 + int(micros) // 1000
    back = int(before) - now if before is not None else 0
    if back > UNNOTICED:
        log.warning(
            "the clock of %s went back by %.0f s: what waited for its time goes on now",
            name or "Redis",
            back / 1000,
            extra={"event": "clock-went-back"},
        )
        try:
            _mend(client, keys, back)
        except redis.ResponseError as error:  # no right to, most likely: `ingest check` says which
            log.warning("what waits in Redis may wait for as long as that: %s", error)
    # Last: if this process ends in the middle, another does it, and twice does no harm.
    client.set(keys.clock, now)


def _mend(client: redis.Redis, keys: Keys, back: int) -> None:
    _shorten(client, keys, back)
    _forget_what_is_to_come(client, keys)
    Consumer(client).restart_idle()


def _shorten(client: redis.Redis, keys: Keys, back: int) -> None:
    """Have what expires do so as many milliseconds earlier."""
    for key in client.scan_iter(match=keys.all, count=1000):
        left = client.pttl(key)
        if left > 0:
            client.pexpire(key, max(1, left - back))


def _forget_what_is_to_come(client: redis.Redis, keys: Keys) -> None:
    """Delete what is noted of moments that are in the future now; who lives notes them again."""
    now = redis_time(client) / 1e6
    reports = cast(dict[bytes, bytes], client.hgetall(keys.reports))
    later = [name for name, text in reports.items() if cast(Any, orjson.loads(text)).get("at", 0) > now]
    if later:
        client.hdel(keys.reports, *later)
    client.delete(keys.turns, *client.scan_iter(match=keys.breaker("*"), count=1000))
