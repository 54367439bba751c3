"""What lies in the store, asked past the store's own methods; and what is put there."""

from collections.abc import Sequence
from contextlib import closing
from typing import Any

from sqlalchemy import event as listeners
from sqlalchemy import text

from ingest.batch import Record, unpack
from ingest.copernica.events import Event
from tests.support.builders import decoded, numbers
from workers.handlers.work_queue import WorkQueue
from workers.store import tables
from workers.store.filters import Filter
from workers.store.rows import Waiting, unverified_call
from workers.store.store import Store


def rows(store: Store, query: str) -> list[tuple[Any, ...]]:
    with store.engine.connect() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(query)]


#: Bring a database from schema 0014 back to 0010.
WITHOUT_0011 = [
    *(f"DROP VIEW {name}_stats" for name in ("mailing", "template", "tag", "device")),
    "DROP TABLE mailing_devices",
    "DROP TABLE marks",
    "DROP TABLE audit",
    "DROP TABLE commits",
    "DROP TABLE handler_runs",
    "DROP INDEX dead_letters_failed",
    "DROP INDEX dead_letters_of",
    "DROP TABLE ended_sessions",
    "DROP INDEX event_counts_mailing",
    *(f"DROP TABLE mailing_{name}" for name in ("changes", "parts", "figures", "tags", "names")),
    "DROP INDEX handoffs_due",
    "CREATE INDEX handoffs_due ON handoffs (handler, due_at)",
    *(
        f"DROP TABLE {name}"
        for name in (
            "coverage",
            "gaps",
            "destinations",
            "recovered",
            "comparisons",
            "comparison_calls",
            "mailing_totals",
            "day_totals",
        )
    ),
    "ALTER TABLE event_counts RENAME TO event_counts_after",
    "CREATE TABLE event_counts (hour TEXT NOT NULL, type TEXT NOT NULL, mailing BIGINT NOT NULL, "
    "shard INTEGER NOT NULL, number BIGINT NOT NULL, PRIMARY KEY (hour, type, mailing, shard))",
    "INSERT INTO event_counts (hour, type, mailing, shard, number) "
    "SELECT hour, type, mailing, shard, sum(number) FROM event_counts_after GROUP BY 1, 2, 3, 4",
    "DROP TABLE event_counts_after",
]


def execute(store: Store, *statements: str) -> None:
    with store.engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def everything(store: Store) -> list[Event]:
    return list(store.find(Filter()))


def explained(store: Store, how: str, wanted: Filter) -> list[str]:
    """The database's own words on how it goes about a search."""
    asked: list[tuple[str, Any]] = []
    settings: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if "FROM marks" not in statement:  # whether people are stored under pseudonyms
            asked.append((statement, parameters))

    listeners.listen(store.engine, "before_cursor_execute", note)
    list(store.find(wanted))
    listeners.remove(store.engine, "before_cursor_execute", note)
    while not asked[0][0].startswith("SELECT"):
        settings.append(asked.pop(0)[0])
    statement, parameters = asked[0]  # the one that searches; others fetch what was found
    with store.engine.connect() as connection:
        for setting in settings:
            connection.exec_driver_sql(setting)
        return [str(row[-1]) for row in connection.exec_driver_sql(f"{how} {statement}", parameters)]


def waiting(store: Store) -> list[Waiting]:
    """All unverified calls, whatever key they wait for."""
    in_order = tables.unverified.c.delivery_id, tables.unverified.c.digest
    return [unverified_call(row) for row in store.rows(tables.unverified, order=in_order)]


def waiting_records(store: Store) -> list[Record]:
    return [call.record for call in waiting(store)]


def settle(store: Store, *records: Record) -> None:
    """Have these no longer wait."""
    store.add([], settled=[call.key for call in waiting(store) if call.record in records])


def counts(store: Store) -> tuple[int, int, int]:
    return store.stored(), store.quarantined(), store.unverified()


def is_a_sentence(error: BaseException) -> bool:
    said = str(error)
    return said[0].isupper() and said.endswith(".") and "\n" not in said and "sqlalche" not in said.lower()


def add(store: Store, *records: Record) -> int:
    return store.add(list(map(decoded, records)), hand_on={call.delivery_id: call for call in records}).new


def outbox(store: Store) -> dict[str, list[int]]:
    with store.reading() as connection:
        found: dict[str, list[int]] = {}
        for kind, count, packed in connection.execute(text("SELECT type, count, packed FROM outbox ORDER BY id")):
            records = unpack(bytes(packed))
            assert count == len(records)
            found.setdefault(kind, []).extend(numbers(records))
        return found


def dead(store: Store, name: str = "h") -> list[int]:
    rows = [row for row in store.rows(tables.dead_letters) if row.handler == name]
    return sorted(int.from_bytes(row.delivery_id, "big") for row in rows)


def give(store: Store, name: str, records: Sequence[Record]) -> None:
    with store.writing() as connection:
        WorkQueue(store).give(connection, name, records)


def stored_numbers(store: Store) -> list[int]:
    return [int.from_bytes(event.delivery_id, "big") for event in store.find(Filter())]


#: What an operator may have added by hand, and what the database then says of a row that does not fit.
REFUSALS = {
    "sqlite": (
        "CREATE TRIGGER picky BEFORE INSERT ON events WHEN NEW.recipient = 'refused@example.nl' "
        "BEGIN SELECT RAISE(ABORT, 'not this one'); END",
        "not this one",
    ),
    "mysql": ("ALTER TABLE events ADD CONSTRAINT picky CHECK (recipient <> 'refused@example.nl')", "picky"),
    "postgresql": ("ALTER TABLE events ADD CONSTRAINT picky CHECK (recipient <> 'refused@example.nl')", "picky"),
}


#: What ends all other connections to a database, in one statement, or in one for each that it names.
END_OTHERS = {
    "postgresql": "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()",
    "mysql": "SELECT id FROM information_schema.processlist WHERE db = database() AND id <> connection_id()",
}


def end_others(url: str) -> None:
    """Have a server end all connections to a database but a new one."""
    with closing(Store.open(url)) as store, store.engine.connect() as connection:
        kind = store.engine.dialect.name
        for (number,) in connection.exec_driver_sql(END_OTHERS[kind]).all():
            if kind == "mysql":
                connection.exec_driver_sql(f"KILL {number}")
