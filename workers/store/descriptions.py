"""Comments on tables, views and columns, in databases that keep such: those of `tables` and `views`.

Only what differs is written, so an upgrade of a release that changes no comment touches nothing. No row is
changed, and who reads or writes need not wait: PostgreSQL's `COMMENT` lets both go on, and MariaDB changes no more
than its catalogue (`ALGORITHM=INSTANT`: if it could not, it refuses).
"""

import re
from collections.abc import Mapping

from sqlalchemy import Connection, Table, text

from workers.store import console_tables, mailing_tables, tables
from workers.store.views import view_metadata

#: Loaded so that `tables.metadata` knows all tables.
LOADED = console_tables, mailing_tables

#: Seconds to wait for others who hold a table: behind us, everybody else would wait as well.
PATIENCE = 3

#: By column, its comment; None stands for the table itself.
Comments = Mapping[str | None, str]


def wanted(table: Table) -> dict[str | None, str]:
    """The comments of a table or view."""
    assert table.comment is not None
    return {None: table.comment, **{column.name: column.comment or "" for column in table.columns}}


def _quoted(comment: str) -> str:
    return "'" + comment.replace("'", "''") + "'"


# --- PostgreSQL ---

_IN_POSTGRESQL = """
    SELECT (SELECT attname FROM pg_attribute WHERE attrelid = objoid AND attnum = objsubid), description
    FROM pg_description WHERE classoid = 'pg_class'::regclass AND objoid = to_regclass(:name)"""


def postgresql_statements(connection: Connection) -> list[str]:
    """What is to be run in PostgreSQL; comments on a partitioned table are those of the table as people see it."""
    found = []
    kinds = (("TABLE", tables.metadata), ("VIEW", view_metadata))
    for kind, table in ((kind, table) for kind, metadata in kinds for table in metadata.sorted_tables):
        rows = connection.execute(text(_IN_POSTGRESQL), {"name": table.name})
        there: dict[str | None, str] = {row[0]: row[1] for row in rows}
        for column, comment in wanted(table).items():
            if there.get(column) != comment:
                of = f"{kind} {table.name}" if column is None else f'COLUMN {table.name}."{column}"'
                found.append(f"COMMENT ON {of} IS {_quoted(comment)}")
    return found


# --- MariaDB ---

_COLUMN = re.compile(r"^  (`(\w+)` .*?)(?: COMMENT '(?:[^'\\]|''|\\.)*')?,?$", re.MULTILINE)
_IN_MARIADB = """
    SELECT NULL, table_comment FROM information_schema.tables
    WHERE table_schema = DATABASE() AND table_name = :name
    UNION ALL SELECT column_name, column_comment FROM information_schema.columns
    WHERE table_schema = DATABASE() AND table_name = :name"""


def mariadb_statements(connection: Connection) -> list[str]:
    """What is to be run in MariaDB: one statement for each table. Views have no comments there.

    A column's comment can only be changed together with the rest of what it is, as the server itself tells it.
    """
    found = []
    for table in tables.metadata.sorted_tables:
        rows = connection.execute(text(_IN_MARIADB), {"name": table.name})
        there: dict[str | None, str] = {row[0]: row[1] for row in rows}
        changed = {column: comment for column, comment in wanted(table).items() if there.get(column) != comment}
        if not changed:
            continue
        made = connection.exec_driver_sql(f"SHOW CREATE TABLE {table.name}").one()[1]
        parts = [f"COMMENT = {_quoted(changed[None])}"] if None in changed else []
        for whole, name in _COLUMN.findall(made):
            if name in changed:
                parts.append(f"MODIFY {whole} COMMENT {_quoted(changed[name])}")
        found.append(f"ALTER TABLE {table.name} {', '.join(parts)}, ALGORITHM = INSTANT")
    return found
