"""What handlers have to do: given once, claimed by one at a time, done or dead in the end."""

import itertools
import os
import random
import signal
import threading
import time
from collections import Counter
from contextlib import closing
from functools import partial
from typing import Any

import pytest
import redis
from hypothesis import Phase, settings, strategies
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import event, text

from ingest.batch import MAX_RECORDS, Record
from ingest.errors import RowsRejected
from ingest.stream.clock import redis_time
from tests.support.builders import decoded, failure, handler, numbers, record, refused_body
from tests.support.running import PATIENCE
from tests.support.sql import REFUSALS, add, dead, execute, give, outbox
from workers.handlers.claims import Claim, Part
from workers.handlers.forgetting import forget
from workers.handlers.work_queue import CRASHES, JITTER, LEASE, WorkQueue
from workers.store import tables
from workers.store.store import Store


@pytest.fixture
def queue(store: Store) -> WorkQueue:
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
    monkeypatch.setattr(WorkQueue, "_now", staticmethod(clock))
    return clock


# --- the outbox ---


def test_only_new_events_enter_the_outbox_by_their_type(store: Store) -> None:
    assert add(store, record(1), record(2, "click"), record(1), record(3)) == 3
    assert outbox(store) == {"open": [1, 3], "click": [2]}
    assert add(store, record(1), record(4), record(2, "click")) == 1
    assert outbox(store) == {"open": [1, 3, 4], "click": [2]}


def test_of_many_events_at_once_each_enters_the_outbox_once(store: Store) -> None:
    add(store, *map(record, range(0, 600, 3)))
    add(store, *map(record, range(600)), *map(record, range(600)))
    assert sorted(outbox(store)["open"]) == list(range(600))


def test_nothing_enters_the_outbox_unless_it_is_asked_for(store: Store) -> None:
    store.add([decoded(record(1))])
    assert outbox(store) == {}


def test_what_the_database_rejects_does_not_enter_the_outbox(store: Store) -> None:
    execute(store, REFUSALS[store.engine.dialect.name][0])
    with pytest.raises(RowsRejected):
        add(store, record(1), record(2, body=refused_body(2)))
    assert (outbox(store), store.stored()) == ({}, 0)


