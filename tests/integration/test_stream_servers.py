"""Several stream servers, as endpoint, drains and commands use them: here, the databases of one."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from ingest.batch import Batch
from ingest.endpoint.spool_replay import SpoolReplayer
from ingest.errors import ServerForeign, Unavailable, WriteUnconfirmed
from ingest.health import FOREIGN
from ingest.jobs import DRAIN_JOB, JobScheduler
from ingest.redis_client import connect, connect_async
from ingest.spool import Spool
from ingest.stream.appends import Stream
from ingest.stream.consumer import Consumer
from ingest.stream.heartbeats import Heartbeats
from ingest.stream.keys import Keys
from ingest.stream.known_streams import KnownStreams, Standing
from ingest.stream.owner import Owner, database_of
from ingest.stream.partitions import Partition, Partitions
from ingest.stream.producer import Producer
from ingest.stream.reports import EndpointReport
from tests.support.builders import record
from tests.support.cli import found, typed
from tests.support.stream import job_names, keep
from tests.support.valkey import valkey
from workers.drain.drain import Drain
from workers.gaps import lineage
from workers.operations import streams
from workers.operations.streams import Emptying, reopen
from workers.store.store import Store

#: Where nobody is.
NOWHERE = "unix:///nowhere/valkey.sock"


def of(redis_url: str, database: int) -> str:
    return f"{redis_url.partition('?')[0]}?db={database}"


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server of a busy machine is slow, and neither away nor late: nothing is sent to another as well."""
    monkeypatch.setattr("ingest.stream.producer.OTHERS_TIMEOUT", 20.0)
    monkeypatch.setattr("ingest.stream.copies.LATE", 20.0)


@pytest.fixture
def clients(client: redis.Redis, redis_url: str) -> Iterator[list[redis.Redis]]:
    """That of the queues, and another."""
    with ExitStack() as stack:
        other = stack.enter_context(connect(of(redis_url, 3)))
        other.flushdb()
        yield [client, other]
        other.flushdb()


@pytest.fixture
def partitions(clients: list[redis.Redis]) -> Partitions:
    return Partitions([Partition("one", clients[0], has_queues=True), Partition("two", clients[1])])


@pytest.fixture
def one_away(clients: list[redis.Redis]) -> Iterator[Partitions]:
    with connect(NOWHERE) as nobody:
        yield Partitions(
            [
                Partition("one", clients[0], has_queues=True),
                Partition("gone", nobody),
                Partition("two", clients[1]),
            ]
        )


def test_a_drain_works_on_all_of_them_and_counts_on_each(
    store: Store, client: redis.Redis, clients: list[redis.Redis], partitions: Partitions
) -> None:
    keep(clients[0], [record(1)], [record(2)])
    keep(clients[1], [record(3), record(4)], [record(1)])  # which was sent to both
    done = Drain(client, store, partitions=partitions).run()
    assert (done.stored, done.doubles, store.stored()) == (4, 1, 4)
    assert partitions.batches() == 0
    assert [Consumer(one).counts()["drained"] for one in clients] == [2, 3]


def test_one_that_is_away_is_left_out_and_not_asked_by_the_next_drain(
    store: Store,
    client: redis.Redis,
    clients: list[redis.Redis],
    one_away: Partitions,
    caplog: pytest.LogCaptureFixture,
) -> None:
    keep(clients[0], [record(1)])
    keep(clients[1], [record(2)])
    assert Drain(client, store, partitions=one_away).run(linger_ms=1).stored == 2
    assert "the stream server gone is left out" in caplog.text
    caplog.clear()
    assert Drain(client, store, partitions=one_away).run().stored == 0
    assert "gone" not in caplog.text


