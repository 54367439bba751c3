"""What an SQLite file says of itself: for `workers.store.facts`."""

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from ingest.capacity.figures import PACKAGED
from workers.store.facts import DatabaseFacts, Facts

if TYPE_CHECKING:
    from workers.store.store import Store

#: What it is asked.
PRAGMAS = ("page_size", "page_count", "freelist_count", "journal_mode", "synchronous", "cache_size")
#: The table of a SQLite that can tell what each page is for; not all are made with it.
_PAGES = "dbstat"
_RELATIONS = f"""
    SELECT coalesce(s.tbl_name, d.name), CASE s.type WHEN 'index' THEN s.name ELSE '' END, sum(d.pgsize)
    FROM {_PAGES} AS d LEFT JOIN sqlite_schema AS s ON s.name = d.name GROUP BY 1, 2"""


class SQLiteFacts(Facts):
    """A file."""

    usual_bytes = PACKAGED.sqlite_bytes

    def look(self, store: "Store") -> DatabaseFacts:
        """Ask it; of its tables it knows nothing without reading all of them."""
        facts = DatabaseFacts("SQLite", sqlite3.sqlite_version, store.shown)
        with store.reading() as connection:
            values = {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in PRAGMAS}
        page = int(values["page_size"] or 0)
        facts.size, facts.free = int(values["page_count"] or 0) * page, int(values["freelist_count"] or 0) * page
        facts.log = _file_size(f"{store.engine.url.database}-wal")
        facts.settings = {
            name: str(values[name]) for name in ("journal_mode", "synchronous", "page_size", "cache_size")
        }
        return facts

    def size(self, connection: Connection) -> int:
        """Its pages, whatever is in them."""
        pages, each = (
            connection.exec_driver_sql(f"PRAGMA {name}").scalar() or 0 for name in ("page_count", "page_size")
        )
        return int(pages) * int(each)

    def relations(self, connection: Connection) -> Iterable[tuple[Any, Any, Any]] | None:
        """By reading all of the file, which takes a second for some gigabytes at best."""
        try:
            return [(table, index, size) for table, index, size in connection.exec_driver_sql(_RELATIONS)]
        except DBAPIError as error:
            if _PAGES in str(error.orig):
                return None
            raise


def _file_size(name: str) -> int | None:
    try:
        return Path(name).stat().st_size
    except OSError:
        return None
