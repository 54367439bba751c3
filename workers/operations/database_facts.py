"""What the database says of itself: how large it is, and what it does; what the console shows of it.

Nothing here reads a table from one end to the other: sizes are those of files, and numbers of rows the server's
estimates. In SQLite, how much of the file each table takes is only known by reading all of it: `measured`.
"""

import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, func, select, text

from ingest.errors import TookTooLong, Unavailable
from ingest.shown import without_secrets
from workers.store import tables
from workers.store.patience import within
from workers.store.store import Store

#: Slow statements that are shown, and characters of each.
MOST_STATEMENTS, STATEMENT_LENGTH = 10, 400
#: ms that a server may take to say how large its tables are.
PATIENCE_MS = 5000
#: Kinds of statements that can hold no password: others may, as `CREATE ROLE` does.
HARMLESS = ("select", "insert", "update", "delete", "with", "copy")


class TableFacts(NamedTuple):
    """A table, or a partition of one: bytes with its indexes, and about how many rows; None: not known."""

    name: str
    size: int | None
    rows: int | None


class StatementFacts(NamedTuple):
    """A kind of statement, by the time that it took in all (ms)."""

    text: str
    calls: int
    total_ms: float
    mean_ms: float


@dataclass(slots=True)
class DatabaseFacts:
    """What a database says of itself."""

    kind: str
    version: str
    where: str
    #: Bytes: of all, of the write-ahead log beside it, and of what is free within it; None: not known.
    size: int | None = None
    log: int | None = None
    free: int | None = None
    #: Settings that matter, by their names.
    settings: Mapping[str, str] = field(default_factory=dict)
    tables: list[TableFacts] = field(default_factory=list)
    partitions: list[TableFacts] = field(default_factory=list)
    #: Connections now, and how many there may be.
    connections: int | None = None
    most_connections: int | None = None
    #: The slowest statements; None where the server does not keep count of them.
    statements: list[StatementFacts] | None = None
    #: Events by month, from the numbers that are kept; empty while an upgrade still makes them.
    months: list[tuple[str, int]] = field(default_factory=list)
    #: The server's time.
    at: datetime | None = None


def look(store: Store) -> DatabaseFacts:
    """Ask it.

    Raises:
        Unavailable: the database cannot be used now.
    """
    facts = _facts(store)
    if store.is_counted:
        facts.months = _months(store)
    return facts


def _facts(store: Store) -> DatabaseFacts:
    name = store.engine.dialect.name
    if name == "mysql":
        from workers.operations import mariadb_facts  # noqa: PLC0415

        return mariadb_facts.look(store)
    return _sqlite(store) if name == "sqlite" else _postgresql(store)


def _months(store: Store) -> list[tuple[str, int]]:
    columns = tables.event_counts.c
    # By the hour, which is their order: by the month, they would have to be sorted first.
    query = select(columns.hour, func.sum(columns.number)).group_by(columns.hour)
    months: Counter[str] = Counter()
    with store.reading() as connection:
        for hour, number in connection.execute(query):
            months[hour[: len("2026-11")]] += int(number)
    return sorted(((name, number) for name, number in months.items() if number), reverse=True)


# --- SQLite ---


def _sqlite(store: Store) -> DatabaseFacts:
    facts = DatabaseFacts("SQLite", sqlite3.sqlite_version, store.shown)
    with store.reading() as connection:
        values = {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in PRAGMAS}
    page = int(values["page_size"] or 0)
    facts.size, facts.free = int(values["page_count"] or 0) * page, int(values["freelist_count"] or 0) * page
    facts.log = _file_size(f"{store.engine.url.database}-wal")
    facts.settings = {
        name: str(values[name]) for name in ("journal_mode", "synchronous", "page_size", "cache_size")
    }
    return facts


#: What SQLite is asked.
PRAGMAS = ("page_size", "page_count", "freelist_count", "journal_mode", "synchronous", "cache_size")


def _file_size(name: str) -> int | None:
    try:
        return Path(name).stat().st_size
    except OSError:
        return None