def test_a_drain_goes_on_without_the_server_of_the_queues_and_handlers_learn_of_it_later(
    store: Store, clients: list[redis.Redis], caplog: pytest.LogCaptureFixture
) -> None:
    keep(clients[1], [record(1)], [record(2)])
    with connect(NOWHERE) as nobody:
        found = Partitions([Partition("one", nobody, has_queues=True), Partition("two", clients[1])])
        assert Drain(nobody, store, has_handlers=True, partitions=found).run().stored == 2
    assert Consumer(clients[1]).batches() == 0
    assert "the drain goes on without it" in caplog.text


def test_a_drain_without_any_server_breaks_off(store: Store) -> None:
    with connect(NOWHERE) as nobody:
        found = Partitions([Partition("one", nobody, has_queues=True), Partition("two", nobody)])
        with pytest.raises(redis.ConnectionError):
            Drain(nobody, store, partitions=found).run()


def test_the_sweep_wakes_a_drain_for_each_of_them_and_remembers_them(
    client: redis.Redis, clients: list[redis.Redis], one_away: Partitions
) -> None:
    scheduler = JobScheduler(client, one_away)
    assert not scheduler.sweep_backlog()
    keep(clients[1], [record(1)])
    assert scheduler.sweep_backlog()
    assert job_names(client) == [DRAIN_JOB]
    assert not scheduler.sweep_backlog()
    scheduler.note_streams()
    known = {one.name: one.batches for one in KnownStreams(client).all()}
    assert known == {"gone": None, "one": 0, "two": 1}


def test_the_last_that_is_known_of_one_stays_while_it_is_away(client: redis.Redis) -> None:
    known = KnownStreams(client)
    known.note({"two": Standing(7, is_drained=False)})
    known.note({"two": None})
    assert [(one.name, one.batches) for one in known.all()] == [("two", 7)]
    assert known.forget("two")
    assert not known.forget("two")


def test_what_is_named_no_more_is_shown_until_it_was_drained(
    client: redis.Redis, clients: list[redis.Redis], partitions: Partitions
) -> None:
    KnownStreams(client).note({"old": Standing(7, is_drained=False), "emptied": Standing(0, is_drained=True)})
    shown = streams.look(partitions, client, ()).streams
    assert [(one.name, one.state, one.batches) for one in shown] == [
        ("one", "takes", 0),
        ("two", "takes", 0),
        ("old", "left", 7),
    ]


def test_one_that_is_another_installations_is_told_of(
    clients: list[redis.Redis], redis_url: str, database: str, store: Store
) -> None:
    environ = {
        "REDIS_URL": redis_url,
        "DATABASE_URL": database,
        "INGEST_STREAM_URLS": f"{redis_url},{of(redis_url, 3)}",
        "INGEST_SPOOL_DIR": "off",
    }
    clients[0].hset(Keys().mark, "database", lineage.name_of(store) or "")
    assert "other-database" not in typed("status", environ=environ).stdout
    assert "other-database" not in found(environ)
    clients[1].hset(Keys().mark, "database", "theirs")
    assert "other-database" in typed("status", environ=environ).stdout
    assert FOREIGN in typed("streams", environ=environ).stdout
    assert "other-database" in found(environ)


class Told:
    """What callers were told, in order."""

    def __init__(self) -> None:
        self.outcomes: list[WriteUnconfirmed | None] = []

    def __call__(self, outcome: WriteUnconfirmed | None) -> None:
        self.outcomes.append(outcome)


async def produce(urls: list[str], calls: int, spool: Spool | None = None) -> tuple[Producer, Told]:
    """An endpoint's calls, one after the other."""
    producer, told = Producer([Stream(connect_async(url), url, True) for url in urls], lambda: None, spool), Told()
    for number in range(calls):
        producer.submit(record(number), told)
        await producer.settle()
    return producer, told


async def test_calls_are_spread_over_them(clients: list[redis.Redis], redis_url: str) -> None:
    producer, told = await produce([redis_url, of(redis_url, 3)], 8)
    await producer.close()
    assert told.outcomes == [None] * 8
    there = [Consumer(one).batches() for one in clients]
    assert sum(there) == 8
    assert min(there) > 0


