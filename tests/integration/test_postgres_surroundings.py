"""PostgreSQL as others have set it up: roles that may do little, odd settings and encodings."""

import signal
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from sqlalchemy import text

from ingest.copernica.events import Event
from ingest.errors import Unavailable
from tests.support.builders import NINE, SECOND, event, handler, record
from tests.support.months import event_of_month, first_second, partition
from tests.support.postgres import Server
from tests.support.runbook import is_shown
from tests.support.sql import add, everything, execute, is_a_sentence
from workers.handlers.work_queue import WorkQueue
from workers.operations.erase import erase
from workers.store import console_tables, postgres_insert, tables, trial
from workers.store.backend import Row
from workers.store.postgres_insert import COPY_FROM
from workers.store.rows import event_row
from workers.store.schema import upgrade
from workers.store.store import Store

pytestmark = pytest.mark.slow

#: An event with all that a lesser encoding, or a time zone of its own, would change.
ODD = {
    "recipient": "zoë@exämple.nl",
    "user_agent": "✉ 💌 日本",
    "description": "it's a \\ backslash",
    "tags": ["é", "💌"],
    "payload": {"fields": {"naam": "Zoë 💌"}},
}


def odd_events(number: int) -> list[Event]:
    return [event(n, **ODD, occurred_at=NINE + n * SECOND) for n in range(number)]


def run(server: Server, database: str, *statements: str) -> None:
    with psycopg.connect(server.dsn(database), autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)  # type: ignore[arg-type,unused-ignore]


@pytest.fixture
def url(postgres_server: Server) -> str:
    return postgres_server.new_database("surroundings", "template")


@pytest.fixture
def humble(postgres_server: Server, url: str) -> Iterator[str]:
    """The same database for a role that may read and write rows, and nothing else."""
    run(
        postgres_server,
        "surroundings",
        "CREATE ROLE humble LOGIN",
        "REVOKE TEMPORARY ON DATABASE surroundings FROM PUBLIC",
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO humble",
    )
    yield url.replace("ingest@", "humble@")
    run(postgres_server, "surroundings", "DROP OWNED BY humble", "DROP ROLE humble")


# --- roles ---


def test_a_role_that_may_only_read_and_write_rows_is_enough(humble: str) -> None:
    assert COPY_FROM <= trial.MANY
    with closing(Store.open(humble)) as store:
        assert list(trial.faults(store)) == []
        many = [event_of_month(0, n) for n in range(COPY_FROM)]
        assert store.add([event_of_month(-2), *many]).new == COPY_FROM + 1
        assert store.add(many).new == 0
        assert store.expire(first_second(-1)) == 1
        assert everything(store) == many
        assert add(store, record(1)) == 1
        queue, one = WorkQueue(store), handler()
        queue.dispatch({"h": one})
        claim = queue.claim(one, 500, 1)
        assert claim is not None
        queue.settle(one, claim, [], release=True)
        assert len(erase(store, "jan@example.nl", dry_run=False).deleted) == COPY_FROM


def test_a_role_that_may_not_make_partitions_stores_events_of_a_new_month(humble: str, url: str) -> None:
    with closing(Store.open(url)) as owner:
        execute(owner, *[f"DROP TABLE {partition(ahead)}" for ahead in range(13)])
    with closing(Store.open(humble)) as store:
        (problem,) = store.make_room()
        assert problem.startswith(f"The database role may not make {partition(0)} (")
        assert "run `ingest db upgrade` as the owner of the tables" in problem
        assert is_a_sentence(ValueError(problem))
        many = [event_of_month(0, n) for n in range(COPY_FROM)]
        assert store.add(many).new == COPY_FROM
        found = store.weaknesses()
        weaknesses = "\n".join(risk.text for risk in found)
        codes = {"database-partitions", "database-no-ddl", "database-other-partition"}
        assert codes <= {risk.code for risk in found}
        assert [risk for risk in found if not is_shown(risk.code, risk.text)] == []
        assert "the partitions of events are missing for this month" in weaknesses
        assert "its role may not make partitions" in weaknesses
        assert f"events_other holds events of {datetime.now(UTC):%Y-%m}" in weaknesses
        upgrade(url)
        assert [risk for risk in store.weaknesses() if "events_other" in risk.text] == []
        assert everything(store) == many


