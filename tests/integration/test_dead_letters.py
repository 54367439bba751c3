"""Dead letters and quarantined calls: found, retried, dropped."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

import pytest
import redis
from click.testing import CliRunner, Result

from ingest.cli.main import main
from ingest.copernica.events import Event
from tests.support.builders import RECEIVED, decoded, numbers, record, refused_body
from tests.support.sql import REFUSALS, dead, execute, give, outbox
from workers.handlers.claims import Failure
from workers.handlers.dead_letters import (
    STORE,
    DeadLetter,
    Wanted,
    act_on,
    drop,
    find,
    number_of,
    retry,
    until_now,
)
from workers.handlers.registry import Handler
from workers.handlers.work_queue import WorkQueue
from workers.records import Quarantined
from workers.store.store import Store

pytestmark = pytest.mark.slow

UNREADABLE = record(7, body=b"hello")


def bury(store: Store, name: str, number: int, kind: str = "open", error: str = "ValueError: no") -> None:
    """One dead letter, by the way that they all come."""
    handoffs, one = WorkQueue(store), Handler(name, print, frozenset({kind}))
    give(store, name, [record(number, kind)])
    claim = handoffs.claim(one, 500, 1)
    assert claim is not None
    claim.failures = [Failure(record(number, kind), kind, RECEIVED, error, "Traceback: 100%", None)]
    handoffs.settle(one, claim, [], release=True)


def bury_all(store: Store, name: str, calls: Iterable[int]) -> None:
    """Several that failed at the same time."""
    failures = [Failure(record(number), "open", RECEIVED, "ValueError: no", "", None) for number in calls]
    with store.writing() as connection:
        WorkQueue(store)._bury(connection, name, failures, 1)


@pytest.fixture
def letters(store: Store) -> Store:
    """Four dead letters of two handlers, and one call in quarantine."""
    bury(store, "a", 1)
    bury(store, "a", 2, "click", "KeyError: 'x_y'")
    bury(store, "b", 1, error="KeyError: 'xzy'")
    bury(store, "b", 3, "bounce", "TimeoutError: 100%")
    store.add((), [Quarantined(UNREADABLE, "neither a form nor a JSON object")])
    return store


def found(store: Store, **wanted: Any) -> list[tuple[str, int]]:
    return [(letter.handler, numbers([letter.record])[0]) for letter in find(store, Wanted(**wanted))]


ALL = [("a", 1), ("a", 2), ("b", 1), ("b", 3), (STORE, 7)]
NOW = datetime.now(UTC)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, ALL),
        ({"handler": "a"}, ALL[:2]),
        ({"handler": STORE}, ALL[4:]),
        ({"handler": "nobody"}, []),
        ({"error": "keyerror"}, ALL[1:3]),
        ({"error": "x_y"}, ALL[1:2]),
        ({"error": "100%"}, ALL[3:4]),
        ({"error": "json"}, ALL[4:]),
        ({"type": "click"}, ALL[1:2]),
        ({"type": "unknown"}, ALL[4:]),
        ({"type": "open", "handler": "b"}, ALL[2:3]),
        ({"handler": "b", "error": "KeyError", "type": "bounce"}, []),
        ({"delivery_id": record(1).delivery_id}, [ALL[0], ALL[2]]),
        ({"since": NOW - timedelta(hours=1), "until": NOW + timedelta(days=1)}, ALL[:4]),
        ({"since": datetime.fromtimestamp(RECEIVED / 1e6, UTC), "handler": STORE}, ALL[4:]),
        ({"until": datetime.fromtimestamp(RECEIVED / 1e6, UTC), "handler": STORE}, []),
        ({"until": NOW - timedelta(days=1), "handler": "a"}, []),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
def test_letters_are_found_by_what_is_known_of_them(
    letters: Store, wanted: dict[str, Any], expected: list[tuple[str, int]]
) -> None:
    assert found(letters, **wanted) == expected


def test_a_letter_holds_the_event_and_what_went_wrong(letters: Store) -> None:
    first, *_, last = find(letters, Wanted())
    assert (first.event, first.error, first.traceback) == (decoded(record(1)), "ValueError: no", "Traceback: 100%")
    assert (first.type, first.attempts, first.occurred_at) == ("open", 1, RECEIVED)
    assert NOW.timestamp() * 1e6 <= first.failed_at <= datetime.now(UTC).timestamp() * 1e6
    assert (last.event, last.record, last.error) == (None, UNREADABLE, "neither a form nor a JSON object")


def test_retried_letters_are_with_their_handlers_again(letters: Store) -> None:
    chosen = list(find(letters, Wanted(type="open")))
    assert retry(letters, chosen, True) == 2
    handoffs = WorkQueue(letters)
    assert (handoffs.waiting(), handoffs.failed()) == ({"a": 1, "b": 1}, {"a": 1, "b": 1})
    assert retry(letters, chosen, True) == 0  # which somebody else has done already
    assert handoffs.waiting() == {"a": 1, "b": 1}
    claim = handoffs.claim(Handler("a", print, frozenset()), 500, 1)
    assert claim is not None
    assert (claim.records, claim.attempt) == ([record(1)], 0)


def test_what_can_be_stored_now_leaves_quarantine_and_the_rest_stays(store: Store) -> None:
    execute(store, REFUSALS[store.engine.dialect.name][0])
    calls = [record(1), UNREADABLE, record(8, body=refused_body(8))]
    store.add((), [Quarantined(call, "something") for call in calls])
    assert retry(store, list(find(store, Wanted(handler=STORE))), has_handlers=True) == 1
    assert found(store) == [(STORE, 7), (STORE, 8)]
    assert store.with_ids([record(1).delivery_id]) == [decoded(record(1))]
    assert outbox(store) == {"open": [1]}


def test_without_handlers_what_leaves_quarantine_is_not_put_out(store: Store) -> None:
    store.add((), [Quarantined(record(1), "something")])
    assert retry(store, list(find(store, Wanted())), has_handlers=False) == 1
    assert (outbox(store), store.stored(), store.quarantined()) == ({}, 1, 0)


def test_what_proved_false_is_never_stored_as_an_event(store: Store) -> None:
    store.add((), [Quarantined(record(1), "not Copernica's: the signature does not match")])
    assert retry(store, list(find(store, Wanted())), has_handlers=True) == 0
    assert (outbox(store), store.stored(), store.quarantined()) == ({}, 0, 1)


def test_dropped_letters_are_gone_and_others_stay(letters: Store) -> None:
    assert drop(letters, list(find(letters, Wanted(delivery_id=record(1).delivery_id, handler="a")))) == 1
    assert found(letters) == ALL[1:]
    assert drop(letters, list(find(letters, Wanted()))) == 4
    assert (found(letters), WorkQueue(letters).waiting()) == ([], {})


def test_any_number_is_acted_on_in_portions_that_are_reported(
    letters: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.handlers.dead_letters.PORTION", 2)
    sizes: list[int] = []
    told: list[int] = []

    def act(some: Any) -> int:
        sizes.append(len(some))
        return drop(letters, some)

    assert number_of(letters, Wanted()) == 5
    assert act_on(find(letters, Wanted()), act, told.append) == 5
    assert sizes == told == [2, 2, 1]
    assert number_of(letters, Wanted()) == 0


def test_letters_are_read_as_they_are_needed_each_once_whatever_becomes_of_them(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.handlers.dead_letters.PORTION", 4)
    monkeypatch.setattr(store.rows.__func__, "__defaults__", ((), (), 3))  # type: ignore[attr-defined]
    for name in ("b", "a"):
        bury_all(store, name, range(10))
    seen: list[tuple[str, int]] = []

    def act(some: Any) -> int:
        assert len(some) <= 4
        seen.extend((one.handler, numbers([one.record])[0]) for one in some)
        bury_all(store, "a", [50 + len(seen)])  # what fails meanwhile
        return drop(store, some)

    wanted = until_now(store, Wanted())
    assert act_on(find(store, wanted), act, lambda _: None, lambda: len(seen) == 8) == 8, "stopped"
    assert act_on(find(store, wanted), act, lambda _: None) == 12
    assert sorted(seen) == [(name, number) for name in "ab" for number in range(10)]


def test_many_letters_are_retried_and_dropped(store: Store) -> None:
    many = [record(n) for n in range(1200)]
    handoffs, one = WorkQueue(store), Handler("h", print, frozenset())
    give(store, "h", many)
    while claim := handoffs.claim(one, 1200, 1):
        claim.failures = [Failure(call, "open", RECEIVED, "no", "", None) for call in claim.records]
        handoffs.settle(one, claim, [], release=True)
    assert dead(store) == list(range(1200))
    chosen = list(find(store, Wanted()))
    assert act_on(chosen[:600], lambda some: retry(store, some, True), lambda _: None) == 600
    assert act_on(chosen[600:], lambda some: drop(store, some), lambda _: None) == 600
    assert (handoffs.waiting(), dead(store)) == ({"h": 600}, [])


def test_dead_letters_do_not_need_redis(letters: Store, client: redis.Redis) -> None:
    before = found(letters)
    client.flushall()
    assert found(letters) == before == ALL


# --- the commands ---


def typed(store_url: str, redis_url: str, *words: str, answer: str | None = None) -> Result:
    environ = {"DATABASE_URL": store_url, "REDIS_URL": redis_url, "INGEST_HANDLERS": "my_module"}
    with patch("ingest.cli.asking.somebody_is_there", return_value=answer is not None):
        return CliRunner().invoke(main, ["failed", *words], input=answer, env=environ)


def test_the_list_is_a_table_or_a_line_of_json_each(letters: Store, database: str, redis_url: str) -> None:
    shown = typed(database, redis_url, "list")
    lines = shown.stdout.splitlines()
    assert shown.exit_code == 0
    assert lines[0].split() == ["failed", "UTC", "delivery_id", "handler", "error"]
    assert [line.split()[2] for line in lines[1:]] == ["a", "a", "b", "b", STORE]
    assert lines[1].endswith(f"Z  {record(1).delivery_id.hex()}  a         ValueError: no")
    rows = [json.loads(line) for line in typed(database, redis_url, "list", "--json").stdout.splitlines()]
    assert [(row["handler"], row["type"]) for row in rows[1:3]] == [("a", "click"), ("b", "open")]
    assert rows[0].keys() == DeadLetter("", b"", "", 0, 0, 0, "", "", record(1)).as_dict().keys()
    assert len(typed(database, redis_url, "list", "--error", "keyerror", "--handler", "b").stdout.split("\n")) == 3


def test_one_letter_is_shown_whole(letters: Store, database: str, redis_url: str) -> None:
    shown = typed(database, redis_url, "show", record(1).delivery_id.hex(), "--handler", "a").stdout
    assert "given up by a at" in shown
    assert "after 1 attempt: ValueError: no" in shown
    assert '"message_id":"m1"' in shown.replace(" ", "")
    assert "Traceback: 100%" in shown
    assert "hello" in typed(database, redis_url, "show", UNREADABLE.delivery_id.hex()).stdout
    assert typed(database, redis_url, "show", "xyz").exit_code == 2
    missing = typed(database, redis_url, "show", "00" * 12)
    assert (missing.exit_code, "There is no dead letter" in missing.output) == (1, True)


@pytest.mark.parametrize("command", ["retry", "drop"])
def test_without_a_filter_it_asks_before_it_does_anything(
    letters: Store, database: str, redis_url: str, command: str
) -> None:
    refused = typed(database, redis_url, command, answer="n\n")
    assert (refused.exit_code, found(letters)) == (1, ALL)
    agreed = typed(database, redis_url, command, answer="y\n")
    assert (agreed.exit_code, found(letters)) == (0, ALL[4:] if command == "retry" else [])


def test_retrying_wakes_the_handlers(letters: Store, database: str, client: redis.Redis, redis_url: str) -> None:
    done = typed(database, redis_url, "retry", "--handler", "a")
    assert (done.exit_code, done.stdout) == (0, "2 calls went to their handlers again.\n")
    assert WorkQueue(letters).waiting() == {"a": 2}
    assert any(b"rq:queue:" in key for key in client.scan_iter())
    assert found(letters) == ALL[2:]


def test_yes_does_not_ask_and_redis_need_not_be_there(letters: Store, database: str) -> None:
    done = typed(database, "redis://127.0.0.1:1", "retry", "--yes")
    assert (done.exit_code, done.stdout) == (0, "4 calls went to their handlers again.\n")
    assert "Redis does not answer, so the handlers start with the next event" in done.stderr
    assert typed(database, "redis://127.0.0.1:1", "drop", "--yes").stdout == "1 call dropped.\n"


def test_a_letter_whose_event_is_not_in_the_store_any_more_is_still_whole(store: Store) -> None:
    bury(store, "a", 1)
    assert store.stored() == 0
    (letter,) = find(store, Wanted())
    assert isinstance(letter.event, Event)
