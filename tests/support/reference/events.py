"""The page of events: their types, and the columns that they are stored in."""

import re
from collections.abc import Iterator

from sqlalchemy import Dialect
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import Column

from ingest.copernica.event_types import EventType
from ingest.copernica.events import LOGGED_ONLY, NUMBER_COLUMNS, TEXT_COLUMNS, WIRE_NAMES
from tests.support.reference.enums import commented
from tests.support.reference.markdown import code, page, table
from workers.store import mariadb_schema
from workers.store.tables import events

POSTGRESQL: Dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
_SQLITE: Dialect = sqlite.dialect()

INTRODUCTION = """\
Each call becomes one event: a row of the table `events`. `ingest events --format jsonl`, exports, handlers
(`ingest.Event`) and receivers have the same names. [Tables and views](tables.md) has everything else in the
database, and [the mapping documents](../how-to/from-other-services.md) what other services call it."""
_TYPES = """\
## Types

Copernica's own name is what a webhook says in its field `type`; the Publisher's callbacks say it as `action`,
and where a body says nothing, the last part of the path does. Types without one come from log files only, with
`ingest reconcile --all`. What fits none is `unknown`, and is kept whole. A release may add types."""
_COLUMNS = """\
## Columns

Where the fact comes from: a field of Copernica's, as it was sent, or from us. A field that fits no column
exactly stays in `payload`, so every call can be given back field by field (`event.fields` in Python). Times are
UTC; in SQLite they are text that sorts by time. Log files and results over REST have fewer facts than calls:
what one lacks, another source may fill in later."""
#: Columns that no single field of Copernica's becomes, and where they come from.
OURS = {
    "delivery_id": "a hash over the signature and its time; of recovered events, over the event itself",
    "type": "`type` or `action`, else the path",
    "occurred_at": "`time`, else `timestamp`, else when the call came in",
    "received_at": "our clock",
    "tags": "`tags`",
    "payload": "all fields that no column can give back",
    "path": "the request",
    "source": "us",
    "raw": "the body",
    "raw_type": "Content-Type",
    "folded_recipient": "`recipient`",
}


def made() -> str:
    """The page."""
    return page(
        "Events",
        INTRODUCTION,
        _TYPES,
        table(("type", "happened", "Copernica's own name"), _types()),
        _COLUMNS,
        table(("column", "holds", "comes from", "may be null", "SQLite", "PostgreSQL", "MariaDB"), _columns()),
    )


def _types() -> Iterator[tuple[str, ...]]:
    for value, text in commented(EventType).items():
        kind = EventType(value)
        yield code(value), text, "" if kind in LOGGED_ONLY else code(WIRE_NAMES.get(kind, ""))


def _columns() -> Iterator[tuple[str, ...]]:
    fields = {column: name for name, column in TEXT_COLUMNS.items()} | {name: name for name in NUMBER_COLUMNS}
    for column in events.columns:
        source = code(fields[column.name]) if column.name in fields else OURS[column.name]
        nullable = "yes" if column.nullable else ""
        yield code(column.name), f"{column.comment}.", source, nullable, *types(column)


def types(column: Column[object]) -> tuple[str, str, str]:
    """The type of a column of `events` in SQLite, PostgreSQL and MariaDB."""
    kind = column.type
    return (
        str(kind.compile(dialect=_SQLITE)),
        str(kind.compile(dialect=POSTGRESQL)),
        _in_mariadb()[column.name],
    )


def _in_mariadb() -> dict[str, str]:
    lines = mariadb_schema.EVENTS.format_map(mariadb_schema.WORDS).splitlines()
    found = (re.match(r" +`?(\w+)`? ([A-Z]+(?:\(\d+\))?)", line) for line in lines)
    return {one[1]: one[2] for one in found if one}
