"""What MariaDB says of itself: for `workers.store.facts`."""

from collections.abc import Iterable
from datetime import UTC
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, text

from ingest.capacity.figures import PACKAGED
from workers.store.facts import DatabaseFacts, Facts, TableFacts

if TYPE_CHECKING:
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
#: As the server estimates them; what each index takes by itself is only for administrators to know.
_RELATIONS = """
    SELECT table_name, '', data_length FROM information_schema.tables WHERE table_schema = DATABASE()
    UNION ALL
    SELECT table_name, concat(table_name, ' (indexes)'), index_length FROM information_schema.tables
    WHERE table_schema = DATABASE()"""
_SIZE = "SELECT sum(data_length + index_length) FROM information_schema.tables WHERE table_schema = DATABASE()"


class MariaFacts(Facts):
    """A database on a server."""

    usual_bytes = PACKAGED.mariadb_bytes

    def look(self, store: "Store") -> DatabaseFacts:
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

    def size(self, connection: Connection) -> int:
        """As the server estimates it."""
        return int(connection.exec_driver_sql(_SIZE).scalar() or 0)

    def relations(self, connection: Connection) -> Iterable[tuple[Any, Any, Any]]:
        """As the server estimates them, all indexes of a table together."""
        return [(table, index, size) for table, index, size in connection.exec_driver_sql(_RELATIONS)]


def _settings(connection: Connection) -> dict[str, str]:
    names = ", ".join(f"'{name}'" for name in SETTINGS)
    rows = connection.exec_driver_sql(f"SHOW GLOBAL VARIABLES WHERE variable_name IN ({names})")
    return {str(name): str(value) for name, value in rows}
