"""What became of each event at handlers is known for a while, and takes no more room than it may."""

import time
from typing import Any

import pytest
from sqlalchemy import event as listeners

from tests.support.builders import decoded, handler, record
from tests.support.plugged import Plug
from tests.support.sql import add, execute, give, rows
from workers.handlers import history, names
from workers.handlers.dropping import drop
from workers.handlers.history import Attempt, expire, forget, keep_to_room, last, of_event
from workers.handlers.run_notes import Outcome, Run
from workers.handlers.speed import speed
from workers.handlers.work_queue import LEASE, WorkQueue
from workers.operations.erase import erase
from workers.store.console_tables import handler_runs
from workers.store.store import Store


def told(attempts: list[Attempt]) -> list[tuple[str, int, bool, str, int]]:
    return [(run.outcome.value, run.attempt, run.final, run.error, run.calls) for run in attempts]


def of(store: Store, number: int) -> list[Attempt]:
    return of_event(store, number.to_bytes(12, "big"))


def test_each_attempt_with_an_event_is_told_with_its_outcome(plug: Plug, store: Store) -> None:
    world = plug("""
@on("open", backoff=(0, 0))
def h(event):
    if number(event) == 2: raise ValueError("not this one\\x00\\n<b>")
    if number(event) == 3: raise GiveUp("never")
    if number(event) == 4 and not calls: calls.append(1); raise TryLater("not yet", 0)
@on("open", name="odd", where=lambda event: number(event) % 2)
def odd(event): pass
""")
    add(store, *map(record, range(6)))
    world.work("h", "odd")
    assert told([run for run in of(store, 1) if run.handler == "h"]) == [("done", 1, False, "", 3)]
    failed = [run for run in of(store, 2) if run.handler == "h"]
    assert [(run.outcome, run.attempt, run.final, run.calls) for run in failed] == [
        ("failed", 1, False, 1), ("failed", 2, False, 1), ("failed", 3, True, 1)
    ]  # fmt: skip
    assert failed[0].error.startswith("ValueError: not this one")
    assert "raise ValueError" in failed[0].traceback
    assert told([run for run in of(store, 3) if run.handler == "h"]) == [("gave-up", 1, True, "GiveUp: never", 1)]
    outcomes = [(run.outcome.value, run.attempt) for run in of(store, 4) if run.handler == "h"]
    assert outcomes == [("later", 1), ("done", 2)]
    assert told([run for run in of(store, 4) if run.handler == "odd"]) == [("unwanted", 1, False, "", 3)]
    assert of(store, 77) == []
    assert names.with_work(store, [handler_runs]) == ["h", "odd"]


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_a_batch_that_is_split_is_told_as_that(plug: Plug, store: Store, kind: str) -> None:
    world = plug(f"""
@on("open", batch=4, backoff=())
{kind} h(events):
    if 2 in map(number, events): raise ValueError("2 is among them")
""")
    add(store, *map(record, range(4)))
    world.work()
    error = "ValueError: 2 is among them"
    assert sorted(told(of(store, 2))) == [
        ("failed", 1, True, error, 1), ("split", 1, False, error, 6)
    ]  # fmt: skip
    assert ("done", 1, False, "", 3) in told(of(store, 3))
    figures = speed(store, "h", time.time_ns() // 1000)
    assert figures.measured == 5, "calls of the handler, not events"
    assert figures.p50 is not None
    assert figures.p99 is not None
    assert 0 < figures.p50 <= figures.p99 < 5
    assert figures.per_second > figures.failed_per_second > 0


def test_a_worker_that_died_is_told_of(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    queue, one = WorkQueue(store), handler()
    give(store, "h", [record(1)])
    now = queue._now()
    for deaths in range(4):
        monkeypatch.setattr(
            queue, "_now", lambda later=0.0, deaths=deaths: now + int(later * 1e6 + deaths * (LEASE + 1) * 1e6)
        )
        queue.claim(one, 10, 1)
    assert told(of(store, 1)) == [("died", 1, False, "", 1)] * 2 + [("died", 1, True, "", 1)]
    assert [run.seconds for run in of(store, 1)] == [None] * 3


def keep(
    store: Store,
    count: int,
    *,
    name: str = "h",
    outcome: Outcome = Outcome.DONE,
    error: str = "",
    at: int | None = None,
) -> None:
    began = time.perf_counter()
    with store.writing() as connection:
        for number in range(count):
            ids = [record(2 * number).delivery_id, record(2 * number + 1).delivery_id]
            run = Run(outcome, began, began, ids, [0.001], error=error, traceback=error)
            history.write(connection, name, 1, [run], at or time.time_ns() // 1000)


def test_a_handler_has_room_for_so_much_and_successes_never_displace_failures(store: Store) -> None:
    keep(store, 3, outcome=Outcome.FAILED, error="\x00\udc80" * 5)
    keep(store, 50)
    keep(store, 5, name="other")
    ((size,),) = rows(store, "SELECT max(size) FROM handler_runs WHERE handler = 'h' AND outcome = 'done'")
    assert keep_to_room(store, "h", room=10 * size) == 40
    assert [run.first_id for run in last(store, "h", 100, failed=False)] == [
        record(2 * number).delivery_id for number in range(49, 39, -1)
    ]
    assert len(last(store, "h", 100, failed=True)) == 3
    assert len(last(store, "other", 100)) == 5
    assert keep_to_room(store, "h", room=10 * size) == 0


def test_there_is_a_look_for_room_now_and_then(plug: Plug, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(store, 20)
    monkeypatch.setattr(history, "LOOK_ONE_IN", 1)
    monkeypatch.setattr(history.keep_to_room, "__defaults__", (1000,))
    world = plug("@on('open')\ndef h(event): pass")
    add(store, record(99))
    world.work()
    assert 0 < len(last(store, "h", 100)) < 5


def test_what_is_old_is_forgotten(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "PORTION", 7)
    now = int(time.time())
    keep(store, 20, at=(now - 15 * 86400) * 1_000_000)
    keep(store, 3)
    assert (expire(store, now), len(last(store, "h", 100))) == (20, 3)


def test_pages_of_runs_go_on_from_a_number(store: Store) -> None:
    keep(store, 4)
    keep(store, 3, outcome=Outcome.FAILED)
    first = last(store, "h", 5)
    rest = last(store, "h", 5, before=first[-1].number)
    assert [run.number for run in first + rest] == sorted((run.number for run in first + rest), reverse=True)
    assert len(first + rest) == 7


def test_the_runs_of_an_event_are_looked_up_and_not_searched_for(store: Store) -> None:
    keep(store, 3)
    asked: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        asked.append((statement, parameters))

    listeners.listen(store.engine, "before_cursor_execute", note)
    assert len(of(store, 3)) == 1
    listeners.remove(store.engine, "before_cursor_execute", note)
    statement, parameters = asked[-1]
    with store.engine.connect() as connection:
        if store.engine.dialect.name == "postgresql":
            connection.exec_driver_sql("SET enable_seqscan = off")
        how = "EXPLAIN QUERY PLAN" if store.engine.dialect.name == "sqlite" else "EXPLAIN"
        rows = connection.exec_driver_sql(f"{how} {statement}", parameters).all()
        plan = " ".join(str(part) for row in rows for part in row)
    assert "handler_runs_node" in plan


def test_nothing_of_a_person_is_left_in_runs(plug: Plug, store: Store) -> None:
    world = plug("""
@on("open", batch=9, backoff=(60,))
def h(events): raise ValueError("cannot mail " + " ".join(e.recipient for e in events))
""")
    theirs = record(1, body=b"type=open&id=m1&time=1795165964&recipient=jan%40example.nl")
    others = record(2, body=b"type=open&id=m2&time=1795165964&recipient=piet%40example.nl")
    third = record(3, body=b"type=open&id=m3&time=1795165964&recipient=anna%40example.nl")
    add(store, theirs, others, third)
    world.work()
    assert "jan@example.nl" in str(rows(store, "SELECT * FROM handler_runs"))
    erase(store, "jan@example.nl", dry_run=False)
    for table in ("handler_runs", "handoffs", "dead_letters"):
        assert "jan@example.nl" not in str(rows(store, f"SELECT * FROM {table}"))
    assert of(store, 1) == []
    assert {run.error for run in of(store, 2)} >= {"ValueError: cannot mail piet@example.nl"}
    assert decoded(others).recipient == "piet@example.nl"


def test_an_error_of_another_that_names_them_is_blanked(store: Store) -> None:
    keep(store, 1, outcome=Outcome.FAILED, error="no jan%40example.nl")
    assert forget(store, [], lambda text: "jan%40" in text) == 1
    assert [(run.error, run.traceback) for run in last(store, "h", 9)] == [("", "")]
    execute(store, "UPDATE handler_runs SET error = 'x'")
    assert forget(store, [record(0).delivery_id], lambda _text: False) == 1
    assert len(of(store, 0)) + len(of(store, 1)) == 1


def test_dropping_a_handler_drops_its_runs(store: Store) -> None:
    keep(store, 3)
    keep(store, 1, name="other")
    drop(store, "h", lambda _calls: None)
    assert names.with_work(store, [handler_runs]) == ["other"]
