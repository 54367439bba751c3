"""Writes the comments of `workers.store.descriptions` into PostgreSQL."""

from sqlalchemy import Connection, text

from workers.store import tables
from workers.store.descriptions import quoted, wanted
from workers.store.views import view_metadata

_THERE = """
    SELECT (SELECT attname FROM pg_attribute WHERE attrelid = objoid AND attnum = objsubid), description
    FROM pg_description WHERE classoid = 'pg_class'::regclass AND objoid = to_regclass(:name)"""


def statements(connection: Connection) -> list[str]:
    """What is to be run in PostgreSQL; comments on a partitioned table are those of the table as people see it."""
    found = []
    kinds = (("TABLE", tables.metadata), ("VIEW", view_metadata))
    for kind, table in ((kind, table) for kind, metadata in kinds for table in metadata.sorted_tables):
        rows = connection.execute(text(_THERE), {"name": table.name})
        there: dict[str | None, str] = {row[0]: row[1] for row in rows}
        for column, comment in wanted(table).items():
            if there.get(column) != comment:
                of = f"{kind} {table.name}" if column is None else f'COLUMN {table.name}."{column}"'
                found.append(f"COMMENT ON {of} IS {quoted(comment)}")
    return found