def measured(store: Store, seconds: float) -> list[TableFacts] | None:
    """How many bytes of SQLite's file each table takes, with its indexes: reads all of the file.

    None if this SQLite cannot tell. Only a store that was told to `hurry` gives up in time.

    Raises:
        Unavailable: it takes longer than so many seconds, or the database cannot be used now.
    """
    try:
        with within(seconds), store.reading() as connection:
            rows = connection.exec_driver_sql(
                "SELECT coalesce(s.tbl_name, d.name), sum(d.pgsize) FROM dbstat AS d "
                "LEFT JOIN sqlite_schema AS s ON s.name = d.name GROUP BY 1 ORDER BY 2 DESC"
            ).all()
    except TookTooLong:
        raise Unavailable(f"That takes longer than {seconds:.0f} s: the file is too large for it.") from None
    except Unavailable as error:
        if "dbstat" in str(error):
            return None
        raise
    return [TableFacts(str(name), int(size), None) for name, size in rows]


# --- PostgreSQL ---


def _postgresql(store: Store) -> DatabaseFacts:
    with store.reading() as connection:
        connection.exec_driver_sql(f"SET LOCAL statement_timeout = {PATIENCE_MS}")
        version = str(connection.exec_driver_sql("SHOW server_version").scalar())
        facts = DatabaseFacts("PostgreSQL", version, store.shown)
        facts.settings = {
            row.name: f"{row.setting}{row.unit or ''}"
            for row in connection.execute(text(_SETTINGS), {"names": list(SETTINGS)})
        }
        facts.connections = connection.execute(text(_CONNECTIONS)).scalar()
        facts.most_connections = int(facts.settings.get("max_connections", "0")) or None
        for row in connection.execute(text(_TABLES), {"events": tables.events.name}):
            kept = facts.partitions if row.of_events else facts.tables
            rows = int(row.rows) if row.rows is not None and row.rows >= 0 else None
            kept.append(TableFacts(row.name, int(row.size or 0), rows))
        facts.size = connection.execute(text("SELECT pg_database_size(current_database())")).scalar()
        facts.at = connection.execute(text("SELECT now()")).scalar()
    facts.statements = _statements(store)
    return facts


#: Settings that matter to what we do.
SETTINGS = (
    "max_connections", "shared_buffers", "work_mem", "synchronous_commit", "fsync", "full_page_writes",
    "autovacuum", "default_transaction_read_only",
)  # fmt: skip  # a list to be read across
_SETTINGS = "SELECT name, setting, unit FROM pg_settings WHERE name = ANY(:names) ORDER BY name"
_CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
#: Tables and partitions with their indexes; a table that has partitions has no bytes of its own.
_TABLES = """
    SELECT c.relname AS name, pg_total_relation_size(c.oid) AS size, c.reltuples AS rows,
        EXISTS (SELECT FROM pg_inherits WHERE inhrelid = c.oid AND inhparent = to_regclass(:events)) AS of_events
    FROM pg_class AS c
    WHERE c.relkind = 'r' AND c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = to_regclass(:events))
    ORDER BY size DESC, name"""


def _statements(store: Store) -> list[StatementFacts] | None:
    """The slowest ones; None where `pg_stat_statements` is not there, or not for us."""
    try:
        with store.reading() as connection:
            connection.exec_driver_sql(f"SET LOCAL statement_timeout = {PATIENCE_MS}")
            return _slowest(connection)
    except Unavailable:
        return None


def _slowest(connection: Connection) -> list[StatementFacts] | None:
    if connection.execute(text("SELECT to_regclass('pg_stat_statements')")).scalar() is None:
        return None
    query = text(
        "SELECT query, calls, total_exec_time, mean_exec_time FROM pg_stat_statements "
        "WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) "
        "ORDER BY total_exec_time DESC LIMIT 100"
    )
    rows: Sequence[Any] = connection.execute(query).all()
    harmless = [row for row in rows if str(row.query or "").lstrip().lower().startswith(HARMLESS)]
    return [
        StatementFacts(
            " ".join(without_secrets(row.query).split())[:STATEMENT_LENGTH],
            int(row.calls),
            float(row.total_exec_time),
            float(row.mean_exec_time),
        )
        for row in harmless[:MOST_STATEMENTS]
    ]
