"""What MariaDB says of itself: for `workers.operations.database_facts`."""

from datetime import UTC

from sqlalchemy import Connection, text

from workers.operations.database_facts import DatabaseFacts, TableFacts
from workers.store.store import Store

#: Settings that matter to what we do.
SETTINGS = (
    "max_connections", "innodb_buffer_pool_size", "innodb_log_file_size", "innodb_flush_log_at_trx_commit",
    "innodb_doublewrite", "sync_binlog", "max_allowed_packet", "read_only",
)  # fmt: skip  # a list to be read across
#: Tables with their indexes and about how many rows they have; partitions of events by themselves.
_TABLES = """
    SELECT table_name AS name, partition_name AS part, data_length + index_length AS size, table_rows AS number
    FROM information_schema.partitions WHERE table_schema = DATABASE() AND table_rows IS NOT NULL
    ORDER BY size DESC, name"""


def look(store: Store) -> DatabaseFacts:
    """Ask it; sizes and numbers of rows are the server's own estimates."""
    with store.reading() as connection:
        version = str(connection.exec_driver_sql("SELECT version()").scalar())
        kind = "MariaDB" if "mariadb" in version.lower() else "MySQL"
        facts = DatabaseFacts(kind, version, store.shown)
        facts.settings = _settings(connection)
        facts.connections = int(
            connection.exec_driver_sql(
                "SELECT count(*) FROM information_schema.processlist WHERE db = DATABASE()"
            ).scalar_one()
        )
        facts.most_connections = int(facts.settings.get("max_connections", "0")) or None
        for name, part, size, number in connection.execute(text(_TABLES)):
            kept = facts.partitions if part else facts.tables
            kept.append(TableFacts(str(part or name), int(size or 0), int(number)))
        facts.size = sum(table.size or 0 for table in (*facts.tables, *facts.partitions))
        facts.at = connection.exec_driver_sql("SELECT UTC_TIMESTAMP()").scalar_one().replace(tzinfo=UTC)
    return facts


def _settings(connection: Connection) -> dict[str, str]:
    names = ", ".join(f"'{name}'" for name in SETTINGS)
    rows = connection.exec_driver_sql(f"SHOW GLOBAL VARIABLES WHERE variable_name IN ({names})")
    return {str(name): str(value) for name, value in rows}
