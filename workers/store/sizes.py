"""How many bytes each table and each index of the database takes: by the server's catalogue, or SQLite's pages."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from sqlalchemy import Connection

from ingest.errors import TookTooLong, Unavailable
from workers.store.patience import within
from workers.store.store import Store

#: Seconds for reading all of a SQLite file, of which a disk gives some gigabytes meanwhile.
PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes of a table without its indexes, or of one index of it; partitions count as their table."""

    table: str
    #: Empty: the table itself.
    index: str
    size: int


#: A partition, and an index of one, by what they are part of.
_POSTGRESQL = """
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
_SQLITE = """
    SELECT coalesce(s.tbl_name, d.name), CASE s.type WHEN 'index' THEN s.name ELSE '' END, sum(d.pgsize)
    FROM dbstat AS d LEFT JOIN sqlite_schema AS s ON s.name = d.name GROUP BY 1, 2"""

#: As the server estimates them; what each index takes by itself is only for administrators to know.
_MARIADB = """
    SELECT table_name, '', data_length FROM information_schema.tables WHERE table_schema = DATABASE()
    UNION ALL
    SELECT table_name, concat(table_name, ' (indexes)'), index_length FROM information_schema.tables
    WHERE table_schema = DATABASE()"""


def of_relations(store: Store, seconds: float = PATIENCE) -> Sequence[Size] | None:
    """The largest first; None where the database cannot tell, or not in so many seconds.

    Raises:
        Unavailable: the database cannot be used now.
    """
    query = _QUERIES.get(store.engine.dialect.name)
    if query is None:
        return None
    store.hurry()
    try:
        with within(seconds), store.reading() as connection:
            rows = connection.exec_driver_sql(query).all()
    except TookTooLong:
        return None
    except Unavailable as error:
        if "dbstat" in str(error):  # a SQLite that was made without it
            return None
        raise
    sizes = [Size(str(table), str(index), int(size)) for table, index, size in rows if size]
    return sorted(sizes, key=lambda one: -one.size)


def of_database(store: Store) -> int:
    """Bytes of all of it, what is free within it included.

    Raises:
        Unavailable: the database cannot be used now, or cannot tell.
    """
    measure = _WHOLE.get(store.engine.dialect.name)
    if measure is None:
        raise Unavailable(f"How large {store.shown} is cannot be found out: ask its server.")
    with store.reading() as connection:
        return measure(connection)


def _file(connection: Connection) -> int:
    pages, each = (
        connection.exec_driver_sql(f"PRAGMA {name}").scalar() or 0 for name in ("page_count", "page_size")
    )
    return int(pages) * int(each)


def _of_server(connection: Connection) -> int:
    return int(connection.exec_driver_sql("SELECT pg_database_size(current_database())").scalar() or 0)


def _of_mariadb(connection: Connection) -> int:
    query = "SELECT sum(data_length + index_length) FROM information_schema.tables WHERE table_schema = DATABASE()"
    return int(connection.exec_driver_sql(query).scalar() or 0)


_QUERIES = MappingProxyType({"sqlite": _SQLITE, "postgresql": _POSTGRESQL, "mysql": _MARIADB})
_WHOLE: MappingProxyType[str, Callable[[Connection], int]] = MappingProxyType(
    {"sqlite": _file, "postgresql": _of_server, "mysql": _of_mariadb}
)
