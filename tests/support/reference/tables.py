"""The page of all tables and views."""

from collections.abc import Iterator

from sqlalchemy import Table

from tests.support.reference.events import POSTGRESQL
from tests.support.reference.markdown import code, page, table
from workers.store import console_tables, mailing_tables
from workers.store.sqlite_tables import sqlite_metadata
from workers.store.tables import events, metadata
from workers.store.views import view_metadata

#: Loaded so that `metadata` knows all tables.
LOADED = console_tables, mailing_tables

INTRODUCTION = """\
What is in the database. [Events](events.md) has the columns of `events`, in every kind of database; the views
answer what people ask most. Both stay the same from release to release within the rules of the changelog. The
other tables are the program's own bookkeeping: read them as you like, write none of them, and expect a release
to change them. Types are those of PostgreSQL. PostgreSQL and MariaDB have the same texts as comments: `\\d+
events`, `SHOW FULL COLUMNS FROM events`."""
_VIEWS = """\
## Views

The same in SQLite, PostgreSQL and MariaDB."""
_TABLES = """\
## Tables

Times that are numbers are in µs since 1970 unless their text says otherwise."""
_OTHERS = """\
## Beside these

- `alembic_version` holds the version of the schema, in its only row. - SQLite: the tables {sqlite} are the index
by which messages and recipients are found. - PostgreSQL and MariaDB: `events` is divided into partitions by
month, in PostgreSQL each a table named `events_` and   the month. Read `events`. - MariaDB: `turns` has a row
for each thing that only one may do at a time."""


def made() -> str:
    """The page."""
    views, kept = view_metadata.sorted_tables, metadata.sorted_tables
    own = sorted((one for one in kept if one is not events), key=lambda one: one.name)
    others = ", ".join(code(one.name) for one in sqlite_metadata.sorted_tables if one.name != events.name)
    return page(
        "Tables and views",
        INTRODUCTION,
        _VIEWS,
        *(part for view in views for part in _described(view)),
        _TABLES,
        f"### events\n\n{events.comment}. [Its columns](events.md#columns)",
        *(part for one in own for part in _described(one)),
        _OTHERS.format(sqlite=others),
    )


def _described(one: Table) -> Iterator[str]:
    yield f"### {one.name}"
    yield f"{one.comment}."
    rows = [
        (code(column.name), str(column.type.compile(dialect=POSTGRESQL)), f"{column.comment}.")
        for column in one.columns
    ]
    yield table(("column", "type", "holds"), rows)
