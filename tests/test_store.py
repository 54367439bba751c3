"""The store, on a real SQLite file: each event once, whatever happens, and given back as it came."""

import multiprocessing
import sqlite3
import sys
from collections.abc import Iterator
from datetime import datetime
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest

from ingest.batch import Record
from ingest.copernica.events import Event, EventType
from ingest.errors import Unavailable
from workers.store import FETCH_SIZE, Filter, Quarantined, Store

HOUR = 3600 * 1_000_000
#: 2026-11-20 09:00:00 UTC, in µs.
NINE = 1_795_165_200_000_000


def event(number: int = 1, **changes: Any) -> Event:
    plain = Event(
        number.to_bytes(12, "big"), EventType.OPEN, "5fd2", NINE, NINE + 1, "jan@example.nl", "192.0.2.1", None,
        "Mozilla/5.0", "", ["a", "b"], {"timestamp": "2026-11-20 09:00:00"}, "/copernica",
    )  # fmt: skip
    return plain._replace(**changes)


def quarantined(number: int, body: bytes) -> Quarantined:
    record = Record(
        number.to_bytes(12, "big"), NINE, b"/copernica/\xff?x=1", b"text/plain; \xe9", body, b"Date: x"
    )
    return Quarantined(record, "neither a form nor a JSON object")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "not" / "there" / "yet.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    store = Store.open(f"sqlite:///{path}")
    yield store
    store.close()


def rows(path: Path, query: str) -> list[Any]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def test_events_added_ten_times_are_there_once(store: Store) -> None:
    events = [event(n) for n in range(100)]
    unread = [quarantined(n, b"?") for n in range(5)]
    assert store.add(events, unread) == 105
    assert [store.add(events, unread) for _ in range(9)] == [0] * 9
    assert (store.stored(), store.quarantined()) == (100, 5)


def test_what_is_new_is_counted_apart_from_what_is_there(store: Store) -> None:
    assert store.add([event(1)]) == 1
    assert store.add([event(1, recipient="other@example.nl"), event(2), event(2)]) == 1
    assert [found["recipient"] for found in store.find(Filter())] == ["jan@example.nl", "jan@example.nl"]
    assert store.add([]) == 0


def test_an_event_comes_back_as_it_went_in(store: Store) -> None:
    store.add([event(0xABC, occurred_at=NINE + 1, url="https://example.nl/?a=1&b=é", message_id=None)])
    assert list(store.find(Filter())) == [
        {
            "delivery_id": "000000000000000000000abc", "type": "open", "message_id": None,
            "occurred_at": "2026-11-20T09:00:00.000001Z", "received_at": "2026-11-20T09:00:00.000001Z",
            "recipient": "jan@example.nl", "ip": "192.0.2.1", "url": "https://example.nl/?a=1&b=é",
            "user_agent": "Mozilla/5.0", "referer": "", "tags": ["a", "b"],
            "payload": {"timestamp": "2026-11-20 09:00:00"}, "path": "/copernica", "source": "webhook",
        }
    ]  # fmt: skip


@pytest.mark.parametrize(
    "payload",
    [
        {"latin": "caf\udce9", "name\udcff": ["\ud83d", "😀"]},
        {"nul": "a\0b", "controls": "\x01\x1b\u2028", "quote": "\"'\\"},
        {"": "", "none": None, "yes": True, "pi": 3.5, "deep": {"a": [{"b": []}]}},
        {"large": 2**63 - 1, "larger": "9" * 5000, "small": -(2**63)},
    ],
)
def test_odd_payloads_come_back_as_they_went_in(store: Store, payload: dict[str, Any]) -> None:
    store.add([event(payload=payload)])
    assert [found["payload"] for found in store.find(Filter())] == [payload]


@pytest.mark.parametrize("value", ["😀 Zoë ﷽", "", None, "'; DROP TABLE events; --", "x" * 100_000])
def test_odd_columns_come_back_as_they_went_in(store: Store, value: str | None) -> None:
    store.add([event(recipient=value, tags=[value or ""])])
    found = next(store.find(Filter()))
    assert (found["recipient"], found["tags"]) == (value, [value or ""])