def test_an_addition_that_is_killed_before_its_commit_leaves_nothing(database: str, store: Store) -> None:
    def die(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("INSERT INTO outbox"):
            os.kill(os.getpid(), signal.SIGKILL)

    pid = os.fork()
    if pid == 0:
        try:
            dying = Store.open(database)
            event.listen(dying.engine, "after_cursor_execute", die)
            add(dying, record(1))
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert (outbox(store), store.stored()) == ({}, 0)
    assert add(store, record(1)) == 1
    assert outbox(store) == {"open": [1]}


# --- who gets what ---


def test_each_handler_gets_its_types_once(store: Store, queue: WorkQueue) -> None:
    known = {one.name: one for one in (handler("a", "open"), handler("b", "open", "click"), handler("c", "abuse"))}
    add(store, record(1), record(2, "click"), record(3, "bounce"), record(4))
    assert queue.waiting() == {"": 4}
    assert queue.dispatch(known) == 3  # rows, one for each type
    assert queue.dispatch(known) == 0
    assert (outbox(store), queue.waiting(), queue.due()) == ({}, {"a": 2, "b": 3}, ["a", "b"])
    claim = queue.claim(known["b"], 500, 1)
    assert claim is not None
    assert claim.records == [record(1), record(4), record(2, "click")]
    assert queue.claim(known["c"], 500, 1) is None


def test_two_that_dispatch_at_once_give_everything_once(store: Store, database: str) -> None:
    known = {"h": handler()}
    for number in range(60):
        add(store, record(number))
    moved: list[int] = []

    def dispatch() -> None:
        mine = Store.open(database)
        moved.append(WorkQueue(mine).dispatch(known))
        mine.close()

    together(dispatch, 3)
    assert sum(moved) == 60
    assert WorkQueue(store).waiting() == {"h": 60}


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


def test_no_one_else_gets_a_claim_until_its_lease_has_expired(
    store: Store, queue: WorkQueue, clock: Clock
) -> None:
    give(store, "h", [record(1)])
    first = queue.claim(handler(), 500, 1)
    assert first is not None
    clock.advance(LEASE - 1)
    assert (queue.claim(handler(), 500, 1), queue.due()) == (None, [])
    queue.renew(first)
    clock.advance(LEASE - 1)
    assert queue.claim(handler(), 500, 1) is None
    assert queue.next_due({"h"}) == 1
    clock.advance(1)
    second = queue.claim(handler(), 500, 1)
    assert second is not None
    assert (second.ids, second.records, crashes(store)) == (first.ids, first.records, [1])


def crashes(store: Store) -> list[int]:
    with store.reading() as connection:
        return list(connection.execute(text("SELECT crashes FROM handoffs ORDER BY id")).scalars())


def test_what_is_left_of_a_claim_stays_claimed_or_is_released(store: Store, queue: WorkQueue) -> None:
    give(store, "h", [record(n) for n in range(4)])
    claim = queue.claim(handler(), 500, 1)
    assert claim is not None
    queue.settle(handler(), claim, claim.records[1:], release=False)
    assert (queue.waiting(), queue.due(), numbers(claim.records)) == ({"h": 3}, [], [1, 2, 3])
    queue.renew(claim)
    queue.settle(handler(), claim, claim.records[1:], release=True)
    assert (queue.waiting(), queue.due()) == ({"h": 2}, ["h"])
    claim = queue.claim(handler(), 500, 1)
    assert claim is not None
    assert (numbers(claim.records), crashes(store)) == ([2, 3], [0])
    queue.settle(handler(), claim, [], release=True)
    assert (queue.waiting(), queue.next_due({"h"})) == ({}, None)


def test_a_claim_of_which_nothing_is_left_can_be_renewed(store: Store, queue: WorkQueue) -> None:
    give(store, "h", [record(1)])
    claim = queue.claim(handler(), 500, 1)
    assert claim is not None
    queue.settle(handler(), claim, [], release=False)
    queue.renew(claim)


def test_a_call_that_keeps_killing_its_worker_becomes_a_dead_letter(
    store: Store, queue: WorkQueue, clock: Clock
) -> None:
    give(store, "h", [record(n) for n in range(16)])
    done: list[int] = []
    deaths = 0
    for _ in range(100):
        clock.advance(LEASE)
        claim = queue.claim(handler(), 500, 1)
        if claim is None:
            continue
        if 11 in numbers(claim.records):
            deaths += 1
            continue
        done += numbers(claim.records)
        queue.settle(handler(), claim, [], release=True)
    assert sorted(done) == [n for n in range(16) if n != 11]
    assert (dead(store), queue.waiting()) == ([11], {})
    assert deaths <= CRASHES + 5  # once more for each halving
    (row,) = store.rows(tables.dead_letters)
    assert (row.error, row.attempts) == (f"Its worker died {CRASHES} times while it was handled.", 1)


def test_no_more_calls_are_under_way_than_a_handler_allows(store: Store, queue: WorkQueue, database: str) -> None:
    one = handler(concurrency=5)
    for n in range(60):
        give(store, "h", [record(n)])
    claims: list[Claim | None] = [None] * 4
    under_way: list[int] = []
    # Each round every worker claims, whatever the others have settled so far; then the claims are counted.
    claimed = threading.Barrier(4, lambda: under_way.append(sum(claim.slots for claim in claims if claim)))
    workers = itertools.count()
    done: list[Record] = []

    def work() -> None:
        number = next(workers)
        with closing(Store.open(database)) as mine:
            while not under_way or under_way[-1]:
                claim = claims[number] = WorkQueue(mine).claim(one, 2, 2)
                claimed.wait(PATIENCE)
                if claim is not None:
                    done.extend(claim.records)
                    WorkQueue(mine).settle(one, claim, [], release=True)

    together(work, 4)
    assert sorted(done) == [record(n) for n in range(60)]
    assert max(under_way) == 5


def test_slots_are_free_after_a_release_or_when_a_lease_has_expired(
    store: Store, queue: WorkQueue, clock: Clock
) -> None:
    one = handler(concurrency=3)
    for n in range(6):
        give(store, "h", [record(n)])
    first, second = queue.claim(one, 1, 2), queue.claim(one, 1, 2)
    assert first is not None
    assert second is not None
    assert (first.slots, second.slots, queue.claim(one, 1, 1)) == (2, 1, None)
    queue.settle(one, second, second.records, release=False)  # which changes nothing
    assert queue.claim(one, 1, 1) is None
    queue.settle(one, second, [], release=True)
    third = queue.claim(one, 1, 9)
    assert third is not None
    assert third.slots == 1
    clock.advance(LEASE)
    again = queue.claim(one, 1, 9)
    assert again is not None
    assert again.slots == 3


def test_a_lease_does_not_depend_on_the_clock_of_a_worker(
    store: Store, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    give(store, "h", [record(1)])
    with monkeypatch.context() as an_hour_ahead:
        real = time.time_ns
        an_hour_ahead.setattr(time, "time_ns", lambda: real() + 3600 * 10**9)
        assert WorkQueue(store, partial(redis_time, client)).claim(handler(), 500, 1) is not None
    soonest = WorkQueue(store, partial(redis_time, client)).next_due({"h"})
    assert soonest is not None
    assert 0 < soonest <= LEASE


def test_what_was_erased_is_not_put_back_by_the_worker_that_had_claimed_it(store: Store, queue: WorkQueue) -> None:
    give(store, "h", [record(1), record(2)])
    claim = queue.claim(handler(), 500, 1)
    assert claim is not None
    assert forget(store, lambda call: call == record(1)) == 1
    claim.failures = [failure(record(1), None)]
    queue.renew(claim)
    for release in (False, True):  # as a worker does, now and then and at the end
        queue.settle(handler(), claim, [record(1), record(2)], release)
    again = queue.claim(handler(), 500, 1)
    assert again is not None
    assert again.records == [record(2)]
    assert (dead(store), queue.waiting()) == ([], {"h": 1})


def test_calls_are_forgotten_wherever_they_wait(store: Store, queue: WorkQueue) -> None:
    add(store, *map(record, range(6)))
    queue.dispatch({"gone": handler("gone")})
    add(store, *map(record, range(10, 16)))
    assert forget(store, lambda call: call.delivery_id < record(3).delivery_id, dry_run=True) == 3
    assert queue.waiting() == {"gone": 6, "": 6}
    assert forget(store, lambda call: call.delivery_id < record(12).delivery_id) == 8
    assert queue.waiting() == {"": 4}
    assert outbox(store) == {"open": [12, 13, 14, 15]}


# --- failures ---


def test_a_failure_is_due_after_its_delay_and_dead_without_one(
    store: Store, queue: WorkQueue, clock: Clock
) -> None:
    give(store, "h", [record(1), record(2)])
    claim = queue.claim(handler(), 500, 1)
    assert claim is not None
    claim.failures = [failure(record(1), 10.0), failure(record(2), None)]
    queue.settle(handler(), claim, [], release=True)
    assert (queue.waiting(), queue.failed(), dead(store)) == ({"h": 1}, {"h": 1}, [2])
    soonest = queue.next_due({"h"})
    assert soonest is not None
    assert 10.0 <= soonest <= 10.0 * (1 + JITTER)
    clock.advance(9.9)
    assert queue.claim(handler(), 500, 1) is None
    clock.advance(10.0 * JITTER + 0.2)
    claim = queue.claim(handler(), 500, 1)
    assert claim is not None
    assert (numbers(claim.records), claim.attempt) == ([1], 1)


def test_parts_of_a_batch_are_claimed_apart_and_when_they_are_due(
    store: Store, queue: WorkQueue, clock: Clock
) -> None:
    one = handler(batch=10)
    give(store, "h", [record(n) for n in range(10)])
    claim = queue.claim(one, 10, 1)
    assert claim is not None
    claim.parts = [Part([record(4), record(5)], 100.0, "ValueError: no")]
    apart = [[record(0), record(1)], [record(2), record(3)]]
    queue.settle(one, claim, [record(n) for n in range(6, 10)], release=False, apart=apart)
    assert queue.claim(one, 10, 1) is None
    queue.renew(claim)  # the parts as well as what is left
    clock.advance(LEASE - 1)
    assert queue.claim(one, 10, 1) is None
    queue.settle(one, claim, [record(n) for n in range(6, 8)], release=True, apart=apart[1:])
    claims = [queue.claim(one, 10, 1) for _ in range(3)]
    assert [(numbers(each.records), each.apart, each.attempt) for each in claims if each] == [
        ([6, 7], False, 0),
        ([2, 3], True, 0),
    ]
    clock.advance(121)
    for each in claims[:2]:
        assert each is not None
        queue.renew(each)
    last = queue.claim(one, 10, 1)
    assert last is not None
    assert (numbers(last.records), last.apart, last.attempt) == ([4, 5], True, 0)


def test_the_newest_failure_of_a_call_is_kept(store: Store, queue: WorkQueue) -> None:
    for error in ("first", "second"):
        give(store, "h", [record(1)])
        claim = queue.claim(handler(), 500, 1)
        assert claim is not None
        claim.failures = [failure(record(1), None)._replace(error=error, traceback="a\0b")]
        queue.settle(handler(), claim, [], release=True)
    rows = list(store.rows(tables.dead_letters))
    assert [(row.error, row.traceback) for row in rows] == [("second", "a\ufffdb")]


def test_many_and_large_calls_are_kept_in_rows_of_a_size(store: Store, queue: WorkQueue) -> None:
    megabytes = [random.Random(n).randbytes(512 * 1024).hex().encode() for n in range(3)]
    large = [record(n, body=b"type=open&id=1&x=" + text) for n, text in enumerate(megabytes)]
    small = [record(n) for n in range(10, 610)]
    add(store, *large, *small)
    with store.reading() as connection:
        counts = list(connection.execute(text("SELECT count FROM outbox ORDER BY id")).scalars())
    assert sum(counts) == 603
    assert len(counts) >= 4
    assert max(counts) <= MAX_RECORDS
    queue.dispatch({"h": handler()})
    found: list[Record] = []
    while claim := queue.claim(handler(), 500, 1):
        assert len(claim.records) <= MAX_RECORDS
        found += claim.records[1:]
        claim.failures = [failure(claim.records[0], None)]
        found.append(claim.records[0])
        queue.settle(handler(), claim, [], release=True)
    assert sorted(found) == sorted([*large, *small])


# --- all of it, in any order ---

#: Calls under way at once that the handler allows.
CONCURRENCY = 3


class Workers(RuleBasedStateMachine):
    """Workers that add, claim, settle and crash in any order: no call is lost, and none is done twice."""

    def __init__(self, store: Store, clock: Clock) -> None:
        super().__init__()
        execute(store, *(f"DELETE FROM {table}" for table in ("events", "outbox", "handoffs", "dead_letters")))
        self.store, self.queue, self.clock = store, WorkQueue(store), clock
        self.events = 0
        self.claims: list[Claim] = []
        self.done = Counter[int]()

    @initialize(batch=strategies.sampled_from([None, 4]), calls=strategies.integers(1, 12))
    def begin(self, batch: int | None, calls: int) -> None:
        """There is work from the start: hypothesis leaves some rules out, so no call may ever be added."""
        self.handler = handler(batch=batch, concurrency=CONCURRENCY)
        self.add(calls)
        self.dispatch()

    @rule(count=strategies.integers(1, 6))
    def add(self, count: int) -> None:
        new = [record(self.events + number) for number in range(count)]
        self.events += add(self.store, *new, new[0])

    @rule()
    def dispatch(self) -> None:
        self.queue.dispatch({"h": self.handler})

    @rule(most=strategies.integers(1, 9), slots=strategies.integers(1, CONCURRENCY))
    def claim(self, most: int, slots: int) -> None:
        claim = self.queue.claim(self.handler, most, slots)
        self.claims += [claim] if claim else []

    @precondition(lambda self: self.claims)
    @rule(which=strategies.integers(0, 99), release=strategies.booleans(), data=strategies.data())
    def settle(self, which: int, release: bool, data: strategies.DataObject) -> None:
        claim = self.claims.pop(which % len(self.claims))
        left: list[Record] = []
        for call in claim.records:
            outcome = data.draw(strategies.sampled_from(["left", "done", "dead", "again at once", "again later"]))
            if outcome == "left":
                left.append(call)
            elif outcome == "done":
                self.done.update(numbers([call]))
            else:
                delay = {"dead": None, "again at once": 0.0, "again later": 30.0}[outcome]
                claim.failures.append(failure(call, delay))
        self.queue.settle(self.handler, claim, left, release)
        if left and not release:
            self.claims.append(claim)

    @precondition(lambda self: self.claims)
    @rule(which=strategies.integers(0, 99))
    def crash(self, which: int) -> None:
        self.claims.pop(which % len(self.claims))
        self.wait(LEASE - 1)
        self.wait(1)

    @rule(seconds=strategies.floats(0, LEASE - 1))
    def wait(self, seconds: float) -> None:
        """Time passes, and all workers that have not crashed renew their claims."""
        for claim in self.claims:
            self.queue.renew(claim)
        self.clock.advance(seconds)
        for claim in self.claims:
            self.queue.renew(claim)

    @invariant()
    def no_call_is_lost_or_doubled(self) -> None:
        waiting = sum(self.queue.waiting().values())
        assert waiting + len(dead(self.store)) + self.done.total() == self.events

    @invariant()
    def no_more_calls_are_under_way_than_allowed(self) -> None:
        assert sum(claim.slots for claim in self.claims) <= CONCURRENCY

    def teardown(self) -> None:
        """Every worker crashes; a last one does all that is left."""
        self.dispatch()
        for _ in range(1000):
            if not self.queue.waiting():
                break
            self.clock.advance(40)
            if claim := self.queue.claim(self.handler, 500, 1):
                self.done.update(numbers(claim.records))
                self.queue.settle(self.handler, claim, [], release=True)
        assert self.done + Counter(dead(self.store)) == Counter(range(self.events))


@pytest.mark.timeout(240)  # seconds; much of it is for machines that are busy
def test_in_whatever_order_each_event_ends_done_or_dead_once(store: Store, clock: Clock) -> None:
    # Nothing is shrunk: with a database behind each step, that takes minutes.
    few = settings(
        max_examples=max(1, settings().max_examples // 4), stateful_step_count=30, phases=[Phase.generate]
    )
    workers = partial(Workers, store, clock)
    run_state_machine_as_test(workers, settings=few)  # type: ignore[arg-type]  # takes any callable that makes one