def test_expired_months_are_deleted_by_a_role_that_may_not_drop_them(humble: str, url: str) -> None:
    with closing(Store.open(url)) as owner:
        owner.make_room([first_second(-2)])
    with closing(Store.open(humble)) as store:
        store.add([event_of_month(-2, n) for n in range(3)])
        assert store.expire(first_second(-1)) == 3


@pytest.mark.parametrize(
    "table", [table.name for table in console_tables.metadata.sorted_tables if table.name != "events"] + ["events"]
)
def test_what_a_role_may_not_do_is_found_by_doing_it(
    humble: str, url: str, postgres_server: Server, table: str
) -> None:
    run(postgres_server, "surroundings", f"REVOKE INSERT ON {table} FROM humble")
    with closing(Store.open(humble)) as store:
        found = list(trial.faults(store))
        assert {fault.text.rpartition(": ")[2] for fault in found} == {f"permission denied for table {table}."}
        assert store.stored() == 0


def test_a_database_that_takes_no_writes_is_found(url: str, postgres_server: Server) -> None:
    run(postgres_server, "surroundings", "ALTER DATABASE surroundings SET default_transaction_read_only = on")
    with closing(Store.open(url)) as store:
        fault, *_ = trial.faults(store)
        assert fault.text.endswith("cannot execute INSERT in a read-only transaction.")


def test_trying_leaves_nothing_behind(store: Store) -> None:
    before = everything(store)
    assert list(trial.faults(store)) == []
    assert everything(store) == before == []
    assert WorkQueue(store).waiting() == {}


# --- settings ---

SETTINGS = {
    "timezone": "America/New_York",
    "datestyle": "SQL, DMY",
    "intervalstyle": "sql_standard",
    "standard_conforming_strings": "off",
    "bytea_output": "escape",
    "statement_timeout": "9s",
    "lock_timeout": "9s",
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
    "client_encoding": "LATIN1",
    "extra_float_digits": "-5",
}
ENVIRONMENTS = {
    "variables": {
        "PGCLIENTENCODING": "LATIN1",
        "PGTZ": "America/New_York",
        "PGDATESTYLE": "SQL, DMY",
        "PGOPTIONS": " ".join(f"-c {name}={value.replace(' ', '')}" for name, value in SETTINGS.items()),
    },
    "service": {"PGSERVICE": "odd"},
}


def _give_back(store: Store) -> None:
    with store.reading() as connection:
        assert connection.execute(text("SHOW statement_timeout")).scalar() == "0"
    for events in (odd_events(1), odd_events(COPY_FROM + 1)):
        execute(store, "DELETE FROM events")
        assert store.add(events).new == len(events)
        assert everything(store) == events
    assert list(trial.faults(store)) == []
    assert store.make_room([first_second(-2)]) == []


