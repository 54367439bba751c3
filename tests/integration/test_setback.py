"""The clock of Redis goes back: what waits for its time does not wait for all of that as well."""

import orjson
import redis

from ingest.stream import setback
from ingest.stream.clock import redis_time
from ingest.stream.consumer import Consumer
from ingest.stream.keys import WAKE_TTL, Keys
from ingest.stream.partitions import Partitions
from tests.support.builders import record
from tests.support.stream import keep, moments_of_drains, put_ahead

KEYS = Keys()
HOUR = 3600


def look(client: redis.Redis, back: int = 0) -> None:
    """See how the clock is, which was so many seconds ahead at the last look."""
    if back:
        client.set(KEYS.clock, redis_time(client) // 1000 + back * 1000)
    setback.look(Partitions.alone(client))


def left(client: redis.Redis, key: str) -> int:
    return client.ttl(key)


def test_what_expires_does_so_earlier_by_as_much(client: redis.Redis) -> None:
    client.set(KEYS.wake, 1, ex=HOUR + WAKE_TTL)
    client.set(KEYS.daily, 1, ex=25 * HOUR)
    client.set(KEYS.paused, 1)
    client.set("somebody:else", 1, ex=2 * HOUR)
    look(client, HOUR)
    assert left(client, KEYS.wake) <= WAKE_TTL
    assert HOUR < left(client, KEYS.daily) <= 24 * HOUR
    assert left(client, KEYS.paused) == -1
    assert left(client, "somebody:else") > HOUR


def test_it_goes_back_once(client: redis.Redis) -> None:
    look(client, HOUR)
    client.set(KEYS.daily, 1, ex=2 * HOUR)
    look(client)
    assert left(client, KEYS.daily) > HOUR


def test_a_clock_that_goes_on_or_ahead_changes_nothing(client: redis.Redis) -> None:
    client.set(KEYS.daily, 1, ex=2 * HOUR)
    look(client)
    look(client, -HOUR)
    look(client)
    assert left(client, KEYS.daily) > HOUR


def test_batches_of_a_drain_that_died_are_taken_over_as_ever(client: redis.Redis) -> None:
    keep(client, [record(1)], [record(2)])
    Consumer(client, "dead").claim(1)
    Consumer(client, "idle").reclaim(1)
    put_ahead(client, HOUR)
    assert min(moments_of_drains(client)) > redis_time(client) // 1000
    look(client, HOUR)
    assert max(moments_of_drains(client)) <= redis_time(client) // 1000
    assert Consumer(client).pending() == 1


def test_what_noted_a_time_that_is_to_come_again_is_forgotten(client: redis.Redis) -> None:
    now = redis_time(client) / 1e6
    reports = {"web:dead": orjson.dumps({"at": now + HOUR - 60}), "web:lives": orjson.dumps({"at": now})}
    client.hset(KEYS.reports, mapping=reports)  # type: ignore[arg-type]  # its stub knows no dict of both
    client.hset(KEYS.turns, "one", int((now + HOUR) * 1e6))
    client.hset(KEYS.breaker("one"), "until", str(now + HOUR))
    look(client, HOUR)
    assert client.hkeys(KEYS.reports) == [b"web:lives"]
    assert not client.exists(KEYS.turns, KEYS.breaker("one"))
