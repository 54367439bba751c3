"""A stream server that hangs keeps no call waiting: its batch goes to another as well, and is stored once."""

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from functools import partial

import pytest

from ingest import batch
from ingest.errors import WriteUnconfirmed
from ingest.redis_client import connect_async
from ingest.stream.appends import Stream
from ingest.stream.partitions import Partition, Partitions
from ingest.stream.producer import Producer
from tests.support.builders import record
from tests.support.held_redis import held_redis
from tests.support.running import PATIENCE
from tests.support.stream import records
from tests.support.valkey import Valkey, valkey
from workers.drain.drain import Drain
from workers.store.store import Store

#: How many times the order of answers is drawn.
DRAWN = 12


@pytest.fixture(autouse=True)
def given_up_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """No server is given up within a test: what is answered is answered by another, on a busy machine often."""
    monkeypatch.setattr("ingest.stream.copies.AT_ONCE", 1000.0)
    monkeypatch.setattr("ingest.stream.producer.OTHERS_TIMEOUT", 4 * PATIENCE)
    monkeypatch.setattr("ingest.stream.producer.APPEND_TIMEOUT", 4 * PATIENCE)
    monkeypatch.setattr("ingest.stream.producer.APPEND_PATIENCE", 4 * PATIENCE)


@pytest.fixture
def servers() -> Iterator[list[Valkey]]:
    with ExitStack() as stack:
        yield [stack.enter_context(valkey()) for _ in range(3)]


@asynccontextmanager
async def producing(urls: list[str]) -> AsyncIterator[Producer]:
    """What writes to these servers, connected to each."""
    async with AsyncExitStack() as opened:
        ways = [await opened.enter_async_context(connect_async(url)) for url in urls]
        streams = [Stream(way, str(number), one_of_several=True) for number, way in enumerate(ways)]
        producer = Producer(streams, lambda: None)
        yield producer
        await producer.close()


async def kept(producer: Producer, numbers: range) -> None:
    """Calls one by one, each of which is confirmed."""
    for number in numbers:
        answer = asyncio.get_running_loop().create_future()
        producer.submit(record(number), answer.set_result)
        assert await asyncio.wait_for(answer, PATIENCE) is None


async def settled(producer: Producer) -> None:
    """Wait until each server has answered, also with what another was quicker with."""
    async with asyncio.timeout(PATIENCE):
        while producer.lanes.any_writes:
            await asyncio.sleep(0.01)


async def test_calls_are_answered_while_a_server_is_frozen_and_stored_once_when_it_goes_on(
    servers: list[Valkey], store: Store
) -> None:
    async with producing([server.url for server in servers]) as producer:
        await kept(producer, range(6))
        await settled(producer)
        servers[1].send(signal.SIGSTOP)
        number = 6
        async with asyncio.timeout(PATIENCE):
            while not producer.lanes[1].writes:  # it was slow before, perhaps, and then not chosen at once
                await kept(producer, range(number, number + 1))
                number += 1
        await kept(producer, range(number, number + 20))
        assert producer.copies.number >= 1
        servers[1].send(signal.SIGCONT)
    assert producer.events == (events := number + 20)
    with ExitStack() as stack:
        clients = [stack.enter_context(server.client()) for server in servers]
        assert sum(len(records(client)) for client in clients) >= events + 1
        found = Partitions([Partition(str(n), client, has_queues=not n) for n, client in enumerate(clients)])
        assert Drain(clients[0], store, partitions=found).run().stored == store.stored() == events


async def test_no_call_is_answered_while_no_server_has_it(servers: list[Valkey]) -> None:
    answers: list[WriteUnconfirmed | None] = []
    async with producing([server.url for server in servers]) as producer:
        await kept(producer, range(6))
        await settled(producer)
        copies = producer.copies.number
        for server in servers:
            server.send(signal.SIGSTOP)
        producer.submit(record(7), answers.append)
        async with asyncio.timeout(PATIENCE):
            while producer.copies.number == copies:
                await asyncio.sleep(0.01)
        assert answers == []
        servers[2].send(signal.SIGCONT)
        servers[0].send(signal.SIGCONT)
        servers[1].send(signal.SIGCONT)
    assert answers == [None]


@pytest.mark.parametrize("seed", range(DRAWN))
async def test_whatever_servers_answer_and_in_whatever_order_a_200_means_that_one_confirmed_it(seed: int) -> None:
    draw = random.Random(seed)
    confirmed: set[bytes] = set()  # the ids of calls
    answers: dict[int, WriteUnconfirmed | None] = {}
    async with AsyncExitStack() as stack:
        held = [await stack.enter_async_context(held_redis()) for _ in range(3)]
        async with producing([one.url for one in held]) as producer:

            def answered(number: int, outcome: WriteUnconfirmed | None) -> None:
                assert number not in answers
                assert outcome is not None or record(number).delivery_id in confirmed
                answers[number] = outcome

            for number in range(8):
                producer.submit(record(number), partial(answered, number))
                await asyncio.sleep(draw.choice((0, 0.03)))
            async with asyncio.timeout(PATIENCE):
                while len(answers) < 8 or producer.lanes.any_writes:
                    if waiting := [one for one in held if one.held]:
                        one = draw.choice(waiting)
                        if draw.random() < 0.7:
                            confirmed |= {each.delivery_id for each in batch.unpack(one.held[0][-1])}
                            one.answer()
                        else:
                            one.answer(b"-OOM command not allowed when used memory > 'maxmemory'.\r\n")
                    await asyncio.sleep(draw.choice((0, 0.005, 0.03)))
    assert None in answers.values()
