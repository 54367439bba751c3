"""What handlers have to do: given once, claimed by one at a time, done or dead in the end."""

import os
import random
import signal
import threading
import time
from collections import Counter
from typing import Any

import pytest
from sqlalchemy import text

from ingest.batch import MAX_RECORDS, Record
from ingest.errors import RowsRejected
from tests.support.builders import decoded, failure, handler, numbers, record, refused_body
from tests.support.sql import REFUSALS, add, dead, execute, give, outbox
from workers.handlers import work_queue
from workers.handlers.work_queue import CRASHES, JITTER, LEASE, Claim, WorkQueue
from workers.store import store as store_module
from workers.store import tables
from workers.store.store import Store


@pytest.fixture
def handoffs(store: Store) -> WorkQueue:
    return WorkQueue(store)


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = time.time_ns() // 1000

    def __call__(self, later: float = 0.0) -> int:
        return self.now + int(later * 1e6)

    def advance(self, seconds: float) -> None:
        self.now += int(seconds * 1e6)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(work_queue, "_now", clock)
    return clock


# --- the outbox ---


def test_only_new_events_are_fill_outbox_by_their_type(store: Store) -> None:
    assert add(store, record(1), record(2, "click"), record(1), record(3)) == 3
    assert outbox(store) == {"open": [1, 3], "click": [2]}
    assert add(store, record(1), record(4), record(2, "click")) == 1
    assert outbox(store) == {"open": [1, 3, 4], "click": [2]}


def test_many_events_at_once_are_fill_outbox_once_too(store: Store) -> None:
    add(store, *map(record, range(0, 600, 3)))
    add(store, *map(record, range(600)), *map(record, range(600)))
    assert sorted(outbox(store)["open"]) == list(range(600))


def test_nothing_is_fill_outbox_unless_it_is_asked_for(store: Store) -> None:
    store.add([decoded(record(1))])
    assert outbox(store) == {}


def test_what_the_database_refuses_is_not_fill_outbox(store: Store) -> None:
    execute(store, REFUSALS[store.engine.dialect.name][0])
    with pytest.raises(RowsRejected):
        add(store, record(1), record(2, body=refused_body(2)))
    assert (outbox(store), store.stored()) == ({}, 0)


def test_an_addition_that_is_killed_before_its_commit_leaves_nothing(database: str, store: Store) -> None:
    put_out = store_module._fill_outbox

    def put_out_and_die(*arguments: Any) -> None:
        put_out(*arguments)
        os.kill(os.getpid(), signal.SIGKILL)

    pid = os.fork()
    if pid == 0:
        try:
            store_module._fill_outbox = put_out_and_die  # type: ignore[assignment]
            add(Store.open(database), record(1))
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert (outbox(store), store.stored()) == ({}, 0)
    assert add(store, record(1)) == 1
    assert outbox(store) == {"open": [1]}


# --- who gets what ---


def test_each_handler_gets_its_types_once(store: Store, handoffs: WorkQueue) -> None:
    known = {one.name: one for one in (handler("a", "open"), handler("b", "open", "click"), handler("c", "abuse"))}
    add(store, record(1), record(2, "click"), record(3, "bounce"), record(4))
    assert handoffs.waiting() == {"": 4}
    assert handoffs.dispatch(known) == 3  # rows, one for each type
    assert handoffs.dispatch(known) == 0
    assert (outbox(store), handoffs.waiting(), handoffs.due()) == ({}, {"a": 2, "b": 3}, ["a", "b"])
    claim = handoffs.claim(known["b"], 500, 1)
    assert claim is not None
    assert claim.records == [record(1), record(4), record(2, "click")]
    assert handoffs.claim(known["c"], 500, 1) is None


def test_two_that_dispatch_at_once_give_everything_once(store: Store, database: str) -> None:
    known = {"h": handler()}
    for number in range(200):
        add(store, record(number))
    moved: list[int] = []

    def dispatch() -> None:
        mine = Store.open(database)
        moved.append(WorkQueue(mine).dispatch(known))
        mine.close()

    together(dispatch, 3)
    assert sum(moved) == 200
    assert WorkQueue(store).waiting() == {"h": 200}


