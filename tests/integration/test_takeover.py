"""Calls that kill whoever reads them: set aside alone after a few deaths, and everything else is stored."""

import os
import signal
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import redis

from ingest import batch
from ingest.batch import Record
from ingest.errors import Unavailable
from ingest.stream.consumer import Consumer
from ingest.stream.suspects import Suspects
from tests.support.builders import record
from tests.support.sql import stored_numbers
from tests.support.stream import KEYS, keep
from workers.drain import drain, takeover
from workers.drain.drain import Drain
from workers.drain.takeover import STORING_DEATHS
from workers.records import read
from workers.runtime import stop_flag
from workers.store import row_plans, rows, tables
from workers.store.backend import Row
from workers.store.rows import Added
from workers.store.store import Store

pytestmark = pytest.mark.slow

#: What is in calls that kill.
POISON = b"type=open&poison=1"


@pytest.fixture(autouse=True)
def taken_over_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.stream.consumer.RECLAIM_IDLE_MS", 0)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def poison(number: int) -> Record:
    return record(number, body=POISON)


#: Runs a drain in a process of its own, and says whether it lived.
Run = Callable[[], bool]


@pytest.fixture
def run(redis_url: str, database: str) -> Run:
    def in_a_process() -> bool:
        pid = os.fork()
        if pid == 0:
            try:
                with redis.Redis.from_url(redis_url) as client, Store.open(database) as store:
                    Drain(client, store).run()
                os._exit(0)
            finally:
                os._exit(1)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

    return in_a_process


def deaths(run: Run) -> int:
    """How many drains die until one does not."""
    for died in range(20):
        if run():
            return died
    raise AssertionError("they die for ever")


def quarantined(store: Store) -> list[tuple[int, str]]:
    found = store.rows(tables.quarantine)
    return sorted((int.from_bytes(row.delivery_id, "big"), row.reason) for row in found)


def reads_to_death(monkeypatch: pytest.MonkeyPatch) -> None:
    def read_or_die(call: Record) -> Any:
        if call.body == POISON:
            die()
        return read(call)

    monkeypatch.setattr(row_plans, "read", read_or_die)


@pytest.mark.parametrize(("culprits", "most"), [((30,), 3), ((0,), 3), ((30, 31), 4), ((5, 30), 6)])
def test_what_kills_its_reader_is_set_aside_alone_and_all_else_is_stored(
    client: redis.Redis,
    store: Store,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    culprits: Sequence[int],
    most: int,
) -> None:
    reads_to_death(monkeypatch)
    calls = [poison(n) if n in culprits else record(n) for n in range(80)]
    keep(client, *(calls[at : at + 20] for at in range(0, 80, 20)))
    assert 2 < deaths(run) <= most
    assert stored_numbers(store) == [n for n in range(80) if n not in culprits]
    assert [number for number, _ in quarantined(store)] == list(culprits)
    assert "its drain died" in quarantined(store)[0][1]
    stream = Consumer(client)
    assert (stream.batches(), client.exists(KEYS.suspects)) == (0, 0)
    assert stream.counts() == {"accepted": 80, "drained": 80}


def test_the_others_do_not_wait_for_the_culprit_to_be_found(
    client: redis.Redis, store: Store, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads_to_death(monkeypatch)
    keep(client, [poison(0)], [record(1)], [record(2)], [record(3)])
    assert not run()
    assert not run()
    assert not run()
    assert stored_numbers(store) == [1, 2, 3]
    assert run()
    assert [number for number, _ in quarantined(store)] == [0]


def test_what_kills_while_it_is_stored_is_set_aside_a_little_later(
    client: redis.Redis, store: Store, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = Store.add_rows

    def add_or_die(self: Store, found: Sequence[Row], *others: Any, **more: Any) -> Added:
        if any("poison" in str(row) for row in found):
            die()
        return add(self, found, *others, **more)

    monkeypatch.setattr(Store, "add_rows", add_or_die)
    keep(client, [record(0), poison(1), record(2)])
    assert deaths(run) == STORING_DEATHS
    assert (stored_numbers(store), [number for number, _ in quarantined(store)]) == ([0, 2], [1])


def test_a_batch_that_kills_whoever_unpacks_it_goes_to_the_dead_stream(
    client: redis.Redis, store: Store, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unpack_or_die(packed: bytes) -> list[Record]:
        records = real(packed)
        if records[0].body == POISON:
            die()
        return records

    real = batch.unpack
    for module in (drain, takeover):
        monkeypatch.setattr(module, "unpack", unpack_or_die)
    keep(client, [poison(0), record(1)], [record(2)])
    assert deaths(run) == 3
    assert (stored_numbers(store), Consumer(client).dead_batches()) == ([2], 1)


def test_a_fault_of_the_program_counts_like_a_death(
    client: redis.Redis, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def row_or_fault(event: Any) -> Any:
        if "poison" in event.payload:
            raise MemoryError
        return real(event)

    real = rows.event_row
    monkeypatch.setattr(row_plans, "event_row", row_or_fault)
    keep(client, [record(0), poison(1), record(2)])
    for _ in range(3):
        with pytest.raises(MemoryError):
            Drain(client, store).run()
    Drain(client, store).run()
    assert (stored_numbers(store), [number for number, _ in quarantined(store)]) == ([0, 2], [1])


@pytest.mark.parametrize("before", [0, 2])
def test_outages_and_being_asked_to_stop_do_not_count(
    client: redis.Redis, store: Store, monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    keep(client, [record(n) for n in range(5)])
    (entry,) = Consumer(client, "died").claim(1)
    for _ in range(before):
        Suspects(client).begin(entry.id)
    add, asked = Store.add_rows, 0

    def add_or_fail(self: Store, *calls: Any, **more: Any) -> Added:
        nonlocal asked
        asked += 1
        if asked <= 8:
            raise Unavailable("away")
        return add(self, *calls, **more)

    monkeypatch.setattr(Store, "add_rows", add_or_fail)
    for _ in range(8):
        with pytest.raises(Unavailable):
            Drain(client, store).run()
        assert Suspects(client).times(entry.id) == before
    stop_flag.request()
    try:
        Drain(client, store).run()
    finally:
        stop_flag.clear()
    assert Suspects(client).times(entry.id) == before
    Drain(client, store).run()
    assert (stored_numbers(store), quarantined(store)) == (list(range(5)), [])


def test_a_split_that_is_to_end_goes_on_at_the_same_call(
    client: redis.Redis, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(client, [record(n) for n in range(5)])
    (entry,) = Consumer(client, "died").claim(1)
    Suspects(client).begin(entry.id)
    add = Store.add_rows

    def add_and_stop(self: Store, *calls: Any, **more: Any) -> Added:
        stop_flag.request()
        return add(self, *calls, **more)

    monkeypatch.setattr(Store, "add_rows", add_and_stop)
    for stored in range(1, 6):
        try:
            Drain(client, store).run()
        finally:
            stop_flag.clear()
        assert stored_numbers(store) == list(range(stored))
    assert (Consumer(client).batches(), quarantined(store), client.exists(KEYS.suspects)) == (0, [], 0)
