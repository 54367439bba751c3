"""The store, on both databases: each event once, whatever happens, and given back as it came."""

import json
import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, select

from ingest.batch import Record
from ingest.copernica.bodies import MAX_DEPTH
from ingest.copernica.columns import MAX_NUMBER_DIGITS
from ingest.copernica.events import Event, EventType, decode
from ingest.errors import IngestError, RowsRejected, SchemaMissing, Unavailable, Undecodable
from tests.support.builders import FORM, LONG, NINE, SECOND, delivery_id, event
from tests.support.postgres import Server
from tests.support.sql import (
    counts,
    end_others,
    everything,
    execute,
    is_a_sentence,
    rows,
    waiting,
    waiting_records,
)
from workers.records import Quarantined
from workers.store import postgres, sqlite, tables
from workers.store.database import FETCH_SIZE
from workers.store.filters import Filter
from workers.store.postgres_insert import COPY_FROM
from workers.store.rows import Waiting, micros
from workers.store.schema import upgrade
from workers.store.store import Store

HOUR = 3600 * SECOND


def call(number: int, body: bytes = b"?") -> Record:
    return Record(
        delivery_id(number), NINE + 1, b"/copernica/\xff?x=1", b"text/plain; \xe9", body, b"Date: \xff\n"
    )


def quarantined(number: int, body: bytes = b"?") -> Quarantined:
    return Quarantined(call(number, body), "neither a form nor a JSON object")


# --- what goes in comes out ---


@pytest.mark.parametrize("number", [1, COPY_FROM - 1, COPY_FROM, 2 * FETCH_SIZE + 1])
def test_what_was_added_is_there_for_others_too(database: str, store: Store, number: int) -> None:
    events = [event(n, recipient=f"{n}@example.nl", mailing=n or None) for n in range(number)]
    assert store.add(events).new == number
    with closing(Store.open(database)) as other:
        assert everything(other) == events


ODD_TEXTS = (
    "", None, "\t", "\n", "\r", "\\", "\\N", "\\.", "a\tb\nc\\nd\r\n\\.\n", "null", "NULL", '{"a": [1]}', "[]",
    "%s %(a)s", "'; DROP TABLE events; --", "😀 Zoë ﷽ \u2028\x01\x7f", "x" * 100_000,
)  # fmt: skip  # a list to be read across, not a column of single words
#: Characters that a text may have which is part of a key, in every database.
MOST_OF_KEY = 500
TEXT_COLUMNS = (
    "message_id", "recipient", "ip", "url", "user_agent", "referer", "extended", "state", "description",
    "raw_type", "path", "source",
)  # fmt: skip  # a list to be read across, not a column of single words
NUMBER_COLUMNS = ("profile", "subprofile", "database", "collection", "mailing", "code")
ODD_PAYLOADS: tuple[dict[str, Any], ...] = (
    {},
    {"": "", "none": None, "yes": True, "no": False, "pi": 3.5, "small": 0.0001, "deep": {"a": [{"b": []}, {}]}},
    {"large": 10**18 - 1, "least": -(10**18) + 1, "larger": "9" * 5000},
    {"text": "a\tb\nc\\nd\r\n\\.\n", "\\u0000": "\\u0000", "json": '{"a": "\\u0000"}', "quotes": "\"'\\"},
    {"mime": "Zoë\r\n" * 2_000_000},
)
ODD_BODIES = (
    b"a=1&a=2", b"x=%00", b"x%00y=%00&recipient=a%00b", b"x=\xff&%ff=1", b"recipient=%ff&id=%00&tags[]=%00",
    b"type=open&type=click&time=1&time=2", b"a=1&a[b]=2", b"", b"a=%5CN%09%0A%5C.",
    b'{"a": 1, "a": 2, "id": "x", "id": "y"}', b'{"a": "\\ud800", "\\u0000": ["\\udfff"]}',
    b'{"a": 123456789012345678901234567890, "b": 1e400, "c": -0.0, "d": 1.50}', b'{"recipient": null}',
    b'{"a": ' + b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1) + b"}",
    b'{"a":' * MAX_DEPTH + b'"\\u0000"' + b"}" * MAX_DEPTH,
)  # fmt: skip  # a list to be read across, not a column of single words


