"""Writes the comments of `workers.store.descriptions` into MariaDB."""

import re

from sqlalchemy import Connection, text

from workers.store import tables
from workers.store.descriptions import quoted, wanted

_COLUMN = re.compile(r"^  (`(\w+)` .*?)(?: COMMENT '(?:[^'\\]|''|\\.)*')?,?$", re.MULTILINE)
_THERE = """
    SELECT NULL, table_comment FROM information_schema.tables
    WHERE table_schema = DATABASE() AND table_name = :name
    UNION ALL SELECT column_name, column_comment FROM information_schema.columns
    WHERE table_schema = DATABASE() AND table_name = :name"""


def statements(connection: Connection) -> list[str]:
    """What is to be run in MariaDB: one statement for each table. Views have no comments there.

    A column's comment can only be changed together with the rest of what it is, as the server itself tells it.
    """
    found = []
    for table in tables.metadata.sorted_tables:
        rows = connection.execute(text(_THERE), {"name": table.name})
        there: dict[str | None, str] = {row[0]: row[1] for row in rows}
        changed = {column: comment for column, comment in wanted(table).items() if there.get(column) != comment}
        if not changed:
            continue
        made = connection.exec_driver_sql(f"SHOW CREATE TABLE {table.name}").one()[1]
        parts = [f"COMMENT = {quoted(changed[None])}"] if None in changed else []
        for whole, name in _COLUMN.findall(made):
            if name in changed:
                parts.append(f"MODIFY {whole} COMMENT {quoted(changed[name])}")
        found.append(f"ALTER TABLE {table.name} {', '.join(parts)}, ALGORITHM = INSTANT")
    return found
