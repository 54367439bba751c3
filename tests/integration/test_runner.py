"""Calling handlers: each event reaches each handler that wants it, and what fails is tried again or given up."""

import logging
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import redis
from rq import Queue
from rq.serializers import JSONSerializer

from ingest.errors import Unavailable
from ingest.settings import Settings
from ingest.stream.keys import Keys
from tests.support.builders import decoded, numbers, record
from tests.support.metrics import counted_in_job
from tests.support.plugged import Plug
from tests.support.sql import add, dead, execute, give, rows
from workers.handlers import calls, jobs
from workers.handlers.batches import NOTHING_WORKS
from workers.handlers.configured import known_handlers
from workers.handlers.jobs import hand_on_job, handle_job
from workers.handlers.outcomes import MAX_ERROR, MAX_TRACEBACK
from workers.handlers.throttle import Bucket, Taken
from workers.handlers.work_queue import WorkQueue
from workers.runtime import stop_flag
from workers.store.filters import Filter
from workers.store.store import Store

#: What is counted of calls at a handler.
HANDLED = "ingest_handler_calls_total"


def queue(client: redis.Redis) -> Queue:
    return Queue("handlers", connection=client, serializer=JSONSerializer)


EVERY_KIND = """
@on("open", batch=4)
def batched(events): calls.append(("batched", events))
@on("open")
async def asynchronous(event):
    await asyncio.sleep(0)
    calls.append(("asynchronous", event))
@on("open", "click", batch=100)
async def both(events): calls.append(("both", events))
@on("open", where=lambda event: number(event) % 2)
def single(event): calls.append(("single", event))
"""


def test_handlers_of_every_kind_get_exactly_their_events(plug: Plug, store: Store) -> None:
    world = plug(EVERY_KIND)
    add(store, *(record(n, "click" if n in (3, 4) else "open") for n in range(12)), record(12, "bounce"))
    done = world.work("batched", "asynchronous", "both", "single")
    got: dict[str, list[Any]] = {}
    for name, what in world.calls:
        got.setdefault(name, []).extend(what if isinstance(what, list) else [what])
        assert not isinstance(what, list) or name == "both" or len(what) <= 4
    opens, clicks = (list(store.find(Filter(types=(kind,)))) for kind in ("open", "click"))
    assert got["batched"] == opens
    assert sorted(got["asynchronous"]) == opens
    assert sorted(got["both"]) == sorted([*opens, *clicks])
    assert got["single"] == [one for one in opens if one.delivery_id[-1] % 2]
    assert (done["unwanted"], done["failed"], world.handoffs.waiting()) == (5, 0, {})
    assert world.work("batched", "asynchronous", "both", "single") == {"done": 0, "unwanted": 0, "failed": 0}


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_an_event_that_a_handler_raises_on_fails_alone(plug: Plug, store: Store, kind: str) -> None:
    world = plug(f"""
@on("open", backoff=(0, 0))
{kind} h(event):
    calls.append(number(event))
    if number(event) == 2: raise ValueError("not this one\\nnor this line")
""")
    add(store, *map(record, range(5)))
    assert world.work() == {"done": 4, "unwanted": 0, "failed": 3}
    assert sorted(world.calls) == [0, 1, 2, 2, 2, 3, 4]
    (letter,) = world.letters()
    assert (letter.error, letter.attempts, letter.type) == ("ValueError: not this one", 3, "open")
    assert 'raise ValueError("not this one' in letter.traceback
    assert world.handoffs.waiting() == {}


def test_what_failed_waits_for_its_backoff(plug: Plug, store: Store) -> None:
    world = plug("@on('open', backoff=(1000, 2000))\ndef h(event): raise OSError\n")
    add(store, record(1))
    assert world.work()["failed"] == 1
    assert world.work()["failed"] == 0
    soonest = world.handoffs.next_due({"h"})
    assert soonest is not None
    assert 900 < soonest <= 1200
    assert dead(store) == []