def _odd_events() -> Iterator[Event]:
    number = count(1)
    for column in TEXT_COLUMNS:
        values = [text for text in ODD_TEXTS if text is not None or column not in ("path", "source")]
        if column == "source":  # of ours, and part of a key
            values = [text for text in values if len(text or "") <= MOST_OF_KEY]
        yield from (event(next(number), **{column: text}) for text in values)
    yield from (event(next(number), tags=["b", text]) for text in ODD_TEXTS if text is not None)
    for value in (0, None, 10**MAX_NUMBER_DIGITS - 1):
        yield from (event(next(number), **{column: value}) for column in NUMBER_COLUMNS)
    yield from (event(next(number), payload=payload) for payload in ODD_PAYLOADS)
    yield from (event(next(number), type=kind) for kind in EventType)
    for moment in (1, 999_999, SECOND, NINE + 123_456, 4_102_444_799_999_999):
        yield event(next(number), occurred_at=moment, received_at=moment)
    yield from (decode(body, FORM, "/copernica?a=1", NINE + 7, delivery_id(next(number))) for body in ODD_BODIES)
    yield event(delivery_id=b"\0" * 12)
    yield event(delivery_id=b"\xff" * 12)


@pytest.mark.parametrize("at_once", [COPY_FROM - 1, 10_000])
def test_odd_events_come_back_as_they_went_in(store: Store, at_once: int) -> None:
    odd = list(_odd_events())
    for start in range(0, len(odd), at_once):
        store.add(odd[start : start + at_once])
    odd.sort(key=lambda e: e.delivery_id)
    different = [
        column
        for put, got in zip(odd, store.find(Filter()), strict=True)
        for column, one, other in zip(Event._fields, put, got, strict=True)
        if one != other or type(one) is not type(other)
    ]
    assert not different


def _form(pairs: list[tuple[str, bytes]]) -> bytes:
    return b"&".join(b"%s=%s" % (n.encode(), b"".join(b"%%%02x" % byte for byte in v)) for n, v in pairs)


NAMES = (
    "a",
    "type",
    "id",
    "recipient",
    "original",
    "time",
    "tags[]",
    "tags",
    "tags[1]",
    "profile",
    "b[c]",
    "b[",
    "é",
)
VALUES = (b"\0", b"\xff", b"1795165200", b"007", b"open", b"create", b"\\N", b"\\u0000")
FORMS = st.lists(st.tuples(st.sampled_from(NAMES), st.binary(max_size=5) | st.sampled_from(VALUES))).map(_form)
JSON_TEXTS = st.text(st.characters(), max_size=5) | st.sampled_from(NAMES)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | JSON_TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(JSON_TEXTS, inner, max_size=3),
    max_leaves=5,
)
OBJECTS = st.dictionaries(JSON_TEXTS, JSON, max_size=5).map(lambda value: json.dumps(value).encode())
_numbers = count(1)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(FORMS | OBJECTS, max_size=12))
def test_whatever_can_be_read_comes_back_as_it_was_read(store: Store, bodies: list[bytes]) -> None:
    events = []
    for body in bodies:
        try:
            events.append(decode(body, FORM, "/copernica", NINE, delivery_id(next(_numbers))))
        except Undecodable:
            continue
    assert store.add(events).new == len(events)
    assert store.with_ids([e.delivery_id for e in events]) == events


# --- each once ---