async def test_what_one_does_not_confirm_another_gets_and_the_spool_only_when_none_takes_it(
    clients: list[redis.Redis], redis_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Spool(tmp_path / "spool", 10**8) as spool:
        producer, told = await produce([NOWHERE, redis_url], 5, spool)
        assert (told.outcomes, spool.events) == ([None] * 5, 0)
        assert "calls go to the other stream servers, not to unix:///nowhere" in caplog.text
        await producer.close()
        producer, told = await produce([NOWHERE, f"{NOWHERE}2"], 5, spool)
        assert (told.outcomes, spool.events) == ([None] * 5, 5)
        await producer.close()
    assert Consumer(clients[0]).batches() == 5


async def test_without_a_spool_the_last_one_is_tried_again_and_again(client: redis.Redis, redis_url: str) -> None:
    producer, told = await produce([NOWHERE, f"{NOWHERE}2"], 3)
    assert [type(one) for one in told.outcomes] == [WriteUnconfirmed] * 3
    assert producer.uses_redis
    await producer.close()


class Forgetful(Stream):
    """A server that takes what it gets, and whose answers are lost."""

    is_open = False

    async def append(self, batches: Sequence[Batch], seconds: float) -> bool:
        await super().append(batches, seconds)
        raise WriteUnconfirmed("Redis did not answer.")


async def test_what_one_has_without_an_answer_goes_to_another_and_is_stored_once(
    store: Store, client: redis.Redis, clients: list[redis.Redis], redis_url: str, partitions: Partitions
) -> None:
    there = Stream(connect_async(of(redis_url, 3)), "two", True)
    producer, told = Producer([Forgetful(connect_async(redis_url), "one", True), there], lambda: None), Told()
    producer.submit(record(7), told)
    await producer.settle()
    await producer.close()
    assert told.outcomes == [None]
    assert [Consumer(one).batches() for one in clients] == [1, 1]
    done = Drain(client, store, partitions=partitions).run()
    assert (done.stored, done.doubles, store.stored()) == (1, 1, 1)


async def test_one_that_is_closed_gets_nothing_and_is_empty_for_good(
    client: redis.Redis, clients: list[redis.Redis], redis_url: str, partitions: Partitions
) -> None:
    emptying = Emptying(next(one for one in partitions if one.name == "two"), partitions, client)
    keep(clients[1], [record(100)])
    emptying.begin()
    producer, told = await produce([redis_url, of(redis_url, 3)], 6)
    assert told.outcomes == [None] * 6
    assert [Consumer(one).batches() for one in clients] == [6, 1]
    assert producer.lanes.states[of(redis_url, 3)] == "drained"
    with pytest.raises(WriteUnconfirmed, match="being drained"):
        await producer.lanes[1].stream.probe(1.0)
    assert emptying.stand() == (1, False)
    clients[1].delete(Keys().stream)
    assert emptying.stand() == (0, True)
    assert KnownStreams(client).all()[0].is_drained
    reopen(next(one for one in partitions if one.name == "two"))
    await producer.lanes[1].stream.probe(1.0)
    await producer.close()


@asynccontextmanager
async def endpoint(
    urls: Sequence[str], client: redis.Redis, queues: str, spool: Spool | None = None
) -> AsyncIterator[tuple[Producer, Told, Owner]]:
    """What writes the calls of an endpoint, to servers that are called by their URLs."""
    async with AsyncExitStack() as opened:
        ways = [(await opened.enter_async_context(connect_async(url)), url) for url in urls]
        producer = Producer([Stream(way, url, one_of_several=True) for way, url in ways], lambda: None, spool)
        owner = Owner(client, producer.lanes, queues)
        owner.look()
        yield producer, Told(), owner
        await producer.close()


async def submit(producer: Producer, told: Told, calls: int) -> None:
    """Calls one after the other."""
    for number in range(calls):
        producer.submit(record(number), told)
        await producer.settle()


async def test_one_that_is_another_databases_gets_nothing_until_it_is_adopted(
    clients: list[redis.Redis], redis_url: str, store: Store
) -> None:
    lineage.claim(store, clients[0])
    clients[1].hset(Keys().mark, "database", "theirs")
    there = of(redis_url, 3)
    async with endpoint([redis_url, there], clients[0], redis_url) as (producer, told, _):
        await submit(producer, told, 6)
        assert told.outcomes == [None] * 6
        assert [Consumer(one).batches() for one in clients] == [6, 0]
        assert producer.lanes.states == {redis_url: "closed", there: "foreign"}
        replayer = SpoolReplayer(producer)
        await replayer._check_condition()
        assert "other-database" in {risk.code for risk in replayer.risks}
        with pytest.raises(ServerForeign):
            await producer.lanes[1].stream.probe(1.0)
        lineage.adopt(store, clients[1])
        await replayer._try_redis(producer.lanes[1])
        await submit(producer, told, 6)
        assert producer.lanes.states[there] == "closed"
    assert Consumer(clients[1]).batches() > 0


async def test_what_only_foreign_ones_could_take_waits_in_the_spool_and_is_not_acknowledged_without_one(
    clients: list[redis.Redis], redis_url: str, tmp_path: Path, store: Store
) -> None:
    lineage.claim(store, clients[0])
    clients[1].hset(Keys().mark, "database", "theirs")
    there = of(redis_url, 3)
    async with endpoint([there], clients[0], redis_url) as (producer, told, _):
        await submit(producer, told, 3)
        assert {type(one) for one in told.outcomes} == {ServerForeign, WriteUnconfirmed}
        assert all("another database's" in str(one) for one in told.outcomes)
        assert not producer.uses_redis
    async with (
        Spool(tmp_path / "spool", 10**8) as spool,
        endpoint([there], clients[0], redis_url, spool) as (producer, told, _),
    ):
        await submit(producer, told, 3)
        assert (told.outcomes, spool.events) == ([None] * 3, 3)
    assert Consumer(clients[1]).batches() == 0


async def test_one_that_is_nobodys_is_the_first_ones_whose_endpoint_writes_there(
    clients: list[redis.Redis], redis_url: str, store: Store
) -> None:
    lineage.claim(store, clients[0])
    ours, there = lineage.name_of(store), of(redis_url, 3)
    with connect(of(redis_url, 4)) as queues_of_others:
        queues_of_others.hset(Keys().mark, "database", "theirs")
        async with (
            endpoint([there], clients[0], redis_url) as (first, told, _),
            endpoint([there], queues_of_others, "theirs") as (second, refused, _),
        ):
            await submit(first, told, 1)
            await submit(second, refused, 1)
        queues_of_others.flushdb()
    assert told.outcomes == [None]
    assert [type(one) for one in refused.outcomes] == [ServerForeign]
    assert database_of(clients[1]) == (ours or "").encode()
    assert Consumer(clients[1]).batches() == 1


async def test_whose_the_calls_are_may_change_or_be_unknown_while_an_endpoint_runs(
    clients: list[redis.Redis], redis_url: str
) -> None:
    there = of(redis_url, 3)
    clients[1].hset(Keys().mark, "database", "new")
    async with endpoint([redis_url, there], clients[0], redis_url) as (producer, told, owner):
        await submit(producer, told, 4)  # of a server without a mark, old or new, nothing is known
        assert Consumer(clients[1]).batches() > 0
        clients[0].hset(Keys().mark, "database", "old")
        owner.look()
        with pytest.raises(ServerForeign):
            await producer.lanes[1].stream.probe(1.0)
        clients[0].hset(Keys().mark, "database", "new")
        owner.look()
        clients[0].delete(Keys().mark)  # emptied: what was known stays
        owner.look()
        await producer.lanes[1].stream.probe(1.0)
        clients[1].hset(Keys().mark, "database", "restored")
        with pytest.raises(ServerForeign):
            await producer.lanes[1].stream.probe(1.0)


def test_the_last_one_that_takes_calls_cannot_be_emptied(client: redis.Redis, partitions: Partitions) -> None:
    one, two = partitions
    Emptying(one, partitions, client).begin()
    with pytest.raises(Unavailable, match="No other stream server takes calls"):
        Emptying(two, partitions, client).begin()


def test_one_that_is_the_other_under_another_name_is_not_closed(client: redis.Redis) -> None:
    one, again = Partition("one", client, has_queues=True), Partition("uno", client)
    with pytest.raises(Unavailable, match="No other stream server takes calls"):
        Emptying(again, Partitions([one, again]), client).begin()
    assert not Consumer(client).is_closed()


def test_a_replica_does_not_count_as_another_that_takes_calls(client: redis.Redis) -> None:
    with valkey() as other, other.client() as there:
        there.replicaof("127.0.0.1", "1")
        one, two = Partition("one", client, has_queues=True), Partition("two", there)
        with pytest.raises(Unavailable, match="No other stream server takes calls"):
            Emptying(one, Partitions([one, two]), client).begin()
        assert not Consumer(client).is_closed()


def test_one_is_not_emptied_while_an_endpoint_knows_no_other(client: redis.Redis, partitions: Partitions) -> None:
    one = next(iter(partitions))
    lone = EndpointReport("on", 0, 0, {}, 0, 0.0, "closed", None)
    Heartbeats(client, "web:host:1").report(lone)
    with pytest.raises(Unavailable, match="web:host:1 would go on writing to one: restart it with INGEST_STREAM"):
        Emptying(one, partitions, client).begin()
    Heartbeats(client, "web:host:1").report(replace(lone, streams={"one": "closed", "two": "closed"}))
    Emptying(one, partitions, client).begin()


def test_what_does_not_answer_is_adopted_later(
    client: redis.Redis, redis_url: str, database: str, store: Store
) -> None:
    environ = {"REDIS_URL": redis_url, "DATABASE_URL": database, "INGEST_STREAM_URLS": f"{redis_url},{NOWHERE}"}
    done = typed("db", "adopt", "--yes", environ=environ)
    assert done.exit_code == 1
    assert "not adopted yet" in done.stderr
    assert "fault" not in done.stderr


def test_what_fails_is_not_asked_again_for_a_while_and_then_it_is(client: redis.Redis) -> None:
    now = [0.0]
    with connect(NOWHERE) as nobody:
        found = Partitions([Partition("one", client), Partition("gone", nobody)], lambda: now[0])
        assert found.each(Consumer.batches) == {"one": 0}
        with pytest.raises(redis.ConnectionError):
            found.every(Consumer.batches)
        assert found.away("gone") is not None
        now[0] = 60.0
        assert found.away("gone") is None


class Hurried(Stream):
    """A server that does not confirm its first batch in time, and the next it does."""

    is_open = False
    hurries = True

    async def append(self, batches: Sequence[Batch], seconds: float) -> bool:
        if self.hurries:
            self.hurries = False
            raise WriteUnconfirmed("Redis did not answer.")
        return await super().append(batches, seconds)


async def test_the_last_one_that_takes_calls_is_asked_twice_before_the_spool(
    clients: list[redis.Redis], redis_url: str, tmp_path: Path
) -> None:
    async with Spool(tmp_path / "spool", 10**8) as spool:
        last = Hurried(connect_async(redis_url), "two", True)
        producer, told = Producer([Stream(connect_async(NOWHERE), "one", True), last], lambda: None, spool), Told()
        producer.submit(record(7), told)
        await producer.settle()
        assert (told.outcomes, spool.events) == ([None], 0)
        await producer.close()
    assert Consumer(clients[0]).batches() == 1