def test_unreadable_calls_keep_their_raw_body_and_the_reason(store: Store, path: Path) -> None:
    body = bytes(range(256)) * 3
    store.add([event()], [quarantined(7, body), quarantined(8, b"")])
    kept = rows(path, "SELECT delivery_id, received_at, body, reason FROM quarantine ORDER BY 1")
    reason = "neither a form nor a JSON object"
    assert [row[2:] for row in kept] == [(body, reason), (b"", reason)]
    assert kept[0][:2] == ((7).to_bytes(12, "big"), "2026-11-20 09:00:00.000000")


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        (Filter(), [1, 2, 3, 4]),
        (Filter(type="click"), [2]),
        (Filter(recipient="eva@example.nl"), [3, 4]),
        (Filter(recipient="EVA@example.nl"), []),
        (Filter(message_id="5fd2"), [1, 2, 3]),
        (Filter(since=datetime(2026, 11, 20, 10)), [2, 3, 4]),
        (Filter(until=datetime(2026, 11, 20, 10)), [1]),
        (Filter(since=datetime(2026, 11, 20, 10), until=datetime(2026, 11, 20, 12)), [2, 3]),
        (Filter(until=datetime(2026, 11, 20, 12, 0, 0, 1)), [1, 2, 3, 4]),
        (Filter("open", "eva@example.nl", "5fd2", datetime(2026, 1, 1), datetime(2027, 1, 1)), [3]),
    ],
)
def test_a_filter_finds_what_it_says(store: Store, wanted: Filter, numbers: list[int]) -> None:
    third = event(3, occurred_at=NINE + 2 * HOUR, recipient="eva@example.nl")
    fourth = event(4, occurred_at=NINE + 3 * HOUR, recipient="eva@example.nl", message_id=None)
    store.add([fourth, third, event(1), event(2, type=EventType.CLICK, occurred_at=NINE + HOUR)])
    assert [int(found["delivery_id"], 16) for found in store.find(wanted)] == numbers


def test_more_events_than_are_fetched_at_once_all_come_back(store: Store) -> None:
    store.add([event(n) for n in range(2 * FETCH_SIZE + 1)])
    assert [int(e["delivery_id"], 16) for e in store.find(Filter())] == list(range(2 * FETCH_SIZE + 1))


def test_a_commit_waits_for_the_disk(store: Store, path: Path) -> None:
    assert rows(path, "PRAGMA journal_mode") == [("wal",)]
    with store._engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2  # FULL
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"


def test_a_refused_write_stores_nothing_of_it(store: Store, path: Path) -> None:
    rows(path, "CREATE TRIGGER refuse BEFORE INSERT ON quarantine BEGIN SELECT RAISE(ABORT, 'disk is full'); END")
    with pytest.raises(Unavailable, match="disk is full"):
        store.add([event(1)], [quarantined(2, b"?")])
    assert store.stored() == 0
    assert store.add([event(1)]) == 1


@pytest.mark.parametrize("name", ["folder", "file/below.db", "file"])
def test_a_database_that_cannot_be_opened_is_told_in_one_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("this is no database, and it is long enough to be sure of that" * 20)
    with pytest.raises(Unavailable) as caught:
        Store.open(f"sqlite:///{tmp_path / name}")
    said = str(caught.value)
    assert said.startswith(f"The database {tmp_path / name} cannot be used: ")
    assert said.endswith(".")
    assert "\n" not in said
    assert "sqlalche" not in said


@pytest.mark.parametrize("url", ["sqlite:///", "sqlite:///:memory:"])
def test_a_database_in_memory_is_refused_because_it_would_forget_what_was_acknowledged(url: str) -> None:
    with pytest.raises(Unavailable):
        Store.open(url).close()


def _open_at_once(folder: Path, both: Barrier) -> None:
    refused = 0
    for number in range(30):
        both.wait(60)
        try:
            Store.open(f"sqlite:///{folder / str(number)}.db").close()
        except Unavailable as error:
            print(error)
            refused += 1
    sys.exit(refused)


def _write_at_once(folder: Path, both: Barrier, first: int) -> None:
    store = Store.open(f"sqlite:///{folder / 'shared.db'}")
    both.wait(60)
    for number in range(100):
        store.add([event(number), event(first + number)])
    store.close()


def _exit_codes(target: Any, *arguments: tuple[Any, ...]) -> list[int | None]:
    context = multiprocessing.get_context("spawn")
    both = context.Barrier(len(arguments))
    processes = [context.Process(target=target, args=(given[0], both, *given[1:])) for given in arguments]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.close()
    return codes


def test_two_processes_can_open_a_new_store_at_once(tmp_path: Path) -> None:
    assert _exit_codes(_open_at_once, (tmp_path,), (tmp_path,)) == [0, 0]


def test_two_processes_can_write_at_once(tmp_path: Path) -> None:
    Store.open(f"sqlite:///{tmp_path / 'shared.db'}").close()
    assert _exit_codes(_write_at_once, (tmp_path, 1000), (tmp_path, 2000)) == [0, 0]
    assert rows(tmp_path / "shared.db", "SELECT count(*) FROM events") == [(300,)]