@pytest.mark.parametrize("number", [20, COPY_FROM])
def test_what_was_added_ten_times_is_there_once(store: Store, number: int) -> None:
    events = [event(n, recipient=None if n % 2 else "jan@example.nl") for n in range(number)]
    unread, waiting = [quarantined(n) for n in range(number)], [call(n) for n in range(number)]
    assert store.add(events, unread, waiting).new == 3 * number
    shuffled = random.Random(1)
    for _ in range(9):
        for batch in (unread, waiting):
            shuffled.shuffle(batch)
        assert store.add(shuffled.sample(events, number), unread, waiting).new == 0
    assert counts(store) == (number, number, number)
    assert everything(store) == events


@pytest.mark.parametrize("number", [2, COPY_FROM])
def test_what_is_new_is_counted_apart_from_what_is_there(store: Store, number: int) -> None:
    assert store.add([event(1)]).new == 1
    again = [event(1, recipient="other@example.nl"), *[event(n) for n in range(2, number + 1)], event(2), event(2)]
    assert store.add(again, [quarantined(1), quarantined(1)]).new == number
    assert {e.recipient for e in store.find(Filter())} == {"jan@example.nl"}
    assert store.add([]).new == 0
    assert counts(store) == (number, 1, 0)


# --- calls that are no events ---


def test_unreadable_calls_keep_their_raw_body_and_the_reason(store: Store) -> None:
    body = bytes(range(256)) * 3
    odd = Record(delivery_id(9), NINE, b"/\0\xff", b"a\0", b"\\N", b"x")
    store.add([event()], [quarantined(7, body), quarantined(8, b""), Quarantined(odd, "a\0 \udcff")])
    kept = sorted(tuple(row) for row in store.rows(tables.quarantine))
    reason = "neither a form nor a JSON object"
    assert [row[4:] for row in kept] == [(body, reason), (b"", reason), (b"\\N", "a\ufffd \ufffd")]
    assert kept[0][2:4] == ("/copernica/\ufffd?x=1", "text/plain; \ufffd")
    assert kept[2][2:4] == ("/\ufffd\ufffd", "a\ufffd")
    assert rows(store, "SELECT CAST(received_at AS VARCHAR(40)) FROM quarantine ORDER BY delivery_id")[0][
        0
    ].startswith("2026-11-20 09:00:00.000001")


def test_calls_wait_to_be_verified_as_they_came_in(store: Store) -> None:
    kept = [call(n, bytes(range(256))) for n in range(7)]
    assert store.unverified_signers() == []
    assert store.unverified_bytes() == 0
    store.add([], [], kept)
    (signer,) = store.unverified_signers()
    assert (signer.calls, micros(signer.oldest)) == (7, min(record.received_at for record in kept))
    seen: list[Waiting] = []
    while page := store.next_unverified(signer.key_id, seen[-1].key if seen else (b"", b""), 3):
        seen += page
    assert [each.record for each in seen] == kept
    assert store.unverified_bytes() == sum(len(record.body) + len(record.headers) for record in kept)


def test_calls_that_share_a_delivery_id_are_all_found_however_small_the_pages(store: Store) -> None:
    kept = [call(1, b"type=open&n=%d" % n) for n in range(7)]
    store.add([], [], kept)
    key_id = store.unverified_signers()[0].key_id
    seen: list[Waiting] = []
    while page := store.next_unverified(key_id, seen[-1].key if seen else (b"", b""), 2):
        seen += page
    assert sorted(each.record for each in seen) == sorted(kept)


def test_a_repeated_signature_with_another_body_takes_no_calls_place(store: Store) -> None:
    genuine, false = call(1, b"type=open"), call(1, b"type=click")
    store.add([], [], [genuine, false, genuine])
    assert sorted(waiting_records(store)) == sorted([genuine, false])
    keys = {each.record: each.key for each in waiting(store)}
    assert store.add([event(1)], settled=[keys[genuine], (call(2).delivery_id, b"no such call")]).new == 1
    assert waiting_records(store) == [false]
    store.add([], [Quarantined(false, "not Copernica's")], settled=[keys[false]])
    assert counts(store) == (1, 1, 0)