def together(work: Any, threads: int) -> None:
    """Do something in several threads at once."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    running = [threading.Thread(target=run) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert errors == []


# --- claims ---


def test_a_claim_is_nobody_elses_until_its_lease_is_over(store: Store, handoffs: WorkQueue, clock: Clock) -> None:
    give(store, "h", [record(1)])
    first = handoffs.claim(handler(), 500, 1)
    assert first is not None
    clock.advance(LEASE - 1)
    assert (handoffs.claim(handler(), 500, 1), handoffs.due()) == (None, [])
    handoffs.renew(first)
    clock.advance(LEASE - 1)
    assert handoffs.claim(handler(), 500, 1) is None
    assert handoffs.next_due({"h"}) == 1
    clock.advance(1)
    second = handoffs.claim(handler(), 500, 1)
    assert second is not None
    assert (second.ids, second.records, crashes(store)) == (first.ids, first.records, [1])


def crashes(store: Store) -> list[int]:
    with store.reading() as connection:
        return list(connection.execute(text("SELECT crashes FROM handoffs ORDER BY id")).scalars())


def test_what_is_settled_is_gone_and_what_is_left_stays_claimed_or_is_released(
    store: Store, handoffs: WorkQueue
) -> None:
    give(store, "h", [record(n) for n in range(4)])
    claim = handoffs.claim(handler(), 500, 1)
    assert claim is not None
    handoffs.settle(handler(), claim, claim.records[1:], release=False)
    assert (handoffs.waiting(), handoffs.due(), numbers(claim.records)) == ({"h": 3}, [], [1, 2, 3])
    handoffs.renew(claim)
    handoffs.settle(handler(), claim, claim.records[1:], release=True)
    assert (handoffs.waiting(), handoffs.due()) == ({"h": 2}, ["h"])
    claim = handoffs.claim(handler(), 500, 1)
    assert claim is not None
    assert (numbers(claim.records), crashes(store)) == ([2, 3], [0])
    handoffs.settle(handler(), claim, [], release=True)
    assert (handoffs.waiting(), handoffs.next_due({"h"})) == ({}, None)


def test_a_claim_of_which_nothing_is_left_can_be_renewed(store: Store, handoffs: WorkQueue) -> None:
    give(store, "h", [record(1)])
    claim = handoffs.claim(handler(), 500, 1)
    assert claim is not None
    handoffs.settle(handler(), claim, [], release=False)
    handoffs.renew(claim)


def test_what_kills_its_worker_again_and_again_is_found_and_becomes_a_dead_letter(
    store: Store, handoffs: WorkQueue, clock: Clock
) -> None:
    give(store, "h", [record(n) for n in range(16)])
    done: list[int] = []
    deaths = 0
    for _ in range(100):
        clock.advance(LEASE)
        claim = handoffs.claim(handler(), 500, 1)
        if claim is None:
            continue
        if 11 in numbers(claim.records):
            deaths += 1
            continue
        done += numbers(claim.records)
        handoffs.settle(handler(), claim, [], release=True)
    assert sorted(done) == [n for n in range(16) if n != 11]
    assert (dead(store), handoffs.waiting()) == ([11], {})
    assert deaths <= CRASHES + 5  # once more for each halving
    (row,) = store.rows(tables.dead_letters)
    assert (row.error, row.attempts) == (f"Its worker died {CRASHES} times while it was handled.", 1)


def test_the_calls_under_way_at_once_are_never_more_than_a_handler_wants(
    store: Store, handoffs: WorkQueue, database: str
) -> None:
    one = handler(concurrency=5)
    for n in range(60):
        give(store, "h", [record(n)])
    lock = threading.Lock()
    under_way, most, done = 0, 0, 0

    def work() -> None:
        nonlocal under_way, most, done
        mine = Store.open(database)
        rng = random.Random()
        while handoffs.waiting():
            claim = WorkQueue(mine).claim(one, 2, 2)
            if claim is None:
                time.sleep(0.002)
                continue
            with lock:
                under_way += claim.slots
                most = max(most, under_way)
            time.sleep(rng.random() * 0.003)
            with lock:
                under_way -= claim.slots
                done += len(claim.records)
            WorkQueue(mine).settle(one, claim, [], release=True)
        mine.close()

    together(work, 4)
    assert done == 60
    assert most <= 5


def test_slots_are_free_again_when_a_claim_is_released_or_its_lease_is_over(
    store: Store, handoffs: WorkQueue, clock: Clock
) -> None:
    one = handler(concurrency=3)
    for n in range(6):
        give(store, "h", [record(n)])
    first, second = handoffs.claim(one, 1, 2), handoffs.claim(one, 1, 2)
    assert first is not None
    assert second is not None
    assert (first.slots, second.slots, handoffs.claim(one, 1, 1)) == (2, 1, None)
    handoffs.settle(one, second, second.records, release=False)  # which changes nothing
    assert handoffs.claim(one, 1, 1) is None
    handoffs.settle(one, second, [], release=True)
    third = handoffs.claim(one, 1, 9)
    assert third is not None
    assert third.slots == 1
    clock.advance(LEASE)
    again = handoffs.claim(one, 1, 9)
    assert again is not None
    assert again.slots == 3


# --- failures ---


def test_what_failed_is_due_again_after_its_delay_and_dead_after_its_last(
    store: Store, handoffs: WorkQueue, clock: Clock
) -> None:
    give(store, "h", [record(1), record(2)])
    claim = handoffs.claim(handler(), 500, 1)
    assert claim is not None
    claim.failures = [failure(record(1), 10.0), failure(record(2), None)]
    handoffs.settle(handler(), claim, [], release=True)
    assert (handoffs.waiting(), handoffs.failed(), dead(store)) == ({"h": 1}, {"h": 1}, [2])
    soonest = handoffs.next_due({"h"})
    assert soonest is not None
    assert 10.0 <= soonest <= 10.0 * (1 + JITTER)
    clock.advance(9.9)
    assert handoffs.claim(handler(), 500, 1) is None
    clock.advance(10.0 * JITTER + 0.2)
    claim = handoffs.claim(handler(), 500, 1)
    assert claim is not None
    assert (numbers(claim.records), claim.attempt) == ([1], 1)


def test_a_batch_that_failed_is_claimed_in_halves(store: Store, handoffs: WorkQueue, clock: Clock) -> None:
    one = handler(batch=10)
    give(store, "h", [record(n) for n in range(10)])
    sizes: list[int] = []
    while (claim := handoffs.claim(one, 10, 1)) and len(sizes) < 20:
        sizes.append(len(claim.records))
        if len(claim.records) > 1:
            claim.failures = [failure(call, 1.0) for call in claim.records]
        handoffs.settle(one, claim, [], release=True)
        clock.advance(2)
    assert sorted(sizes, reverse=True) == [10, 5, 5, 3, 3, 2, 2, 2, 2, *[1] * 10]


def test_the_newest_failure_of_a_call_is_kept(store: Store, handoffs: WorkQueue) -> None:
    for error in ("first", "second"):
        give(store, "h", [record(1)])
        claim = handoffs.claim(handler(), 500, 1)
        assert claim is not None
        claim.failures = [failure(record(1), None)._replace(error=error, traceback="a\0b")]
        handoffs.settle(handler(), claim, [], release=True)
    rows = list(store.rows(tables.dead_letters))
    assert [(row.error, row.traceback) for row in rows] == [("second", "a\ufffdb")]


def test_many_and_large_calls_are_kept_in_rows_of_a_size(store: Store, handoffs: WorkQueue) -> None:
    large = [record(n, body=b"type=open&id=1&x=" + random.Random(n).randbytes(512 * 1024).hex().encode())
             for n in range(3)]  # fmt: skip
    small = [record(n) for n in range(10, 610)]
    add(store, *large, *small)
    with store.reading() as connection:
        counts = list(connection.execute(text("SELECT count FROM outbox ORDER BY id")).scalars())
    assert sum(counts) == 603
    assert len(counts) >= 4
    assert max(counts) <= MAX_RECORDS
    handoffs.dispatch({"h": handler()})
    found: list[Record] = []
    while claim := handoffs.claim(handler(), 500, 1):
        assert len(claim.records) <= MAX_RECORDS
        found += claim.records[1:]
        claim.failures = [failure(claim.records[0], None)]
        found.append(claim.records[0])
        handoffs.settle(handler(), claim, [], release=True)
    assert sorted(found) == sorted([*large, *small])


# --- all of it, at random ---


@pytest.mark.parametrize("seed", range(3))
def test_whatever_happens_in_whatever_order_each_event_ends_done_or_dead_once(
    store: Store, handoffs: WorkQueue, clock: Clock, seed: int
) -> None:
    rng = random.Random(seed)
    one = handler(batch=rng.choice([None, 4]), concurrency=3)
    given = iter(range(10_000))
    events, done = 0, Counter[int]()
    claims: list[Claim] = []

    def settle(claim: Claim, everything: bool) -> None:
        left: list[Record] = []
        for call in claim.records:
            fate = rng.random()
            if fate < 0.3 and not everything:
                left.append(call)
            elif fate < 0.5:
                claim.failures.append(failure(call, rng.choice([0.0, 1.0, 30.0]) if claim.attempt < 3 else None))
            else:
                done.update(numbers([call]))
        release = everything or rng.random() < 0.5
        handoffs.settle(one, claim, left, release)
        if left and not release:
            claims.append(claim)

    def wait(seconds: float) -> None:
        for claim in claims:
            handoffs.renew(claim)
        clock.advance(seconds)
        for claim in claims:
            handoffs.renew(claim)

    for move in rng.choices(["add", "claim", "claim", "settle", "settle", "crash", "wait", "dispatch"], k=150):
        if move == "add":
            new = [record(next(given)) for _ in range(rng.randint(1, 6))]
            events += add(store, *new, *new[:1])
        elif move == "dispatch":
            handoffs.dispatch({"h": one})
        elif move == "claim":
            claim = handoffs.claim(one, rng.randint(1, 9), rng.randint(1, 3))
            claims += [claim] if claim else []
            assert sum(claim.slots for claim in claims) <= 3
        elif move == "settle" and claims:
            settle(claims.pop(rng.randrange(len(claims))), everything=False)
        elif move == "crash" and claims:
            claims.pop(rng.randrange(len(claims)))
            wait(LEASE - 1)
            wait(1)
        elif move == "wait":
            wait(rng.random() * LEASE * 0.9)
    handoffs.dispatch({"h": one})
    for _ in range(1000):
        if not handoffs.waiting():
            break
        clock.advance(40)
        if claim := handoffs.claim(one, 500, 1):
            settle(claim, everything=True)
    assert handoffs.waiting() == {}
    assert done + Counter(dead(store)) == Counter(range(events))