def test_tracebacks_are_kept_within_bounds(plug: Plug, store: Store) -> None:
    world = plug("@on('open', retries=0)\ndef h(event): raise ValueError('x' * 50_000 + 'the end')\n")
    add(store, record(1))
    world.work()
    (letter,) = world.letters()
    assert len(letter.traceback) <= MAX_TRACEBACK
    assert letter.traceback.endswith("the end\n")
    assert len(letter.error) < 600


def test_a_filter_that_is_interrupted_loses_nothing(plug: Plug, store: Store) -> None:
    world = plug("""
def wanted(event):
    if number(event) == 2: raise KeyboardInterrupt  # the worker dies
    return 1 // number(event)
@on("open", where=wanted)
def h(event): ...
""")
    add(store, *map(record, range(5)))
    hand_on_job()
    with pytest.raises(KeyboardInterrupt):
        handle_job("h")
    assert world.handoffs.waiting() == {"h": 4}  # all but the one that was called for


@pytest.mark.parametrize("options", ["", ", batch=1"])
def test_a_handler_that_gives_up_is_not_called_again(plug: Plug, store: Store, options: str) -> None:
    world = plug(f"@on('open'{options})\ndef h(event):\n    calls.append(1)\n    raise GiveUp('never')\n")
    add(store, record(1))
    world.work()
    assert (len(world.calls), [letter.error for letter in world.letters()]) == (1, ["GiveUp: never"])


def test_a_handler_that_says_when_to_retry_is_called_then(plug: Plug, store: Store) -> None:
    world = plug("""
@on("open", backoff=(0, 0, 0))
def h(event):
    calls.append(number(event))
    raise TryLater("busy", seconds=1000 if len(calls) == 2 else None)
""")
    add(store, record(1))
    world.work()
    assert world.calls == [1, 1]
    assert 900 < (world.handoffs.next_due({"h"}) or 0) <= 1200


@pytest.mark.parametrize("options", ["", ", batch=2"])
def test_a_coroutine_that_nobody_would_run_is_a_failure(plug: Plug, store: Store, options: str) -> None:
    world = plug(f"""
async def work(event): calls.append("ran")
@on('open', retries=0{options})
def h(event): return work(event)
""")
    add(store, record(1))
    assert world.work()["failed"] == 1
    assert "put `async` before its `def`" in world.letters()[0].error


SLOW = {
    "sleeping": "def h(event): time.sleep(600)",
    "catching": """def h(event):
    try:
        time.sleep(600)
    except Exception: calls.append("caught")""",
    "async": "async def h(event): await asyncio.sleep(600)",
    "async batch": "async def h(events): await asyncio.sleep(600)",
}


@pytest.mark.parametrize("kind", SLOW)
def test_a_call_that_takes_too_long_is_broken_off(plug: Plug, store: Store, kind: str) -> None:
    batch = ", batch=1" if "batch" in kind else ""
    world = plug(f"@on('open', timeout=0.1, retries=0{batch})\n{SLOW[kind]}\n")
    add(store, *map(record, range(3)))
    assert world.work() == {"done": 0, "unwanted": 0, "failed": 3}
    assert (dead(store), world.calls) == ([0, 1, 2], [])
    assert "Timeout" in world.letters()[0].error


def test_a_filter_that_takes_too_long_is_broken_off_and_ends_the_turn(
    plug: Plug, store: Store, request: pytest.FixtureRequest
) -> None:
    request.addfinalizer(stop_flag.clear)
    world = plug("""
from workers.runtime import stop_flag
def wanted(event):
    if number(event): return True
    try: time.sleep(600)
    finally: stop_flag.request()
@on("open", timeout=0.5, retries=0, where=wanted)
def h(event): calls.append(1)
""")
    add(store, *map(record, range(3)))
    assert world.work() == {"done": 0, "unwanted": 0, "failed": 1}
    assert (dead(store), world.handoffs.waiting(), world.handoffs.due()) == ([0], {"h": 2}, ["h"])


@pytest.mark.parametrize("kind", ["def h(event)", "async def h(event)", "def h(events)"])
def test_events_are_judged_as_they_are_needed(plug: Plug, store: Store, kind: str) -> None:
    batch = ", batch=2" if "events" in kind else ""
    world = plug(f"""
def wanted(event):
    calls.append("judged")
    return number(event) % 2
@on("open", concurrency=1{batch}, where=wanted)
{kind}: calls.append("called")
""")
    add(store, *map(record, range(8)))
    assert world.work() == {"done": 4, "unwanted": 4, "failed": 0}
    assert world.calls.index("called") == (4 if batch else 2)