# --- filters ---


def at(hour: int, micro: int = 0) -> datetime:
    return datetime(2026, 11, 20, hour, 0, 0, micro, tzinfo=UTC)


CASES = [
    (Filter(), [1, 2, 3, 4, 5, 6]),
    (Filter(types=("click",)), [2]),
    (Filter(types=("click", "bounce", "profile-create")), [2, 5]),
    (Filter(recipient="eva@example.nl"), [3, 4]),
    (Filter(recipient="EVA@example.NL"), [3, 4]),
    (Filter(recipient="eva"), []),
    (Filter(recipient="eva@example.n_"), []),
    (Filter(recipient="%"), []),
    (Filter(recipient=""), []),
    (Filter(recipient=LONG.upper() + "5"), [5]),
    (Filter(recipient=LONG), []),
    (Filter(message_id="5fd2"), [1, 2, 3]),
    (Filter(message_id="5FD2"), []),
    (Filter(message_id="5fd%"), []),
    (Filter(since=at(10)), [2, 3, 4, 5, 6]),
    (Filter(until=at(10)), [1]),
    (Filter(since=at(10), until=at(12)), [2, 3]),
    (Filter(until=at(12, 1)), [1, 2, 3, 4, 5, 6]),
    (Filter(("open",), "eva@example.nl", "5fd2", at(0), at(23)), [3]),
    (Filter(("open",), "eva@example.nl", "5fd2", at(0), at(11)), []),
]


def test_a_filter_finds_what_it_says(store: Store) -> None:
    noon = NINE + 3 * HOUR
    events = [
        event(1),
        event(2, type=EventType.CLICK, occurred_at=NINE + HOUR),
        event(3, occurred_at=NINE + 2 * HOUR, recipient="eva@example.nl"),
        event(4, occurred_at=noon, recipient="Eva@Example.nl", message_id=None),
        event(5, occurred_at=noon, recipient=LONG + "5", message_id="5fd3", type=EventType.BOUNCE),
        event(6, occurred_at=noon, recipient=LONG + "6", message_id=None),
    ]
    store.add(events[::-1])
    for wanted, numbers in CASES:
        found = list(store.find(wanted))
        assert [int.from_bytes(e.delivery_id[4:], "big") for e in found] == numbers, wanted
        assert [e for e in events if wanted.fits(e)] == found


POOL = [
    event(number, type=kind, recipient=recipient, message_id=message, occurred_at=NINE + hour * HOUR)
    for number, (kind, recipient, message, hour) in enumerate(
        (kind, recipient, message, hour)
        for kind in (EventType.OPEN, EventType.CLICK)
        for recipient in (None, "", "jan@example.nl", "JAN@Example.nl", "5fd2", LONG + "5")
        for message in (None, "", "5fd2")
        for hour in (0, 1)
    )
]
FILTERS = st.builds(
    Filter,
    st.lists(st.sampled_from([e.value for e in EventType]), max_size=3).map(tuple),
    st.sampled_from([None, "", "JAN@example.NL", "jan", "j_n@example.nl", "5fd2", LONG + "5", LONG + "6"]),
    st.sampled_from([None, "", "5fd2", "5FD2", "jan@example.nl"]),
    *[st.sampled_from([None, at(9), at(9, 1), at(10), at(11)])] * 2,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(FILTERS, max_size=10))
def test_an_event_fits_a_filter_if_it_is_found_by_it(store: Store, filters: list[Filter]) -> None:
    store.add(POOL)
    for wanted in filters:
        assert list(store.find(wanted)) == [e for e in POOL if wanted.fits(e)]


# --- figures ---


