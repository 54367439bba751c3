"""What PostgreSQL says of itself: for `workers.store.facts`."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, text

from ingest.capacity.figures import PACKAGED
from ingest.errors import Unavailable
from ingest.shown import without_secrets
from workers.store import tables
from workers.store.facts import DatabaseFacts, Facts, StatementFacts, TableFacts

if TYPE_CHECKING:
    from workers.store.store import Store

#: Slow statements that are shown, and characters of each.
MOST_STATEMENTS, STATEMENT_LENGTH = 10, 400
#: ms that a server may take to say how large its tables are.
PATIENCE_MS = 5000
#: Kinds of statements that can hold no password: others may, as `CREATE ROLE` does.
HARMLESS = ("select", "insert", "update", "delete", "with", "copy")
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
#: A partition, and an index of one, by what they are part of.
_RELATIONS = """
    WITH ours AS (
        SELECT oid, coalesce(pg_partition_root(oid), oid) AS root FROM pg_class WHERE relkind = 'r'
        AND relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = to_regclass('events'))),
    relations AS (
        SELECT root, 0 AS index, pg_table_size(oid) AS bytes FROM ours
        UNION ALL
        SELECT root, coalesce(pg_partition_root(indexrelid), indexrelid), pg_relation_size(indexrelid)
        FROM ours JOIN pg_index ON indrelid = oid)
    SELECT a_table.relname, coalesce(an_index.relname, ''), sum(bytes)
    FROM relations JOIN pg_class AS a_table ON a_table.oid = root
    LEFT JOIN pg_class AS an_index ON an_index.oid = index GROUP BY 1, 2"""


class PostgresFacts(Facts):
    """A database on a server."""

    usual_bytes = PACKAGED.postgresql_bytes

    def look(self, store: "Store") -> DatabaseFacts:
        """Ask it."""
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

    def size(self, connection: Connection) -> int:
        """As the server says, all that is in this database included."""
        return int(connection.exec_driver_sql("SELECT pg_database_size(current_database())").scalar() or 0)

    def relations(self, connection: Connection) -> Iterable[tuple[Any, Any, Any]]:
        """By the catalogue; partitions count as their table."""
        return [(table, index, size) for table, index, size in connection.exec_driver_sql(_RELATIONS)]


def _statements(store: "Store") -> list[StatementFacts] | None:
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
