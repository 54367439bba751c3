"""What is particular to the store on MariaDB: see docs/mariadb.md."""

import gc
import importlib
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import date
from pathlib import Path

import pymysql
import pytest
from sqlalchemy import literal, select

from ingest.errors import Collided, RowsRejected, TookTooLong, Unavailable
from tests.support.builders import delivery_id, event, record
from tests.support.mariadb import EmptyMaria, Server
from tests.support.months import event_of_month, first_second, partition
from tests.support.sql import everything, execute, rows
from workers.records import Quarantined
from workers.store import again, event_counts, mariadb_connection, mariadb_partitions, tables
from workers.store.backend import Slice
from workers.store.filters import Filter
from workers.store.mariadb_connection import driver_of
from workers.store.mariadb_insert import STATEMENT_ROWS
from workers.store.months import MONTHS_AHEAD, Month
from workers.store.patience import within
from workers.store.schema import VERSION, upgrade
from workers.store.store import Store

pytestmark = pytest.mark.slow

AHEAD = [partition(months) for months in range(MONTHS_AHEAD + 1)]


@pytest.fixture
def database(maria_database: EmptyMaria) -> str:
    return maria_database.url()


@pytest.fixture
def other(database: str) -> Iterator[Store]:
    """Another process's store."""
    with closing(Store.open(database)) as store:
        yield store


# --- texts and keys ---


@pytest.mark.parametrize(
    ("stored", "others"),
    [("5fd2", ["5FD2", "5fd2 ", "5fd2\t", "5fd"]), ("é", ["e", "É", "e\u0301"]), ("ß", ["ss"]), ("😀", ["😁"])],
)
def test_messages_are_the_same_only_if_every_character_is(store: Store, stored: str, others: list[str]) -> None:
    store.add([event(1, message_id=stored)])
    assert [e.message_id for e in store.find(Filter(message_id=stored))] == [stored]
    for other_id in others:
        assert list(store.find(Filter(message_id=other_id))) == []


def test_a_recipient_is_compared_as_python_folds_it(store: Store) -> None:
    store.add([event(1, recipient="İlse@example.nl"), event(2, recipient="ILSE@example.nl")])
    assert [e.recipient for e in store.find(Filter(recipient="ilse@example.nl"))] == ["ILSE@example.nl"]
    assert [e.recipient for e in store.find(Filter(recipient="İlse@example.nl"))] == ["İlse@example.nl"]


def test_no_text_ends_before_it_ends(store: Store) -> None:
    hostile = [
        "', (x'00",
        "\\",
        "\\'",
        "''",
        "\\\\' OR 1=1 -- ",
        "%s",
        "\x1a\r\n\t",
        '"',
        "a\\",
        "') ON DUPLICATE",
    ]
    store.add([event(n, recipient=text, description=text, url=text) for n, text in enumerate(hostile)])
    assert [(e.recipient, e.description, e.url) for e in everything(store)] == [(one, one, one) for one in hostile]
    store.add([event(99, recipient="x")])


def test_a_nul_that_came_through_stores_nothing(store: Store) -> None:
    row = ("h\0', x'00', 0) -- ", b"", 0)
    with pytest.raises(RowsRejected), store.writing() as connection:
        store.insert(connection, tables.replays, [row])
    assert rows(store, "SELECT count(*) FROM replays") == [(0,)]


def test_ids_that_end_in_zeros_or_blanks_are_different(store: Store) -> None:
    ids = [b"\1" * 11 + end for end in (b"\0", b" ", b"\xff")] + [b"\1" * 11, b"\1" * 10]
    assert store.add([event(delivery_id=one) for one in ids]).new == len(ids)
    assert [e.delivery_id for e in everything(store)] == sorted(ids)


def test_a_large_body_takes_no_more_than_it_has(store: Store) -> None:
    body = ("Zoë 'x' \\ \r\n" * 200_000).encode() + b"\xff\xfe"
    store.add([], [Quarantined(record(1, body=body), "no form")])
    (row,) = store.rows(tables.quarantine)
    assert bytes(row.body) == body