def _a_day(store: Store) -> None:
    """Two days: opens of one message by two people, its delivery, a bounce, a failure; a click in another."""
    day = 24 * HOUR
    kinds = [
        (EventType.DELIVERY, NINE - HOUR, "jan@example.nl", "5fd2"),
        (EventType.OPEN, NINE, "jan@example.nl", "5fd2"),
        (EventType.OPEN, NINE + 1, "Jan@Example.nl", "5fd2"),
        (EventType.OPEN, NINE + HOUR - 1, "eva@example.nl", "5fd2"),
        (EventType.BOUNCE, NINE + HOUR, "piet@example.nl", "5fd2"),
        (EventType.FAILURE, NINE + HOUR, "PIET@example.nl", "5fd2"),
        (EventType.OPEN, NINE + 15 * HOUR - 1, None, "5fd2"),
        (EventType.CLICK, NINE + 15 * HOUR, "eva@example.nl", "5fd3"),
        (EventType.OPEN, NINE + day, "jan@example.nl", "5fd2"),
        (EventType.UNKNOWN, NINE + day, None, None),
    ]
    store.add(
        [
            event(number, type=kind, occurred_at=moment, recipient=recipient, message_id=message)
            for number, (kind, moment, recipient, message) in enumerate(kinds)
        ]
    )


def test_events_are_counted_by_hour_and_by_day(store: Store) -> None:
    _a_day(store)
    assert store.counts(Filter(until=at(12)), "hour") == [
        ("2026-11-20 08", "delivery", 1),
        ("2026-11-20 09", "open", 3),
        ("2026-11-20 10", "bounce", 1),
        ("2026-11-20 10", "failure", 1),
    ]
    assert store.counts(Filter(types=("open", "click")), "day") == [
        ("2026-11-20", "open", 4),
        ("2026-11-21", "click", 1),
        ("2026-11-21", "open", 1),
    ]
    assert store.counts(Filter(recipient="PIET@example.nl", message_id="5fd2"), "day") == [
        ("2026-11-20", "bounce", 1),
        ("2026-11-20", "failure", 1),
    ]
    assert store.counts(Filter(recipient="nobody"), "hour") == []


def test_the_views_answer_what_is_asked_first(store: Store) -> None:
    _a_day(store)
    columns = "message_id, CAST(first_event AS VARCHAR(40)), deliveries, opens, clicks, failures"
    messages = rows(store, f"SELECT {columns} FROM message_stats ORDER BY 1")
    assert [(row[0], row[1][:19], *row[2:]) for row in messages] == [
        ("5fd2", "2026-11-20 08:00:00", 1, 5, 0, 2),
        ("5fd3", "2026-11-21 00:00:00", 0, 0, 1, 0),
    ]
    columns = "CAST(day AS VARCHAR(40)), deliveries, opens, clicks, bounces, failures, unique_openers, bounce_rate"
    days = rows(store, f"SELECT {columns} FROM daily_stats ORDER BY 1")
    assert days[0][:7] == ("2026-11-20", 1, 4, 0, 1, 1, 2)
    assert float(days[0][7]) == pytest.approx(2 / 3)
    assert days[1] == ("2026-11-21", 0, 1, 1, 0, 0, 1, None)
    columns = "recipient, type, CAST(occurred_at AS VARCHAR(40)), message_id"
    last = rows(store, f"SELECT {columns} FROM last_events ORDER BY 1")
    assert [(row[0], row[1], row[2][:19], row[3]) for row in last] == [
        ("eva@example.nl", "click", "2026-11-21 00:00:00", "5fd3"),
        ("jan@example.nl", "open", "2026-11-21 09:00:00", "5fd2"),
        ("piet@example.nl", "failure", "2026-11-20 10:00:00", "5fd2"),
    ]


# --- what is too old ---


