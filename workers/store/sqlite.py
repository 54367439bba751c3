"""The store on SQLite: one file, one writer at a time, nothing to install.

`synchronous=FULL` makes each commit wait for the disk, since what it holds is taken out of the stream after it.
"""

import sqlite3
import time
from collections.abc import Sequence
from functools import cache
from itertools import compress, repeat
from operator import is_not
from pathlib import Path

from sqlalchemy import ColumnElement, Connection, Engine, Table, create_engine, event, func, literal_column, text

from ingest.errors import IngestError, RowsRejected, Unavailable
from workers.store import search_index, tables
from workers.store.backend import DELETE_ROWS, INDEXED, PERIODS, Backend, Row, first_line

#: Seconds to wait for another process that writes to the same file.
LOCK_TIMEOUT = 30
#: Pages of write-ahead log (4 KiB each) after which SQLite moves them into the file: 32 MiB, so that a drain at
#: full speed does it about once a second rather than at every commit.
CHECKPOINT_PAGES = 8192
#: What SQLite says about a row that it does not take, rather than about its file.
ABOUT_ROWS = (
    sqlite3.DataError, sqlite3.IntegrityError, sqlite3.InterfaceError, sqlite3.ProgrammingError,
    UnicodeError, OverflowError,
)  # fmt: skip


class SQLite(Backend):
    """A database in a file."""

    @property
    def shown(self) -> str:
        """The path is all there is to show."""
        return str(self._url.database)

    @property
    def path(self) -> Path | None:
        """Where the file is; None for a database in memory."""
        name = self._url.database
        return None if name in (None, "", ":memory:") else Path(str(name))

    def engine(self) -> Engine:
        """Connections to the file, which is made with its folder if it is not there."""
        if self.path is None:
            raise Unavailable("A database in memory forgets what was acknowledged: name a file in DATABASE_URL.")
        try:
            self.path.absolute().parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Unavailable(f"The database {self.shown} cannot be used: {error.strerror}.") from None
        engine = create_engine(self._url, connect_args={"timeout": LOCK_TIMEOUT}, hide_parameters=True)
        event.listen(engine, "connect", _set_up)
        return engine

    def begin(self, connection: Connection, delivery_ids: Sequence[bytes] = ()) -> None:
        """Take the lock at once, not at the first insert: two that begin by reading would block each other."""
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    def insert(self, connection: Connection, table: Table, rows: Sequence[Row]) -> int:
        """As text with tuples: SQLAlchemy's handling of every single value would cost more than the insert.

        Nor are NULLs bound: Python's sqlite3 looks for an adapter for each, which takes it longer than all the
        values that are there. So rows with the same columns filled have a statement to themselves.
        """
        alike: dict[bytes, list[Row]] = {}
        for row in rows:
            filled = bytes(map(is_not, row, repeat(None)))
            alike.setdefault(filled, []).append(tuple(compress(row, filled)))
        return sum(
            connection.exec_driver_sql(_insert_statement(table, filled), group).rowcount
            for filled, group in alike.items()
        )

    def insert_events(self, connection: Connection, rows: Sequence[Row]) -> list[bytes]:
        """New are those whose `row` was given just now: nobody else writes in the meantime."""
        newest = connection.execute(text("SELECT coalesce(max(row), 0) FROM events")).scalar_one()
        self.insert(connection, tables.events, rows)
        found = connection.execute(text("SELECT delivery_id FROM events WHERE row > :newest"), {"newest": newest})
        return list(found.scalars())

    def explain(self, error: Exception) -> IngestError:
        """Rows that cannot be bound or break a rule are refused; a full disk or a lock is no fault of theirs."""
        cause = getattr(error, "orig", error)
        if isinstance(cause, ABOUT_ROWS):
            return RowsRejected(f"The database refuses it: {first_line(error)}.")
        return Unavailable(f"The database {self.shown} cannot be used: {first_line(error)}.")

    def about(self, recipient: str | None, message_id: str | None) -> list[ColumnElement[bool]]:
        """By the runs of `finder`; the columns themselves then decide."""
        columns, found = tables.events.c, []
        if recipient is not None:
            found += [
                search_index.rows_with(search_index.lower(recipient[:INDEXED])),
                func.lower(columns.recipient) == search_index.lower(recipient),
            ]
        if message_id is not None:
            found += [] if recipient else [search_index.rows_with(message_id)]
            found.append(columns.message_id == message_id)
        return found

    def tidy(self, engine: Engine) -> None:
        """Sort the addresses of what has come in since the last time."""
        with engine.connect() as connection:
            more = True
            while more:
                self.begin(connection)
                more = search_index.make_run(connection)
                connection.commit()

    def expire(self, engine: Engine, before: bytes) -> int:
        """A few thousand at a time, so that drains come in between."""
        gone = 0
        doomed = "SELECT row FROM events WHERE delivery_id < :before ORDER BY delivery_id LIMIT :rows"
        delete = text(f"DELETE FROM events WHERE row IN ({doomed}) RETURNING row, recipient, message_id")
        with engine.connect() as connection:
            while True:
                self.begin(connection)
                deleted = connection.execute(delete, {"before": before, "rows": DELETE_ROWS}).all()
                search_index.remove(connection, [tuple(row) for row in deleted])
                if not deleted:
                    search_index.forget_empty(connection)
                connection.commit()
                if not deleted:
                    return gone
                gone += len(deleted)

    def erase(self, connection: Connection, delivery_ids: Sequence[bytes]) -> None:
        """Out of the table, and out of the runs."""
        delete = text("DELETE FROM events WHERE delivery_id = :id RETURNING row, recipient, message_id")
        for delivery_id in delivery_ids:
            deleted = connection.execute(delete, {"id": delivery_id}).all()
            search_index.remove(connection, [tuple(row) for row in deleted])

    def scrub(self, engine: Engine) -> None:
        """Write the file anew: deleted bytes stay in it otherwise, and in the write-ahead log."""
        with engine.connect() as connection:
            connection.exec_driver_sql("VACUUM")
            if connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()[0]:
                raise Unavailable(
                    f"Everything is deleted, but another process reads {self.shown}, so that old bytes are still "
                    "in its log: run it again."
                )

    def weaknesses(self, connection: Connection) -> list[str]:
        """None: what could be set wrongly is set by us."""
        return []

    def period(self, by: str) -> ColumnElement[str]:
        """Times are text: their beginning says it."""
        return literal_column(f"substr(events.occurred_at, 1, {PERIODS[by]})")


def _set_up(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # transactions begin where we say so
    _use_wal(connection)
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch to a write-ahead log; for this one statement SQLite itself does not wait for other processes."""
    until = time.monotonic() + LOCK_TIMEOUT
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.01)
        else:
            return


@cache
def _insert_statement(table: Table, filled: bytes) -> str:
    names = list(compress((column.name for column in table.columns), filled))
    places = ", ".join("?" * len(names))
    return f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({places}) ON CONFLICT DO NOTHING"
