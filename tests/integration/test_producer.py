"""The endpoint's writes to Redis: calls gather while others are on their way, and each caller is told its own."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, cast

import pytest
import redis
import redis.asyncio

from ingest import batch
from ingest.batch import Record, unpack
from ingest.errors import WriteUnconfirmed
from ingest.redis_client import connect_async
from ingest.spool import Spool
from ingest.stream import producer
from ingest.stream.appends import Stream
from ingest.stream.consumer import Consumer
from ingest.stream.keys import WAKE_TTL, Keys
from ingest.stream.producer import Producer
from tests.support.held_redis import HeldRedis, held_redis

KEYS = Keys()


@pytest.fixture
async def async_client(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    async with connect_async(redis_url) as client:
        yield client


def record(number: int, size: int = 20) -> Record:
    return Record(number.to_bytes(12, "big"), number, b"/copernica", b"text/plain", b"%d" % number + b"x" * size)


def in_stream(client: redis.Redis) -> list[list[Record]]:
    """The records of each entry."""
    return [unpack(fields[b"b"]) for _, fields in cast(Any, client.xrange(KEYS.stream))]


class Endpoint:
    """An appender, and what its callers were told."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self.woken = 0
        self.appender = Producer([Stream(client)], self.wake)
        self.told: list[tuple[Record, WriteUnconfirmed | None]] = []
        self._lock = threading.Lock()

    def wake(self) -> None:
        with self._lock:
            self.woken += 1

    def submit(self, *records: Record) -> None:
        for one in records:
            self.appender.submit(one, lambda outcome, one=one: self.told.append((one, outcome)))  # type: ignore[misc]


@pytest.fixture
async def endpoint(async_client: redis.asyncio.Redis) -> AsyncIterator[Endpoint]:
    endpoint = Endpoint(async_client)
    yield endpoint
    await endpoint.appender.close()


async def test_records_that_arrive_during_a_write_share_the_next_one(
    endpoint: Endpoint, client: redis.Redis
) -> None:
    records = [record(n) for n in range(100)]
    endpoint.submit(records[0])
    await asyncio.sleep(0)  # the first write is on its way
    endpoint.submit(*records[1:])
    assert endpoint.told == []
    await endpoint.appender.close()
    assert in_stream(client) == [records[:1], records[1:]]
    assert endpoint.told == [(one, None) for one in records]
    assert (endpoint.appender.batches, endpoint.appender.events) == (2, 100)
    assert Consumer(client).counts() == {"accepted": 100}


async def test_a_batch_has_a_limit_of_records(endpoint: Endpoint, client: redis.Redis) -> None:
    records = [record(n) for n in range(2 * batch.MAX_RECORDS + 76)]
    endpoint.submit(*records)
    await endpoint.appender.close()
    assert [len(entry) for entry in in_stream(client)] == [512, 512, 76]
    assert [one for entry in in_stream(client) for one in entry] == records


async def test_a_batch_has_a_limit_of_bytes(endpoint: Endpoint, client: redis.Redis) -> None:
    endpoint.submit(*(record(n, 100 * 1024) for n in range(21)))
    await endpoint.appender.close()
    assert [len(entry) for entry in in_stream(client)] == [10, 10, 1]


async def test_a_record_above_the_limit_is_a_batch_of_its_own(endpoint: Endpoint, client: redis.Redis) -> None:
    records = [record(1), record(2, 2 * batch.MAX_SIZE), record(3), record(4)]
    endpoint.submit(*records)
    await endpoint.appender.close()
    assert in_stream(client) == [records[:1], records[1:2], records[2:]]


async def test_what_redis_refuses_is_not_acknowledged(
    endpoint: Endpoint, client: redis.Redis, fill_memory: Callable[[], None]
) -> None:
    fill_memory()
    records = [record(n) for n in range(600)]
    endpoint.submit(*records)
    await endpoint.appender.close()
    assert [one for one, _ in endpoint.told] == records
    assert all(isinstance(outcome, WriteUnconfirmed) for _, outcome in endpoint.told)
    assert (in_stream(client), Consumer(client).counts(), endpoint.woken) == ([], {}, 0)


async def test_what_cannot_be_packed_is_refused_and_the_next_is_kept(
    endpoint: Endpoint, client: redis.Redis
) -> None:
    endpoint.submit(record(1)._replace(target=b"/" * 70_000))
    await endpoint.appender.close()
    endpoint.submit(record(2))
    await endpoint.appender.close()
    assert [type(outcome) for _, outcome in endpoint.told] == [WriteUnconfirmed, type(None)]
    assert in_stream(client) == [[record(2)]]