# --- many at once ---


def test_of_many_rows_only_those_that_were_not_there_are_new(store: Store) -> None:
    size = 2 * STATEMENT_ROWS + 3
    assert store.add([event(n) for n in range(0, size, 7)]).new == len(range(0, size, 7))
    assert store.add([event(n) for n in range(size)]).new == size - len(range(0, size, 7))
    assert store.add([event(n) for n in range(size)]).new == 0
    assert store.stored() == size


def test_the_library_may_have_another_name_as_well(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `pymysql.install_as_MySQLdb()` has it for Django: its parts are there twice, with errors of their own."""
    monkeypatch.setattr(pymysql, "err", pymysql.err)
    monkeypatch.setitem(sys.modules, "MySQLdb", pymysql)
    monkeypatch.setitem(sys.modules, "MySQLdb.err", pymysql.err)  # so that it is gone again afterwards
    monkeypatch.delitem(sys.modules, "MySQLdb.err")
    assert importlib.import_module("MySQLdb.err").IntegrityError is not pymysql.IntegrityError
    assert [store.add([event(number) for number in numbers]).new for numbers in ((1, 3), (1, 2, 3), (3,))] == [
        2,
        1,
        0,
    ]
    with pytest.raises(RowsRejected), store.writing() as connection:
        store.insert(connection, tables.replays, [("h\0', x'00', 0) -- ", b"", 0)])


def test_drains_that_store_the_same_at_once_store_it_once(database: str) -> None:
    events = [event(n) for n in range(600)]

    def add(turn: int) -> int:
        with closing(Store.open(database)) as store:
            part = events[turn * 50 : turn * 50 + 400]
            return sum(store.add(part[at : at + 100]).new for at in range(0, len(part), 100))

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(add, range(4))) == 550
    with closing(Store.open(database)) as store:
        assert everything(store) == events[:550]
        assert store.stored() == 550


def test_a_deadlock_is_tried_again(store: Store, other: Store) -> None:
    execute(store, "INSERT INTO replays (name, after, done) VALUES ('a', '', 0), ('b', '', 0)")
    both_have_one = threading.Barrier(2)
    tries = []

    @again.again
    def change(by: Store, first: str, second: str) -> None:
        tries.append(first)
        with by.writing() as connection:
            for name in (first, second):
                connection.execute(
                    tables.replays.update()
                    .where(tables.replays.c.name == name)
                    .values(done=tables.replays.c.done + 1)
                )
                if len(tries) <= 2 and name == first:
                    both_have_one.wait(10)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(change, (store, other), "ab", "ba"))
    assert len(tries) == 3
    assert rows(store, "SELECT done FROM replays") == [(2,), (2,)]


def test_who_takes_turns_waits_for_those_who_share_and_they_for_one_another_never(
    store: Store, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store.writing() as first, other.writing() as second:
        store.backend.share_turns(first, event_counts.TURNS)
        other.backend.share_turns(second, event_counts.TURNS)
    monkeypatch.setattr(mariadb_connection, "SESSION", "SET SESSION innodb_lock_wait_timeout = 1")
    other.engine.dispose()
    with store.writing() as first:
        store.backend.take_turns(first, event_counts.TURNS)
        with pytest.raises(Collided), other.writing() as second:
            other.backend.share_turns(second, event_counts.TURNS)
    with other.writing() as second:
        other.backend.share_turns(second, event_counts.TURNS)


# --- the server ---


def test_the_servers_settings_do_not_count(maria_server: Server, database: str) -> None:
    maria_server.execute("SET GLOBAL sql_mode = ''", "SET GLOBAL max_statement_time = 0.001")
    try:
        with closing(Store.open(database)) as store:
            with pytest.raises(RowsRejected):
                store.add([event(1, profile=2**63)])
            assert rows(store, "SELECT sleep(0.01)") == [(0,)]
            assert store.add([event(1)]).new == 1
    finally:
        maria_server.execute("SET GLOBAL sql_mode = DEFAULT", "SET GLOBAL max_statement_time = 0")


@pytest.mark.parametrize(
    "mode",
    [
        "ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT",
        "ORACLE,EMPTY_STRING_IS_NULL",
        "PAD_CHAR_TO_FULL_LENGTH,IGNORE_SPACE,HIGH_NOT_PRECEDENCE,SIMULTANEOUS_ASSIGNMENT",
        "TIME_ROUND_FRACTIONAL,NO_ZERO_DATE,NO_ZERO_IN_DATE,NO_AUTO_VALUE_ON_ZERO,ONLY_FULL_GROUP_BY",
    ],
)
def test_whatever_mode_and_characters_the_server_has_all_is_stored_and_read_as_it_was(
    maria_server: Server, mode: str
) -> None:
    maria_server.execute("DROP DATABASE IF EXISTS odd")
    maria_server.execute(f"SET GLOBAL sql_mode = '{mode}'", "SET GLOBAL character_set_server = latin1")
    odd = event(1, recipient='Zoë "de" V\\, \'', description="😀\\n", url="", referer=None)
    try:
        url = maria_server.new_database("odd")
        upgrade(url)
        with closing(Store.open(url)) as store:
            assert store.add([odd, event(2)]).new == 2
            assert {found.delivery_id: found for found in store.find(Filter())}[odd.delivery_id] == odd
            (batch,) = store.as_arrow(Slice(date(2026, 11, 20), ["open"]))
            (row,) = [row for row in batch.to_pylist() if row["delivery_id"] == odd.delivery_id]
            assert [row[name] for name in ("recipient", "description", "url", "referer")] == [
                odd.recipient, odd.description, "", None,
            ]  # fmt: skip  # as they are above
            assert store.make_room() == []
    finally:
        maria_server.execute("SET GLOBAL sql_mode = DEFAULT", "SET GLOBAL character_set_server = DEFAULT")


def test_events_that_are_too_large_for_csv_are_exported_all_the_same(store: Store) -> None:
    """To double a million quotes would take the server minutes."""
    store.add([event(1), event(2, description='"' * 1_000_000), event(3, recipient='"' * 20_000), event(4)])
    batches = store.as_arrow(Slice(date(2026, 11, 20), ["open"]))
    found = [row for batch in batches for row in batch.to_pylist()]
    assert {row["delivery_id"]: (row["description"], row["recipient"]) for row in found} == {
        one.delivery_id: (one.description, one.recipient) for one in store.find(Filter())
    }
    assert len(found) == 4


def test_a_day_of_nothing_but_large_events_is_exported(store: Store) -> None:
    store.add([event(1, description="d" * 20_000), event(2, description="e" * 20_000)])
    (batch,) = store.as_arrow(Slice(date(2026, 11, 20), ["open"]))
    assert batch.num_rows == 2


def test_a_server_that_is_apart_from_its_cluster_is_left_for_another(store: Store) -> None:
    error = pymysql.OperationalError(1047, "WSREP has not yet prepared node for application use")
    assert store.backend.is_elsewhere(error)
    assert isinstance(store.backend.explain(error), Unavailable)


def test_a_store_goes_on_after_the_server_ended_its_connections(
    maria_server: Server, store: Store, other: Store
) -> None:
    store.add([event(1)])
    mine = rows(other, "SELECT connection_id()")[0][0]
    for (number,) in maria_server.execute("SELECT id FROM information_schema.processlist WHERE db = 'events'"):
        if number != mine:
            maria_server.execute(f"KILL {number}")
    assert store.add([event(2)]).new == 1


def test_what_was_interrupted_half_way_is_no_answer_to_the_next_question(store: Store) -> None:
    class Stop(BaseException):
        pass

    def stop(*_: object) -> None:
        raise Stop

    before = signal.signal(signal.SIGUSR1, stop)
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGUSR1))
    timer.start()
    try:
        with pytest.raises(Stop), store.reading() as connection:
            connection.exec_driver_sql("SELECT 'old' FROM (SELECT sleep(1)) AS slept")
    finally:
        timer.cancel()
        signal.signal(signal.SIGUSR1, before)
    with store.reading() as connection:
        assert connection.execute(select(literal("new"))).scalar() == "new"


def test_a_socket_at_which_nobody_listens_is_closed(tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always", ResourceWarning)
        with pytest.raises(Unavailable, match="Can't connect to MySQL server"):
            Store.open(f"mysql://u@localhost/x?unix_socket={tmp_path}/nowhere.sock")
        gc.collect()
    assert warned == []


def test_a_question_that_takes_too_long_is_given_up(database: str) -> None:
    with closing(Store.open(database)) as store:
        store.hurry()
        began = time.monotonic()
        with store.reading() as connection, within(0.2), pytest.raises(TookTooLong), store.backend.explained():
            connection.exec_driver_sql("SELECT count(*) FROM seq_1_to_100000 a, seq_1_to_100000 b")
        assert time.monotonic() - began < 10
        assert rows(store, "SELECT sleep(0.3)") == [(0,)]


def test_while_the_server_is_read_only_nothing_is_stored_and_afterwards_all(
    maria_server: Server, database: str
) -> None:
    maria_server.execute(
        "CREATE USER IF NOT EXISTS plain@localhost",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON events.* TO plain@localhost",
    )
    try:
        with closing(Store.open(database.replace("root@", "plain@"))) as store:
            store.add([event(1)])
            maria_server.execute("SET GLOBAL read_only = ON")
            with pytest.raises(Unavailable, match="read-only"):
                store.add([event(2)])
            closed = store.closed()
            assert closed is not None
            assert closed.code == "database-read-only"
            maria_server.execute("SET GLOBAL read_only = OFF")
            assert store.add([event(2)]).new == 1
    finally:
        maria_server.execute("SET GLOBAL read_only = OFF", "DROP USER plain@localhost")


def test_a_statement_longer_than_the_server_takes_is_about_the_row(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.add([event(1)])
    with store.reading() as connection:
        monkeypatch.setattr(type(driver_of(connection)), "set_up", lambda self: setattr(self, "packet", 65_536))
    store.engine.dispose()
    with pytest.raises(RowsRejected, match="max_allowed_packet"):
        store.add([event(2, url="x" * 70_000)])
    assert store.add([event(3, url="x" * 30_000)]).new == 1


# --- upgrading ---


def test_an_upgrade_that_was_killed_half_way_is_finished_by_the_next(maria_server: Server) -> None:
    url = maria_server.new_database("half")
    upgrade(url)
    maria_server.execute(
        "DELETE FROM alembic_version", "DROP TABLE mailing_tags", "DROP VIEW last_events", database="half"
    )
    assert upgrade(url) == (None, VERSION)
    with closing(Store.open(url)) as store:
        assert store.add([event(1)]).new == 1
        assert rows(store, "SELECT count(*) FROM mailing_tags") == [(0,)]
        assert rows(store, "SELECT recipient FROM last_events") == [("jan@example.nl",)]


def test_upgrades_at_once_wait_for_each_other(maria_server: Server) -> None:
    url = maria_server.new_database("twice")
    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(upgrade, [url, url]), key=str) == [(VERSION, VERSION), (None, VERSION)]


# --- partitions ---


def made(store: Store) -> list[str]:
    with store.reading() as connection:
        return [month.partition for month in mariadb_partitions.partitions(connection)]


def held(store: Store, name: str) -> int:
    return int(rows(store, f"SELECT count(*) FROM events PARTITION ({name})")[0][0])


def test_events_of_months_without_a_partition_are_kept_until_one_is_made(store: Store) -> None:
    assert made(store) == AHEAD
    events = [event_of_month(ahead, n) for ahead in (-3, -2, 0, MONTHS_AHEAD) for n in range(2)]
    assert store.add(events).new == len(events)
    assert held(store, "before_all") == 4
    assert store.make_room() == []
    assert made(store) == [*map(partition, (-3, -2, -1)), *AHEAD]
    assert [held(store, name) for name in ("before_all", partition(-3), partition(-1))] == [0, 2, 0]
    assert everything(store) == sorted(events, key=lambda e: e.delivery_id)
    assert store.add(events).new == 0


def test_an_id_of_an_impossible_time_is_kept_all_the_same(store: Store) -> None:
    beyond = first_second(MONTHS_AHEAD + 1)
    odd = [event(delivery_id=moment.to_bytes(4, "big") + b"\0" * 8) for moment in (0, 1, beyond, 2**32 - 1)]
    assert store.add(odd).new == len(odd)
    assert store.make_room([0, beyond]) == []
    assert made(store) == AHEAD
    assert everything(store) == odd


def test_months_that_have_expired_go_and_leave_no_number_behind(store: Store) -> None:
    store.add([event_of_month(ahead, n) for ahead in (-3, -2, -1, 0) for n in range(3)])
    store.make_room()
    assert store.expire(first_second(-1) + 1) == 9
    assert made(store) == [partition(-1), *AHEAD] if held(store, partition(-1)) else AHEAD
    assert store.stored() == 3
    assert store.add([event_of_month(-3)]).new == 1
    assert store.stored() == 4


def test_partitions_are_not_waited_for_long(store: Store, other: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mariadb_partitions, "ATTEMPTS", 1)
    store.add([event_of_month(-1)])
    with other.reading() as connection:
        connection.execute(select(tables.events.c.type)).all()
        (problem,) = store.make_room()
    assert "in use all the time" in problem
    assert store.make_room() == []


def test_the_name_of_a_month_says_which(store: Store) -> None:
    with store.reading() as connection:
        assert mariadb_partitions.partitions(connection)[0] == Month.now()


# --- how it finds things ---


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        (Filter(recipient="jan3@example.nl"), "events_recipient"),
        (Filter(message_id="m3"), "events_message_id"),
    ],
)
def test_an_index_leads_to_what_is_searched_for(store: Store, wanted: Filter, index: str) -> None:
    store.add([event(n, recipient=f"jan{n}@example.nl", message_id=f"m{n}") for n in range(2000)])
    execute(store, "ANALYZE TABLE events")
    assert [e.delivery_id for e in store.find(wanted)] == [delivery_id(3)]
    with store.reading() as connection:
        query = select(tables.events.c.delivery_id).where(*wanted.conditions(store.backend))
        compiled = query.compile(store.engine, compile_kwargs={"literal_binds": True})
        plan = connection.exec_driver_sql(f"EXPLAIN {str(compiled).replace('%', '%%')}").mappings().all()
    assert [(row["key"], int(row["rows"]) < 100) for row in plan] == [(index, True)]


def test_keys_are_read_on_from_where_one_was_not_from_the_beginning(store: Store) -> None:
    key = tables.unverified.c.delivery_id, tables.unverified.c.digest
    condition = store.backend.after(key, (b"a", b"b"))
    text = str(condition.compile(store.engine, compile_kwargs={"literal_binds": False}))
    assert text.startswith("unverified.delivery_id >= ")


def test_the_driver_is_the_one_that_notes_what_is_under_way(store: Store) -> None:
    with store.reading() as connection:
        driver = driver_of(connection)
        assert isinstance(driver, pymysql.connections.Connection)
        assert not driver.under_way
        with pytest.raises(Unavailable), store.backend.explained():
            connection.exec_driver_sql("SELECT nonsense")
        assert not driver.under_way