def test_a_handler_whose_calls_take_long_keeps_no_other_waiting_for_two_turns(
    plug: Plug, store: Store, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    plug("@on('open')\ndef a(event): ...\n@on('open')\ndef b(event): ...\n")
    add(store, record(1))
    hand_on_job()
    monkeypatch.setattr(jobs, "SLICE", 0.0)  # the turn is over before the first call
    for name, other in (("a", "b"), ("b", "a")):
        client.flushall()
        handle_job(name)
        assert [job.args for job in queue(client).jobs] == [[other], [name]]
        client.delete(queue(client).key, Keys().handler("a"), Keys().handler("b"))
        hand_on_job()  # as after a worker was killed, which wakes nobody
        assert [job.args for job in queue(client).jobs] == [[other], [name]]


def test_a_filter_that_raises_is_a_failure_of_that_event(plug: Plug, store: Store) -> None:
    world = plug("@on('open', retries=0, where=lambda event: 1 // number(event))\ndef h(event): calls.append(1)\n")
    add(store, record(0), record(1))
    assert world.work() == {"done": 1, "unwanted": 0, "failed": 1}
    assert dead(store) == [0]


def test_an_error_that_cannot_be_printed_is_a_failure_too(plug: Plug, store: Store) -> None:
    world = plug("""
class Odd(Exception):
    def __str__(self): raise RuntimeError
@on("open", retries=0)
def h(event): raise Odd
""")
    add(store, record(0))
    assert world.work()["failed"] == 1
    assert dead(store) == [0]


#: What ends a job, or a task, if nobody minds; each as the body of a handler.
BEYOND_EXCEPTION = [
    "raise type('PanicException', (BaseException,), {})('in Rust')",
    "raise asyncio.CancelledError",
    "raise KeyboardInterrupt",
    "raise BaseExceptionGroup('several', [KeyboardInterrupt()])",
]
CANCELLED = "asyncio.current_task().cancel(); await asyncio.sleep(1)"


@pytest.mark.parametrize("options", ["", pytest.param(", batch=3", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("kind", "body"),
    [*((kind, body) for kind in ("def", "async def") for body in BEYOND_EXCEPTION), ("async def", CANCELLED)],
)
def test_whatever_a_handler_raises_is_the_failure_of_its_event(
    plug: Plug, store: Store, kind: str, body: str, options: str
) -> None:
    world = plug(f"""
@on("open", retries=1, backoff=(0,){options})
{kind} h(event):
    if 1 in map(number, event if type(event) is list else [event]): {body}
""")
    add(store, *map(record, range(3)))
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in each job of a worker
    try:
        done = world.work()["done"]
        for _ in range(10):  # of turns, which may be over soon
            done += world.work()["done"] if world.handoffs.waiting() else 0
    finally:
        signal.signal(signal.SIGINT, before)
    assert (done, dead(store), world.handoffs.waiting()) == (2, [1], {})


def test_an_error_is_one_line_whatever_its_class_is_called(plug: Plug, store: Store) -> None:
    world = plug("@on('open', retries=0)\ndef h(event): raise type('A\\nB\\u2028' + 'C' * 9999, (Exception,), {})")
    add(store, record(1))
    world.work()
    [(error,)] = rows(store, "SELECT error FROM dead_letters")
    assert error.startswith("A B C")
    assert len(error) == MAX_ERROR
    assert error.isprintable()


def test_a_loop_that_is_stopped_counts_as_the_death_of_a_worker(plug: Plug, store: Store) -> None:
    world = plug(
        "@on('open')\nasync def h(event):\n    asyncio.get_running_loop().stop(); await asyncio.sleep(0)\n"
    )
    add(store, record(1))
    hand_on_job()
    with pytest.raises(RuntimeError):
        handle_job("h")
    assert world.work() == {"done": 0, "unwanted": 0, "failed": 0}  # not at once again, and for ever
    assert world.handoffs.waiting() == {"h": 1}


def test_a_filter_whose_answer_is_neither_true_nor_false_is_a_failure_of_that_event(
    plug: Plug, store: Store
) -> None:
    world = plug("""
class Ambiguous:
    def __bool__(self): raise ValueError("as of an array")
@on("open", retries=0, where=lambda event: number(event) or Ambiguous())
def h(event): ...
""")
    add(store, record(0), record(1))
    assert world.work() == {"done": 1, "unwanted": 0, "failed": 1}
    assert dead(store) == [0]


@pytest.mark.parametrize("options", ["", ", batch=3"])
def test_a_pause_that_is_no_number_is_the_backoff(plug: Plug, store: Store, options: str) -> None:
    world = plug(f"""
class Busy(TryLater):
    def __init__(self): self.seconds = "Wed, 21 Oct 2015 07:28:00 GMT"
@on("open", retries=1, backoff=(0,){options})
def h(event): raise Busy
""")
    add(store, record(1))
    world.work()
    assert dead(store) == [1]


def test_a_database_that_goes_away_under_async_calls_is_one_line(
    plug: Plug, store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    plug("@on('open')\nasync def h(event): ...\n")
    add(store, *map(record, range(3)))
    hand_on_job()
    monkeypatch.setattr(calls, "SETTLE_EVERY", 0.0)
    settle = WorkQueue.settle

    def away(*args: Any, **options: Any) -> None:
        monkeypatch.setattr(WorkQueue, "settle", settle)
        raise Unavailable("the database went away")

    monkeypatch.setattr(WorkQueue, "settle", away)
    assert handle_job("h") == {}
    assert "handlers have to wait, nothing is lost: the database went away" in caplog.text


# --- batches ---

#: A batch handler that fails if any of its events is one of some numbers.
BATCHES = """
bad = {bad}
@on("open", batch={batch}, retries={retries}, backoff=({backoff},){options})
{kind} h(events):
    calls.append([number(event) for event in events])
    {first}
    if bad & set(calls[-1]): {failure}
"""


def batches(bad: set[int], **changes: Any) -> str:
    options = {"kind": "def", "batch": 16, "retries": 2, "backoff": 0, "options": "", "first": "pass"}
    return BATCHES.format(**{**options, "bad": bad, "failure": "raise ValueError('one of these')", **changes})


def done_by(calls: list[list[int]], bad: set[int]) -> list[int]:
    return sorted(number for call in calls if not bad & set(call) for number in call)


@pytest.mark.parametrize(
    ("failure", "kind", "retries"),
    [
        ("raise ValueError", "def", 0),
        ("raise ValueError", "async def", 2),
        ("raise GiveUp('no')", "def", 2),
        ("raise TryLater('', 0)", "async def", 1),
        ("raise TryLater('')", "def", 0),
        ("raise SystemExit(1)", "async def", 0),
    ],
)
def test_only_the_culprits_of_a_batch_become_dead_letters(
    plug: Plug, store: Store, kind: str, retries: int, failure: str
) -> None:
    bad = {0, 1, 7, 19}
    world = plug(batches(bad, kind=kind, retries=retries, failure=failure))
    add(store, *map(record, range(20)))
    assert world.work()["done"] == 20 - len(bad)
    assert (dead(store), world.handoffs.waiting()) == (sorted(bad), {})
    assert done_by(world.calls, bad) == [n for n in range(20) if n not in bad]
    assert {letter.attempts for letter in world.letters()} == {1 if "GiveUp" in failure else retries + 1}
    assert all([n] in world.calls for n in bad)


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_an_event_on_which_a_batch_hangs_is_found_too(plug: Plug, store: Store, kind: str) -> None:
    hang = "await asyncio.sleep(600)" if "async" in kind else "time.sleep(600)"
    # Those that do not hang have as much time as they need on a busy machine.
    world = plug(batches({3}, kind=kind, retries=0, failure=hang, options=", timeout=0.5"))
    add(store, *map(record, range(5)))
    world.work()
    assert (dead(store), done_by(world.calls, {3})) == ([3], [0, 1, 2, 4])


def test_a_batch_that_is_to_come_later_stays_whole(plug: Plug, store: Store) -> None:
    world = plug(batches({3}, failure="raise TryLater('busy', 1000)"))
    add(store, *map(record, range(10)))
    assert world.work()["failed"] == 10
    assert world.calls == [list(range(10))]
    assert 900 < (world.handoffs.next_due({"h"}) or 0) <= 1200


def test_when_nothing_works_batches_wait_and_no_event_pays_for_it(
    plug: Plug, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    world = plug(batches(set(range(200)), batch=100, backoff=1000))
    add(store, *map(record, range(200)))
    with caplog.at_level(logging.WARNING):
        world.work()
    alone = sum(len(call) == 1 for call in world.calls)
    assert NOTHING_WORKS <= alone <= NOTHING_WORKS + 1  # its neighbour is tried as well
    assert len(world.calls) < 4 * NOTHING_WORKS
    assert "batches were split" in caplog.text
    tried = rows(store, "SELECT attempt, SUM(count) FROM handoffs GROUP BY attempt ORDER BY attempt")
    assert tried == [(0, 200 - alone), (1, alone)]
    assert (world.handoffs.next_due({"h"}) or 0) > 900


def test_a_split_that_is_interrupted_goes_on_where_it_was(
    plug: Plug, store: Store, request: pytest.FixtureRequest
) -> None:
    request.addfinalizer(stop_flag.clear)
    stop = "from workers.runtime import stop_flag; stop_flag.request()"
    world = plug(batches({5}, retries=0, first=stop))
    add(store, *map(record, range(20)))
    hand_on_job()
    while world.handoffs.waiting() and len(world.calls) < 20:
        stop_flag.clear()
        handle_job("h")
    assert (dead(store), done_by(world.calls, {5})) == ([5], [n for n in range(20) if n != 5])
    assert [len(call) for call in world.calls if 5 in call] == [16, 8, 4, 2, 1]


def test_a_split_whose_worker_is_killed_goes_on_where_it_was(
    plug: Plug, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "SETTLE_EVERY", 0.0)
    die = "import os, pathlib; len(calls) == 3 and pathlib.Path('die').exists() and os.kill(os.getpid(), 9)"
    world = plug(batches({5}, retries=0, first=die))
    add(store, *map(record, range(16)))
    hand_on_job()
    (tmp_path / "die").touch()
    pid = os.fork()
    if pid == 0:
        try:
            handle_job("h")
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -9
    (tmp_path / "die").unlink()
    assert world.handoffs.due() == []
    execute(store, "UPDATE handoffs SET leased_until = 1")  # the lease has expired
    world.work()
    assert [len(call) for call in world.calls if 5 in call] == [4, 2, 1]
    assert (dead(store), done_by(world.calls, {5})) == ([5], [n for n in range(16) if n != 5])


# --- rates ---


@pytest.mark.parametrize(
    ("options", "kind", "handled"), [("", "def", 1), ("", "async def", 1), (", batch=3", "def", 3)]
)
def test_a_handler_that_waits_for_its_rate_lets_others_work(
    plug: Plug, store: Store, client: redis.Redis, options: str, kind: str, handled: int
) -> None:
    world = plug(
        f"@on('open', rate='1/h'{options})\n{kind} h(event): calls.append('slow')\n"
        "@on('open')\ndef other(event): calls.append('other')\n"
    )
    add(store, *map(record, range(5)))
    hand_on_job()
    assert len(queue(client)) == 2
    handle_job("h")  # while the job of the other waits
    assert world.calls == ["slow"]
    assert world.handoffs.waiting() == {"h": 5 - handled, "other": 5}
    handle_job("other")
    assert world.calls == ["slow", *["other"] * 5]


def test_waiting_for_a_rate_does_not_hold_up_the_calls_under_way(
    plug: Plug, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = plug("""
refused = asyncio.Event()
@on("open", rate="1/s")
async def h(event):
    await refused.wait()
    calls.append(number(event))
""")
    taken: list[int] = []

    def take(_bucket: Bucket, _wanted: int) -> Taken:
        """One call, and the next when that is over, which is not before the next was refused."""
        if len(taken) > len(world.calls):
            world.module.refused.set()
            return Taken(0, 0.001)
        taken.append(1)
        return Taken(1, 0)

    monkeypatch.setattr(Bucket, "take", take)
    add(store, record(1), record(2))
    world.handoffs.dispatch(known_handlers(Settings.read()))
    assert handle_job("h") == {"done": 2, "unwanted": 0, "failed": 0}


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_an_event_that_waits_twice_is_handled_twice(plug: Plug, store: Store, kind: str) -> None:
    world = plug(f"""
@on("open")
{kind} h(event):
    calls.append(1)
    {"while len(calls) < 3: await asyncio.sleep(0)" if "async" in kind else ""}
""")
    give(store, "h", [record(1), record(1), record(2)])
    assert handle_job("h") == {"done": 3, "unwanted": 0, "failed": 0}
    assert (len(world.calls), world.handoffs.waiting()) == (3, {})


def test_an_async_handler_has_as_many_calls_under_way_as_it_wants(plug: Plug, store: Store) -> None:
    world = plug("""
now = [0]
@on("open", concurrency=3)
async def h(event):
    now[0] += 1
    calls.append(now[0])
    while now[0] < 3 and len(calls) < 20: await asyncio.sleep(0)
    now[0] -= 1
""")
    add(store, *map(record, range(20)))
    assert world.work()["done"] == 20
    assert max(world.calls) == 3


# --- what goes wrong around it ---


def test_what_an_unknown_handler_has_to_do_waits(
    plug: Plug, store: Store, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    world = plug("@on('open')\ndef h(event): ...\n")
    add(store, record(1))
    hand_on_job()
    plug("@on('open')\ndef other(event): ...\n")
    client.flushall()
    assert handle_job("h") == {}
    assert "no handler is called 'h' any more" in caplog.text
    assert world.handoffs.waiting() == {"h": 1}


def test_a_handler_that_is_gone_keeps_no_worker_busy(plug: Plug, store: Store, client: redis.Redis) -> None:
    plug("@on('open')\ndef h(event): ...\n")
    add(store, record(1))
    hand_on_job()
    plug("@on('click')\ndef other(event): ...\n")
    client.flushall()
    hand_on_job()
    assert list(client.scan_iter("rq:scheduler:*")) == []


@pytest.mark.parametrize("lost", ["DATABASE_URL", "REDIS_URL"])
def test_an_unreachable_database_or_redis_is_one_line(
    plug: Plug, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, lost: str
) -> None:
    plug("@on('open')\ndef h(event): ...\n")
    scheme = "postgresql://u:geheim" if lost == "DATABASE_URL" else "redis://u:geheim"
    monkeypatch.setenv(lost, f"{scheme}@127.0.0.1:1/0")
    with caplog.at_level(logging.WARNING):
        assert (hand_on_job(), handle_job("h")) == (0, {})
    assert len(caplog.records) == 2
    for line in caplog.records:
        assert line.getMessage().startswith("handlers have to wait, nothing is lost: ")
        assert "geheim" not in line.getMessage()
        assert (line.exc_info, line.getMessage().count("\n")) == (None, 0)


def test_handlers_that_cannot_be_imported_are_one_line(
    plug: Plug, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    plug("1 / 0\n")
    add(store, record(1))
    assert (hand_on_job(), handle_job("h")) == (0, {})
    assert "division by zero" in caplog.text
    assert WorkQueue(store).waiting() == {"": 1}


@pytest.mark.parametrize("kind", ["def h(event)", "async def h(event)", "def h(events)"])
def test_what_a_stopped_job_has_not_done_is_for_others_at_once(
    plug: Plug, store: Store, request: pytest.FixtureRequest, kind: str
) -> None:
    request.addfinalizer(stop_flag.clear)
    batch = ", batch=5" if "events" in kind else ""
    world = plug(f"""
from workers.runtime import stop_flag
@on("open", concurrency=1{batch})
{kind}:
    calls.append(1)
    stop_flag.request()
""")
    add(store, *map(record, range(20)))
    hand_on_job()
    handle_job("h")
    done = 5 if batch else 1
    assert len(world.calls) == 1
    assert (world.handoffs.waiting(), world.handoffs.due()) == ({"h": 20 - done}, ["h"])
    stop_flag.clear()
    claim = world.handoffs.claim(known_handlers(Settings.read())["h"], 500, 1)
    assert claim is not None
    assert numbers(claim.records) == list(range(done, 20))


def test_what_is_done_is_noted_now_and_then(plug: Plug, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "SETTLE_EVERY", 0.0)
    world = plug("""
@on("open")
def h(event):
    calls.append(event)
    if number(event) == 7: raise KeyboardInterrupt  # the worker dies
""")
    add(store, *map(record, range(10)))
    hand_on_job()
    with pytest.raises(KeyboardInterrupt):
        handle_job("h")
    assert world.calls == [decoded(record(n)) for n in range(8)]
    assert world.handoffs.waiting() == {"h": 3}  # with the one under way, which nobody knows to be done


def test_a_worker_without_handlers_leaves_what_others_put_out(
    plug: Plug, store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world = plug("@on()\ndef h(event): calls.append(number(event))")
    add(store, record(1), record(2))
    named = Settings.read().handlers[0]
    monkeypatch.delenv("INGEST_HANDLERS")
    assert hand_on_job() == 0
    assert "set INGEST_HANDLERS" in caplog.text
    monkeypatch.setenv("INGEST_HANDLERS", named)
    assert world.work()["done"] == 2
    assert sorted(world.calls) == [1, 2]


def test_the_first_failure_of_each_kind_is_told_in_full_and_the_others_in_one_line(
    plug: Plug, store: Store, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    plugged = plug(
        "@on('open', 'click', 'bounce')\ndef h(event):\n"
        "    raise {'open': ValueError, 'click': KeyError, 'bounce': TryLater}[event.type]('why')",
    )
    for run in (0, 1):
        kinds = ["open", "open", "click", "bounce"]
        add(store, *(record(10 * run + number, kind) for number, kind in enumerate(kinds, 1)))
        plugged.work()
    told = [line for line in caplog.records if line.exc_info]
    assert [str(line.exc_info[1]) for line in told if line.exc_info] == ["why", "'why'"]
    assert [line.delivery_id for line in told] == [record(n).delivery_id.hex() for n in (1, 3)]  # type: ignore[attr-defined]
    assert "raise {'open'" in caplog.text
    assert len([line for line in caplog.records if "0 events done" in line.message]) == 2
    client.flushall()  # as it goes after a while
    add(store, record(99, "open"))
    plugged.work()
    assert len([line for line in caplog.records if line.exc_info]) == 3


@pytest.mark.parametrize(
    "declared",
    ["def h(event): work(event)", "async def h(event): work(event)"],
    ids=["function", "coroutine"],
)
def test_what_becomes_of_each_call_is_counted(plug: Plug, store: Store, declared: str) -> None:
    plugged = plug(
        f"""
def work(event):
    if number(event) == 2: raise GiveUp("no")
    if number(event) == 3: raise ValueError
@on("open", where=lambda event: number(event) != 4)
{declared}
"""
    )
    add(store, *(record(number) for number in (1, 2, 3, 4)))
    with counted_in_job() as counted:
        plugged.work()
        left = counted()
    outcomes = {series[2]: count for series, count in left.counts.items() if series[:2] == (HANDLED, "h")}
    assert outcomes == {"done": 1, "dead": 1, "retried": 1, "unwanted": 1}
    assert sum(left.timing("ingest_handler_seconds", "h").counts) == 3


def test_a_batch_is_one_call_of_the_handler_and_all_its_events_are_counted(plug: Plug, store: Store) -> None:
    plugged = plug('@on("open", batch=10)\ndef h(events): pass')
    add(store, *(record(number) for number in (1, 2, 3)))
    with counted_in_job() as counted:
        plugged.work()
        left = counted()
    assert left.counts[HANDLED, "h", "done"] == 3
    assert sum(left.timing("ingest_handler_seconds", "h").counts) == 1