async def test_a_caller_that_fails_keeps_no_other_from_its_answer(endpoint: Endpoint) -> None:
    def fail(_: WriteUnconfirmed | None) -> None:
        raise ValueError("the caller is gone")

    endpoint.appender.submit(record(1), fail)
    endpoint.submit(record(2))
    await endpoint.appender.close()
    assert endpoint.told == [(record(2), None)]


async def test_many_batches_wake_the_workers_once(endpoint: Endpoint, client: redis.Redis) -> None:
    for n in range(20):
        endpoint.submit(record(n))
        await endpoint.appender.close()
    assert (endpoint.woken, len(in_stream(client))) == (1, 20)
    assert 0 < client.ttl(KEYS.wake) <= WAKE_TTL
    Consumer(client).clear_wake()
    endpoint.submit(record(20))
    await endpoint.appender.close()
    assert endpoint.woken == 2


async def test_a_wake_up_that_fails_does_not_unsay_what_is_safe(async_client: redis.asyncio.Redis) -> None:
    def fail() -> None:
        raise redis.ConnectionError("gone")

    endpoint = Endpoint(async_client)
    endpoint.appender = Producer([Stream(async_client)], fail)
    endpoint.submit(record(1))
    await endpoint.appender.close()
    assert endpoint.told == [(record(1), None)]


# --- several writes on their way ---


def events(held: HeldRedis) -> list[int]:
    """Of how many calls each write is that has arrived and is not answered."""
    return [int(command[6]) for command in held.held]


async def opened(held: HeldRedis, endpoint: Endpoint) -> None:
    """Have it connect: the first write waits for that, and all others for it."""
    endpoint.submit(record(0))
    await held.until(1)
    held.answer()
    await endpoint.appender.settle()


async def turn() -> None:
    """Let everything happen that needs no answer."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture
async def held() -> AsyncIterator[HeldRedis]:
    async with held_redis() as held:
        yield held


@pytest.fixture
async def holding(held: HeldRedis) -> AsyncIterator[Endpoint]:
    """An endpoint that has connected to it."""
    async with connect_async(held.url) as client:
        endpoint = Endpoint(client)
        await opened(held, endpoint)
        yield endpoint
        held.cut()
        await endpoint.appender.close()


async def test_a_write_follows_once_as_much_has_gathered_as_is_on_its_way(
    held: HeldRedis, holding: Endpoint
) -> None:
    for more, expected in [
        (1, [1]),
        (1, [1, 1]),
        (1, [1, 1]),
        (1, [1, 1, 2]),
        (3, [1, 1, 2]),
        (2, [1, 1, 2, 5]),
        (99, [1, 1, 2, 5]),  # no more than four
    ]:
        holding.submit(*(record(n) for n in range(more)))
        await held.until(len(expected))
        await turn()
        assert events(held) == expected
    held.answer()
    await held.until(4)
    await turn()
    assert events(held) == [1, 2, 5, 99]
    assert len(holding.told) == 2


async def test_each_caller_is_told_the_outcome_of_its_own_write(held: HeldRedis, holding: Endpoint) -> None:
    for number in (1, 2, 3):
        holding.submit(*(record(number) for _ in range([1, 1, 2][number - 1])))
        await held.until(number)
    held.answer()
    held.answer(b"-OOM command not allowed when used memory > 'maxmemory'.\r\n")
    held.answer()
    await holding.appender.settle()
    outcomes = [(int(one.body[:1]), type(outcome)) for one, outcome in holding.told[1:]]
    assert outcomes == [(1, type(None)), (2, WriteUnconfirmed), (3, type(None)), (3, type(None))]
    assert holding.appender.events == 4


async def test_large_calls_are_on_their_way_one_at_a_time(held: HeldRedis, holding: Endpoint) -> None:
    for number in range(3):
        holding.submit(record(number, batch.MAX_SIZE * 2 // 3))
    await held.until(1)
    await turn()
    assert events(held) == [1]
    holding.submit(record(4))
    await turn()
    assert events(held) == [1]
    for _ in range(3):
        await held.until(1)
        held.answer()
        await turn()
    await holding.appender.settle()
    assert [outcome for _, outcome in holding.told] == [None] * 5


async def test_all_writes_on_their_way_go_to_the_spool_when_nobody_answers(
    held: HeldRedis, holding: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(producer, "APPEND_TIMEOUT", 0.05)
    async with Spool(tmp_path / "spool", 10**8) as spool:
        holding.appender.aside.spool = spool
        for number in (1, 2, 3):
            holding.submit(*(record(n) for n in range([1, 1, 2][number - 1])))
            await held.until(number)
        holding.submit(record(9))
        await holding.appender.settle()
        assert [outcome for _, outcome in holding.told] == [None] * 6
        assert spool.events == 5
        assert not holding.appender.uses_redis
        held.cut()
        await holding.appender.lanes[0].stream.close()
