"""Redis is killed, stopped, full or a replica: calls go around it, and it gets them as soon as it serves again."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis

from ingest import failpoints
from ingest.batch import MAX_TARGET, Batch, Record, pack
from ingest.endpoint import spool_replay
from ingest.endpoint.spool_replay import SpoolReplayer, is_over
from ingest.errors import WriteUnconfirmed
from ingest.redis_client import connect, connect_async
from ingest.spool import Spool, spool
from ingest.stream import breaker
from ingest.stream.appends import Condition, Stream
from ingest.stream.breaker import FIRST_DELAY, MOST_DELAY, Breaker, State
from ingest.stream.consumer import Consumer
from ingest.stream.keys import Keys
from ingest.stream.producer import Producer
from tests.support.stream import records
from tests.support.valkey import Valkey, valkey

pytestmark = pytest.mark.slow

PATIENCE = 10.0


@pytest.fixture(scope="module")
def shared() -> Iterator[Valkey]:
    with valkey() as server:
        yield server


@pytest.fixture
def server(shared: Valkey) -> Iterator[Valkey]:
    """A server that tests may do anything to, empty."""
    with connect(shared.url) as client:
        client.flushall()
    yield shared
    shared.send(signal.SIGCONT)
    if not shared.answers():
        shared.start()
    with connect(shared.url) as client:
        client.config_set("maxmemory", 0)
        client.replicaof("NO", "ONE")


class Site:
    """An appender with a spool and what looks after them."""

    def __init__(self, url: str, folder: Path, buffer_max: int | None = None) -> None:
        self.client = connect_async(url)
        self.spool = Spool(folder, 10**8)
        self.appender = Producer([Stream(self.client)], lambda: None, spool=self.spool)
        self.replay = asyncio.create_task(SpoolReplayer(self.appender, buffer_max).run())
        self.sent = 0

    async def send(self, calls: int = 1) -> None:
        """Have calls kept."""
        outcomes: list[WriteUnconfirmed | None] = []
        for _ in range(calls):
            self.sent += 1
            body = b"%d" % self.sent
            self.appender.submit(
                Record(self.sent.to_bytes(12, "big"), self.sent, b"/", b"", body), outcomes.append
            )
        await self.until(lambda: len(outcomes) == calls, "an outcome of each call")
        assert outcomes == [None] * calls

    @property
    def state(self) -> State:
        return self.appender.lanes[0].breaker.state

    async def until(self, look: Callable[[], object], what: str) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                while not look():
                    await asyncio.sleep(0.005)
        except TimeoutError:
            pytest.fail(f"waited {PATIENCE:g} s for {what}")

    async def close(self) -> None:
        self.replay.cancel()
        await asyncio.gather(self.replay, return_exceptions=True)
        await self.appender.close()
        await self.spool.close()
        await self.client.aclose()


@pytest.fixture
async def site(server: Valkey, tmp_path: Path) -> AsyncIterator[Site]:
    site = Site(server.url, tmp_path / "spool")
    yield site
    failpoints.arm({})
    await site.close()


def kept(server: Valkey) -> list[int]:
    """The calls in the stream, each once."""
    with connect(server.url) as client:
        return sorted({int(record.body) for record in records(client)})


def pause(server: Valkey) -> None:
    server.send(signal.SIGSTOP)


def fill(server: Valkey) -> None:
    with connect(server.url) as client:
        client.config_set("maxmemory", 1)


def demote(server: Valkey) -> None:
    with connect(server.url) as client:
        client.replicaof("127.0.0.1", 1)  # nothing is there: it stays as it is, and refuses writes


def restore(server: Valkey) -> None:
    server.send(signal.SIGCONT)
    if not server.answers():
        server.start()
    with connect(server.url) as client:
        client.config_set("maxmemory", 0)
        client.replicaof("NO", "ONE")


@pytest.mark.parametrize("lose", [Valkey.kill, pause, fill, demote])
async def test_calls_go_around_a_redis_that_fails_and_reach_it_when_it_is_back(
    site: Site, server: Valkey, lose: Callable[[Valkey], None]
) -> None:
    await site.send(10)
    assert (kept(server), site.spool.events) == (list(range(1, 11)), 0)
    lose(server)
    await site.send(10)  # these find out …
    assert not site.appender.uses_redis  # … and these do not wait for it
    for _ in range(10):
        await site.send(3)
    await site.until(lambda: site.appender.lanes[0].breaker.delay > FIRST_DELAY, "a trial that fails")
    await site.send(3)
    assert site.spool.events >= 33
    assert not site.appender.uses_redis
    await asyncio.to_thread(restore, server)
    await site.until(lambda: not site.spool.events, "an empty spool")
    assert site.state is State.CLOSED
    assert kept(server) == list(range(1, site.sent + 1))
    await site.send(1)
    assert site.spool.events == 0


async def test_a_write_that_redis_got_after_all_is_there_twice_and_its_id_keeps_it_single(
    site: Site, server: Valkey
) -> None:
    await site.send(1)
    pause(server)
    await site.send(1)
    await asyncio.to_thread(restore, server)
    await site.until(lambda: not site.spool.events, "an empty spool")
    with connect(server.url) as client:
        assert sorted(int(record.body) for record in records(client)) == [1, 2, 2]
        assert len({record.delivery_id for record in records(client)}) == 2


@pytest.mark.parametrize("point", ["replay-append", "replay-appended", "replay-confirmed", "segment-delete"])
async def test_a_fault_in_the_middle_of_a_replay_skips_nothing(
    site: Site,
    server: Valkey,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    point: str,
) -> None:
    monkeypatch.setattr(spool_replay, "PORTION_BATCHES", 1)
    monkeypatch.setattr(spool, "POSTPONE", 0.1)
    server.kill()
    for _ in range(4):
        await site.send(1)
    failpoints.arm({failpoints.VARIABLE: f"{point}=raise"})
    await asyncio.to_thread(server.start)
    await site.until(
        lambda: not site.spool.events and kept(server) == [1, 2, 3, 4], "all calls, and an empty spool"
    )
    assert f"failing at {point}" in caplog.text


async def test_replaying_ends_although_a_library_loses_the_cancellation(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = asyncio.Event()

    async def lose_the_cancellation(*_: object) -> None:  # as wait_for of Python 3.11 may
        asked.set()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    monkeypatch.setattr(site.appender.lanes[0].stream, "condition", lose_the_cancellation)
    await asyncio.wait_for(asked.wait(), PATIENCE)
    site.replay.cancel()
    await asyncio.wait_for(asyncio.wait([site.replay]), PATIENCE)


async def test_no_answer_is_ever_given_to_the_next_command(site: Site, server: Valkey) -> None:
    await site.client.set("mine", "value")
    pause(server)
    for _ in range(3):
        with pytest.raises(WriteUnconfirmed, match="within"):
            await site.appender.lanes[0].stream.probe(0.05)
    await asyncio.to_thread(restore, server)
    assert [await site.client.get("mine") for _ in range(5)] == [b"value"] * 5


async def test_redis_is_tried_again_while_no_calls_come(site: Site, server: Valkey) -> None:
    server.kill()
    await site.send(1)
    await site.until(lambda: site.appender.lanes[0].breaker.delay > FIRST_DELAY, "a trial that fails")
    await asyncio.to_thread(server.start)
    await site.until(lambda: site.state is State.CLOSED, "a closed breaker")


async def between_checks(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the next check of the condition come after the test."""
    checked = asyncio.Event()
    condition = site.appender.lanes[0].stream.condition

    async def check(seconds: float) -> Condition:
        monkeypatch.setattr(spool_replay, "CONDITION_INTERVAL", 3600.0)
        found = await condition(seconds)
        checked.set()
        return found

    monkeypatch.setattr(site.appender.lanes[0].stream, "condition", check)
    await asyncio.wait_for(checked.wait(), PATIENCE)