def test_exactly_what_is_older_expires(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for backend in (sqlite, postgres):
        monkeypatch.setattr(backend, "DELETE_ROWS", 3)
    limit = NINE // SECOND
    ids = [
        delivery_id(n, NINE + seconds * SECOND)
        for seconds in (-(10**9), -86_400, -1, 0, 1)
        for n in (0, 2**64 - 1)
    ]
    events = [event(delivery_id=each) for each in (b"\0" * 12, *ids, b"\xff" * 12)]
    records = [call(0)._replace(delivery_id=each) for each in ids]
    store.add(events, [Quarantined(record, "x") for record in records], records)
    assert store.expire(limit) == 7 + 6 + 6
    assert everything(store) == events[7:]
    assert [record.delivery_id for record in waiting_records(store)] == ids[6:]
    assert sorted(row.delivery_id for row in store.rows(tables.quarantine)) == ids[6:]
    assert store.expire(limit) == 0
    assert store.add(events[:7]).new == 7


# --- what goes wrong ---


@pytest.mark.parametrize("number", [1, COPY_FROM])
@pytest.mark.parametrize("changes", [{"recipient": "\ud800"}, {"profile": 2**63}, {"path": None}])
def test_an_event_that_the_database_cannot_hold_is_refused(
    store: Store, number: int, changes: dict[str, Any]
) -> None:
    with pytest.raises(RowsRejected) as caught:
        store.add([*[event(n) for n in range(number)], event(number, **changes)], [quarantined(1)])
    assert is_a_sentence(caught.value)
    assert counts(store) == (0, 0, 0)
    assert store.add([event(1)]).new == 1


RULES = {
    "sqlite": "CREATE TRIGGER rule BEFORE INSERT ON {} BEGIN SELECT RAISE(ABORT, 'not here'); END",
    "postgresql": "ALTER TABLE {} ADD CONSTRAINT rule CHECK (length(delivery_id) = 1)",
    "mysql": "ALTER TABLE {} ADD CONSTRAINT rule CHECK (length(delivery_id) = 1)",
}


@pytest.mark.parametrize("number", [1, COPY_FROM])
@pytest.mark.parametrize("table", ["events", "quarantine", "unverified"])
def test_of_a_write_that_breaks_a_rule_nothing_is_stored(store: Store, table: str, number: int) -> None:
    store.tidy()
    execute(store, RULES[store.engine.dialect.name].format(table))
    numbers = range(number)
    written = [event(n) for n in numbers], [quarantined(n) for n in numbers], [call(n) for n in numbers]
    with pytest.raises(RowsRejected) as caught:
        store.add(*written)
    assert is_a_sentence(caught.value)
    assert counts(store) == (0, 0, 0)


@pytest.mark.parametrize("number", [1, COPY_FROM])
def test_while_a_table_is_gone_nothing_is_refused_and_nothing_stored(store: Store, number: int) -> None:
    execute(store, "ALTER TABLE quarantine RENAME TO elsewhere")
    with pytest.raises(Unavailable) as caught:
        store.add([event(n) for n in range(number)], [quarantined(1)])
    assert is_a_sentence(caught.value)
    assert store.stored() == 0
    execute(store, "ALTER TABLE elsewhere RENAME TO quarantine")
    assert store.add([event(n) for n in range(number)], [quarantined(1)]).new == number + 1


LOCKS = {
    "sqlite": "BEGIN IMMEDIATE",
    "postgresql": "LOCK TABLE events IN EXCLUSIVE MODE",
    "mysql": "SELECT * FROM turns FOR UPDATE",
}


def test_while_others_hold_the_table_it_is_unavailable(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "LOCK_TIMEOUT", 0.1)
    hasty = f"{database}&options=-c%20lock_timeout%3D100ms" if database.startswith("postgresql") else database
    if database.startswith("mysql"):
        from workers.store import mariadb_connection

        monkeypatch.setattr(mariadb_connection, "SESSION", "SET SESSION innodb_lock_wait_timeout = 1")
    with closing(Store.open(hasty)) as store, store.engine.connect() as other:
        store.add([event(1)])
        other.exec_driver_sql(LOCKS[store.engine.dialect.name])
        with pytest.raises(Unavailable) as caught:
            store.add([event(2)])
        assert is_a_sentence(caught.value)
        assert store.stored() == 1
        other.rollback()
        assert store.add([event(2)]).new == 1


def test_a_store_goes_on_after_the_server_ended_its_connections(postgres_server: Server) -> None:
    url = postgres_server.new_database("ended", "template")
    with closing(Store.open(url)) as store, closing(Store.open(url)) as other:
        store.add([event(1)])
        rows(other, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        assert store.add([event(2)]).new == 1


#: What is done with a connection when its server ends it, SQLAlchemy's ways and the driver's own.
IN_THE_MIDDLE: dict[str, Callable[[Store, Connection], object]] = {
    "begin": lambda store, connection: store.backend.begin(connection),
    "select": lambda _store, connection: connection.execute(select(tables.gaps)),
    "insert": lambda store, connection: store.insert(connection, tables.marks, [("a", "b")]),
    "count": lambda store, connection: store.backend.add_counts(connection, [("h", "open", 1, "w", 1)], 1),
}


@pytest.mark.parametrize("what", IN_THE_MIDDLE)
def test_a_connection_that_ends_in_the_middle_is_told_of_in_one_sentence(
    database: str, store: Store, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    if database.startswith("sqlite"):
        pytest.skip("there is no server")

    def interrupted() -> None:
        with store.reading() as connection:
            if what != "begin":
                store.backend.begin(connection)
            end_others(database)
            IN_THE_MIDDLE[what](store, connection)

    with pytest.raises(Unavailable) as caught:
        interrupted()
    assert is_a_sentence(caught.value)
    assert not caplog.records


@pytest.mark.parametrize("use", [lambda url: Store.open(url).close(), upgrade])
@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:geheim@127.0.0.1:1/x",
        "postgresql://u:geheim@/x?host=/not/there",
        "postgresql://u@127.0.0.1:1/x?password=geheim",
        "postgresql://u:geheim@127.0.0.1:1/x?nonsense=1",
    ],
)
def test_no_error_tells_the_password(use: Callable[[str], object], url: str) -> None:
    with pytest.raises(IngestError) as caught:
        use(url)
    assert is_a_sentence(caught.value)
    assert "geheim" not in str(caught.value)


# --- SQLite alone ---


@pytest.fixture
def lite(tmp_path: Path) -> Iterator[Store]:
    url = f"sqlite:///{tmp_path}/not/there/yet.db"
    with pytest.raises(SchemaMissing, match="ingest db upgrade"):
        Store.open(url)
    upgrade(url)
    with closing(Store.open(url)) as store:
        yield store


def test_a_database_is_where_it_was_named_whatever_the_working_folder_is_later(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with closing(Store.open("sqlite:///events.db")) as store:
        store.engine.dispose()
        monkeypatch.chdir("/")
        assert store.add([event()]).new == 1


def test_a_commit_waits_for_the_disk(lite: Store) -> None:
    assert rows(lite, "PRAGMA synchronous") == [(2,)]  # FULL
    assert rows(lite, "PRAGMA journal_mode") == [("wal",)]
    with closing(sqlite3.connect(lite.shown)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.parametrize("use", [lambda url: Store.open(url).close(), upgrade])
@pytest.mark.parametrize("file", ["folder", "file/below.db", "file"])
def test_a_database_that_cannot_be_opened_is_one_sentence(
    tmp_path: Path, file: str, use: Callable[[str], object]
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("this is no database, and it is long enough to be sure of that" * 20)
    with pytest.raises(Unavailable) as caught:
        use(f"sqlite:///{tmp_path / file}")
    assert is_a_sentence(caught.value)
    assert str(tmp_path / file) in str(caught.value)


@pytest.mark.parametrize("use", [lambda url: Store.open(url).close(), upgrade])
@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite:///:memory:"])
def test_a_database_in_memory_is_refused_because_it_would_forget(use: Callable[[str], object], url: str) -> None:
    with pytest.raises(Unavailable, match="forgets what was acknowledged"):
        use(url)


# --- two processes ---
