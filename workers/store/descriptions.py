"""Comments on tables, views and columns, in databases that keep such: those of `tables` and `views`.

Each kind writes them in its own way: `workers.store.postgres_descriptions`, `workers.store.mariadb_descriptions`.

Only what differs is written, so an upgrade of a release that changes no comment touches nothing. No row is
changed, and who reads or writes need not wait: PostgreSQL's `COMMENT` lets both go on, and MariaDB changes no more
than its catalogue (`ALGORITHM=INSTANT`: if it could not, it refuses).
"""

from collections.abc import Mapping

from sqlalchemy import Table

from workers.store import console_tables, mailing_tables

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


def quoted(comment: str) -> str:
    """A comment as SQL has texts."""
    return "'" + comment.replace("'", "''") + "'"