async def test_while_all_is_well_the_spool_is_not_looked_into(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    await between_checks(site, monkeypatch)
    looks: list[object] = []
    with monkeypatch.context() as watched:
        watched.setattr(site.spool._thread, "submit", lambda *asked: looks.append(asked))
        await asyncio.sleep(0.3)
    assert not looks


async def test_a_server_that_fails_is_tried_again_and_gets_what_waits_without_a_check_of_its_condition(
    site: Site, server: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    await between_checks(site, monkeypatch)
    server.kill()
    await site.send(3)
    await asyncio.to_thread(server.start)
    await site.until(lambda: kept(server) == [1, 2, 3] and not site.spool.events, "all calls, and an empty spool")


async def test_what_comes_into_the_spool_while_redis_serves_is_replayed_at_once(
    site: Site, server: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    await between_checks(site, monkeypatch)
    await site.spool.keep([Batch(pack([Record(bytes(12), 1, b"/", b"", b"1")]), 1)])
    await site.until(lambda: kept(server) == [1] and not site.spool.events, "the call, and an empty spool")


def looks(client: redis.Redis) -> int:
    """How often the server was asked how much memory something takes."""
    commands: Any = client.info("commandstats")
    return int(commands.get("cmdstat_memory|usage", {}).get("calls", 0))


async def test_redis_is_asked_how_full_it_is_while_calls_are_written_there(
    site: Site, server: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_replay, "CONDITION_INTERVAL", 0.01)
    monkeypatch.setattr(spool_replay, "IDLE_INTERVAL", 3600.0)
    with connect(server.url) as client:

        async def rest() -> int:
            seen = -1
            async with asyncio.timeout(PATIENCE):
                while seen != looks(client):
                    seen = looks(client)
                    await asyncio.sleep(0.2)
            return seen

        before = await rest()
        await site.send(1)
        await site.until(lambda: looks(client) > before, "a look at the memory")
        await rest()


async def test_a_backlog_that_is_too_large_goes_to_the_spool_until_it_has_shrunk(
    server: Valkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_replay, "CONDITION_INTERVAL", 0.05)
    monkeypatch.setattr(spool_replay, "IDLE_INTERVAL", 0.05)
    site = Site(server.url, tmp_path / "spool", buffer_max=50_000)
    try:
        with connect(server.url) as client:
            client.xadd(Keys().stream, {"b": b"x" * 60_000})
            await site.until(lambda: site.appender.lanes[0].is_over, "a look at the memory")
            await site.send(3)
            assert (site.spool.events, site.state) == (3, State.CLOSED)
            seen = looks(client)
            await site.until(lambda: looks(client) > seen + 2, "some more looks at the memory")
            assert site.spool.events == 3  # replaying would only make it larger
            client.delete(Keys().stream)
            await site.until(lambda: not site.spool.events, "an empty spool")
        assert kept(server) == [1, 2, 3]
    finally:
        await site.close()


@pytest.mark.parametrize(
    ("stream", "used", "may_use", "policy", "limit", "was", "expected"),
    [
        (0, 10**9, 0, "noeviction", None, False, False),
        (2000, 0, 0, "noeviction", 1999, False, True),
        (1900, 0, 0, "noeviction", 1999, True, True),
        (1700, 0, 0, "noeviction", 1999, True, False),
        (601, 700, 1000, "noeviction", None, False, True),
        (599, 700, 1000, "noeviction", None, False, False),
        (10, 851, 1000, "noeviction", None, False, True),
        (10, 999, 1000, "allkeys-lru", None, False, False),
    ],
)
def test_a_backlog_is_too_large_by_its_own_limit_or_that_of_redis(
    stream: int, used: int, may_use: int, policy: str, limit: int | None, was: bool, expected: bool
) -> None:
    info = {"used_memory": used, "maxmemory": may_use, "maxmemory_policy": policy}
    assert is_over(Condition(stream, info), limit, was) is expected


async def test_a_batch_that_redis_rejects_lets_others_pass(
    site: Site, server: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker, "MOST_DELAY", 0.2)
    with connect(server.url) as client:
        client.config_set("proto-max-bulk-len", 1024 * 1024)
        try:
            taken: list[WriteUnconfirmed | None] = []
            site.appender.submit(Record(bytes(12), 1, b"/", b"", os.urandom(2_000_000)), taken.append)
            await site.until(lambda: taken, "an answer")
            await site.send(3)
            await site.until(
                lambda: kept(server) == [1, 2, 3] and site.spool.events == 1, "the others, and it in the spool"
            )
            assert taken == [None]
        finally:
            client.config_set("proto-max-bulk-len", 512 * 1024 * 1024)


def test_a_breaker_that_trips_again_and_again_waits_longer_and_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("ingest.stream.breaker.time.monotonic", lambda: now)
    one = Breaker()
    delays = []
    for _ in range(6):
        one.trip("gone")
        tripped = now
        while not one.is_due:
            now += 0.01
        delays.append(round(now - tripped, 1))
        one.attempt()
        one.close()
    assert delays == [0.3, 0.5, 1.0, MOST_DELAY, MOST_DELAY, MOST_DELAY]
    now += breaker.STEADY
    one.trip("gone")
    now += FIRST_DELAY
    assert one.is_due


async def test_without_a_spool_nothing_is_kept_that_redis_does_not_confirm(server: Valkey) -> None:
    client = connect_async(server.url)
    appender = Producer([Stream(client)], lambda: None)
    told: list[WriteUnconfirmed | None] = []
    server.kill()
    appender.submit(Record(bytes(12), 1, b"/", b"", b"1"), told.append)
    await appender.close()
    server.start()
    appender.submit(Record(bytes(12), 1, b"/", b"", b"2"), told.append)
    await appender.close()
    await client.aclose()
    assert [type(outcome) for outcome in told] == [WriteUnconfirmed, type(None)]
    with connect(server.url) as sync:
        assert Consumer(sync).batches() == 1


async def test_a_call_that_cannot_be_packed_is_refused_alone(site: Site, server: Valkey) -> None:
    outcomes: dict[int, WriteUnconfirmed | None] = {}
    for number in range(20):
        target = b"/" * (MAX_TARGET + number % 2)
        record = Record(number.to_bytes(12, "big"), 1, target, b"", b"%d" % number)
        site.appender.submit(record, partial(outcomes.__setitem__, number))
    await site.until(lambda: len(outcomes) == 20, "an outcome of each call")
    assert [number for number in range(20) if outcomes[number] is None] == kept(server) == list(range(0, 20, 2))