@pytest.mark.parametrize("where", [*ENVIRONMENTS, "role", "database", "url"])
def test_settings_of_others_change_nothing(
    postgres_server: Server, url: str, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    if where in ENVIRONMENTS:
        services = postgres_server.folder / "services.conf"
        services.write_text("[odd]\nclient_encoding=LATIN1\noptions=-c timezone=America/New_York\n")
        monkeypatch.setenv("PGSERVICEFILE", str(services))
        for name, value in ENVIRONMENTS[where].items():
            monkeypatch.setenv(name, value)
    elif where == "url":
        url += "&client_encoding=latin1&options=-c%20timezone%3DAsia/Tokyo&prepare_threshold=0&autocommit=true"
    else:
        whose = "ROLE ingest" if where == "role" else "DATABASE surroundings"
        quoted = {name: value if name == "datestyle" else f"'{value}'" for name, value in SETTINGS.items()}
        settings = [f"ALTER {whose} SET {name} = {value}" for name, value in quoted.items()]
        run(postgres_server, "surroundings", *settings)
    try:
        with closing(Store.open(url)) as store:
            _give_back(store)
        upgrade(url)
    finally:
        monkeypatch.undo()
        run(postgres_server, "postgres", "ALTER ROLE ingest RESET ALL")


def test_tables_in_a_schema_that_is_not_the_first_get_their_partitions_there(
    postgres_server: Server, url: str
) -> None:
    run(
        postgres_server,
        "surroundings",
        "CREATE SCHEMA ingest",  # which comes before `public`: its name is that of the role
        f"DROP TABLE {partition(0)}",
    )
    with closing(Store.open(url)) as store:
        assert store.make_room() == []
        assert store.make_room() == []
        assert store.add([event_of_month(0)]).new == 1
        assert len(everything(store)) == 1


# --- encodings ---


def test_a_database_of_bytes_keeps_every_character(postgres_server: Server) -> None:
    url = _database(postgres_server, "SQL_ASCII")
    upgrade(url)
    with closing(Store.open(url)) as store:
        _give_back(store)


def test_no_tables_are_made_in_a_database_that_lacks_characters(postgres_server: Server) -> None:
    url = _database(postgres_server, "LATIN1")
    with pytest.raises(Unavailable, match="is in LATIN1, which lacks most characters: make one with CREATE"):
        upgrade(url)


def _database(server: Server, encoding: str) -> str:
    run(
        server,
        "postgres",
        "DROP DATABASE IF EXISTS encoded",
        f"CREATE DATABASE encoded ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0",
    )
    return server.dsn("encoded")


# --- at the same time ---


def test_what_another_stores_meanwhile_is_there_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    events = [event(n) for n in range(COPY_FROM)]
    with closing(Store.open(url)) as one, closing(Store.open(url)) as other:
        look_up = postgres_insert._not_there
        added: list[int] = []

        def look_up_and_be_late(*arguments: Any) -> list[Row]:
            found = look_up(*arguments)
            if len(added) == 1:
                added.append(other.add(events[1::2]).new)
            return found

        monkeypatch.setattr(postgres_insert, "_not_there", look_up_and_be_late)
        added.append(other.add(events[::4]).new)
        assert one.add(events).new == COPY_FROM // 4
        assert everything(one) == events


def test_keys_are_looked_up_only_after_one_was_there(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up: list[int] = []
    look_up = postgres_insert._not_there

    def counted(driver: Any, table: Any, rows: list[Row]) -> list[Row]:
        looked_up.append(len(rows))
        return look_up(driver, table, rows)

    monkeypatch.setattr(postgres_insert, "_not_there", counted)
    monkeypatch.setattr(postgres_insert, "LOOK_UPS", 2)
    many = [[event(n) for n in range(at, at + COPY_FROM)] for at in range(0, 5 * COPY_FROM, COPY_FROM)]
    with closing(Store.open(url)) as store:
        assert (store.add(many[0]).new, looked_up) == (COPY_FROM, [])
        assert (store.add([*many[0], *many[1]]).new, looked_up) == (COPY_FROM, [2 * COPY_FROM])
        assert (store.add(many[2]).new, looked_up) == (COPY_FROM, [2 * COPY_FROM, COPY_FROM])
        assert store.add(many[3]).new + store.add(many[4]).new == 2 * COPY_FROM
        assert len(looked_up) == 2
        assert everything(store) == [event(n) for n in range(5 * COPY_FROM)]


def test_rows_of_a_table_with_rules_for_rows_go_in_all_the_same(humble: str, postgres_server: Server) -> None:
    run(
        postgres_server,
        "surroundings",
        "ALTER TABLE events ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY everyone ON events USING (true)",
    )
    events = [event(n) for n in range(2 * COPY_FROM)]
    with closing(Store.open(humble)) as store:
        assert store.add(events[:COPY_FROM]).new == COPY_FROM
        assert store.add(events).new == COPY_FROM
        assert everything(store) == events


def test_a_row_that_another_is_about_to_store_is_waited_for(url: str) -> None:
    events = [event(n) for n in range(COPY_FROM)]
    new: list[int] = []
    with closing(Store.open(url)) as one, closing(Store.open(url)) as other:
        with other.writing() as connection:
            other.insert(connection, tables.events, [event_row(events[7])])
            adding = threading.Thread(target=lambda: new.append(one.add(events).new))
            adding.start()
            waiting = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'transactionid'")
            while not connection.execute(waiting).scalar():
                connection.execute(text("SELECT pg_sleep(0.01), pg_stat_clear_snapshot()"))
        adding.join()
        assert new == [COPY_FROM - 1]
        assert everything(one) == events


@pytest.mark.parametrize("number", [1, COPY_FROM])
def test_a_write_that_is_interrupted_ends_at_once_and_leaves_a_store_that_works(url: str, number: int) -> None:
    class TimeIsUp(BaseException):
        pass

    def interrupt(*_: object) -> None:
        raise TimeIsUp

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with closing(Store.open(url)) as store, store.engine.connect() as other:
            other.execute(text("LOCK TABLE events IN EXCLUSIVE MODE"))
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            with pytest.raises(TimeIsUp):
                store.add([event(n) for n in range(number)])
            other.rollback()
            assert store.add([event(n) for n in range(number)]).new == number
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
