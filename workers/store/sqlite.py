"""The store on SQLite: one file, one writer at a time, nothing to install.

`synchronous=FULL` makes each commit wait for the disk, since the stream forgets its events right after it.
"""

import sqlite3
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Table,
    Text,
    and_,
    create_engine,
    event,
    exists,
    func,
    literal_column,
    or_,
    select,
    type_coerce,
)

from ingest.copernica.addresses import folded
from ingest.errors import IngestError, RowsRejected, TookTooLong, Unavailable
from ingest.health import Risk, RiskCode
from workers.store import event_counts, patience, remedies, search_index, tables
from workers.store.backend import DELETE_ROWS, INDEXED, PERIODS, Backend, Row, Transactions, first_line
from workers.store.event_counts import Deleted
from workers.store.rows import KEY, REMEMBERED_MINUTES, REMEMBERED_SECONDS
from workers.store.search_index import INDEXED_COLUMNS, Indexed
from workers.store.sqlite_facts import SQLiteFacts
from workers.store.sqlite_insert import insert_new
from workers.store.sqlite_tables import numbered_events

#: Seconds to wait for another process that writes to the same file.
LOCK_TIMEOUT = 30
#: Seconds between two attempts to switch to a write-ahead log.
WAL_RETRY = 0.01
#: Pages of write-ahead log (4 KiB each) after which SQLite moves them into the file: 32 MiB, so that a drain at
#: full speed does it about once a second rather than at every commit.
CHECKPOINT_PAGES = 8192
#: Bytes that the write-ahead log keeps on disk once it has been moved into the file.
LOG_KEPT = 64 * 1024 * 1024
#: Bytes of it that `check` warns of: beyond what a large transaction makes of it.
LOG_BOUND = 2 * LOG_KEPT
#: Steps of SQLite's machine between two looks at the clock: about a millisecond.
CLOCK_STEPS = 20_000
#: Errors whose cause is the rows rather than the file.
ABOUT_ROWS = (
    sqlite3.DataError,
    sqlite3.IntegrityError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    UnicodeError,
    OverflowError,
)
#: Adds to the numbers of events; its parameters are hour, type, mailing, source, number and stamp.
ADD_COUNTS = """
    INSERT INTO event_counts (hour, type, mailing, source, shard, number, changes) VALUES (?, ?, ?, ?, 0, ?, ?)
    ON CONFLICT (hour, type, mailing, source, shard)
    DO UPDATE SET number = number + excluded.number, changes = changes + excluded.changes"""
#: Notes that a mailing has changed; its parameters are mailing and stamp.
ADD_CHANGES = """
    INSERT INTO mailing_changes (mailing, shard, changes) VALUES (?, 0, ?)
    ON CONFLICT (mailing, shard) DO UPDATE SET changes = changes + excluded.changes"""
#: What a deletion from `events` must return for the numbers of events, as `Deleted` has it.
_COUNTED = (
    numbered_events.c.delivery_id,
    func.substr(numbered_events.c.occurred_at, 1, PERIODS["hour"]),
    numbered_events.c.type,
    numbered_events.c.mailing,
    numbered_events.c.source,
)


class SQLite(Backend):
    """A database in a file."""

    facts = SQLiteFacts()
    reads_in_portions = True

    @property
    def shown(self) -> str:
        """The path."""
        return str(self._url.database)

    @property
    def path(self) -> Path | None:
        """Where the file is; None for a database in memory."""
        name = self._url.database
        return None if name in (None, "", ":memory:") else Path(str(name))

    @property
    def is_absent(self) -> bool:
        """Connecting would create the file."""
        return self.path is not None and not self.path.exists()

    def engine(self) -> Engine:
        """Connections to the file, which is created with its folder if it does not exist."""
        if self.path is None:
            raise Unavailable("A database in memory forgets what was acknowledged: name a file in DATABASE_URL.")
        try:
            self.path.absolute().parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Unavailable(
                f"The database {self.shown} cannot be used: {error.strerror}{remedies.RIGHTS}."
            ) from None
        # As it is now: a handler may change the working folder before the next connection is made.
        url = self._url.set(database=str(self.path.absolute()))
        engine = create_engine(url, connect_args={"timeout": LOCK_TIMEOUT}, hide_parameters=True)
        event.listen(engine, "connect", _set_up)
        return engine

    def hurry(self, engine: Engine) -> None:
        """By looking at the clock every so many steps of a query."""
        event.listen(engine, "connect", _watch_the_clock)
        engine.dispose()  # connections that were made before

    def explain(self, error: Exception) -> IngestError:
        """Rows that cannot be bound or break a constraint are to blame; for a full disk or a lock they are not."""
        cause = getattr(error, "orig", error)
        if getattr(cause, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
            return TookTooLong(f"The database {self.shown} did not answer in time.")
        if isinstance(cause, ABOUT_ROWS):
            return RowsRejected(f"The database refuses it: {first_line(error)}.")
        hint = remedies.of_file(cause)
        return Unavailable(f"The database {self.shown} cannot be used: {first_line(error)}{hint}.")

    # --- transactions ---

    def begin(self, connection: Connection) -> None:
        """Take the lock at once, not at the first insert: two that begin by reading would block each other."""
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    def lock_schema(self, connection: Connection) -> None:
        """By the lock for writing, of which there is only one."""
        self.begin(connection)

    def is_missing_table(self, error: Exception) -> bool:
        """By its words: SQLite has no error code for it."""
        return "no such table" in str(getattr(error, "orig", error))

    # --- writing ---

    def insert(self, connection: Connection, table: Table, rows: Sequence[Row]) -> int:
        """Insert by statements as text, many rows at a time: see `workers.store.sqlite_insert`."""
        return insert_new(connection, table, rows)

    def insert_events(self, connection: Connection, rows: Sequence[Row]) -> list[bytes]:
        """If not all are new, it is those with a `row` assigned just now: no one else writes in the meantime."""
        newest = connection.execute(select(search_index.newest_row())).scalar_one()
        if insert_new(connection, tables.events, rows) == len(rows):
            return [row[KEY] for row in rows]
        new = select(numbered_events.c.delivery_id).where(numbered_events.c.row > newest)
        return list(connection.execute(new).scalars())

    def tidy(self, transactions: Transactions) -> None:
        """Bring the search index up to date."""
        more = True
        while more:
            with transactions() as connection:
                more = search_index.make_run(connection)

    def expire(self, transactions: Transactions, before: bytes) -> int:
        """A few thousand at a time, so that drains can write in between."""
        oldest = (
            select(numbered_events.c.row)
            .where(numbered_events.c.delivery_id < before)
            .order_by(numbered_events.c.delivery_id)
            .limit(DELETE_ROWS)
        )
        delete = (
            numbered_events.delete()
            .where(numbered_events.c.row.in_(oldest))
            .returning(*INDEXED_COLUMNS, *_COUNTED)
        )
        total = 0
        while True:
            with transactions() as connection:
                self.overwrite(connection)
                deleted = _unindexed(connection, connection.execute(delete).all())
                event_counts.change(connection, self, deleted=deleted)
                if not deleted:
                    search_index.forget_empty(connection)
                    break
            total += len(deleted)
        return total

    def erase(self, connection: Connection, delivery_ids: Sequence[bytes]) -> list[Deleted]:
        """Out of the table, and out of the search index."""
        these = numbered_events.c.delivery_id.in_(delivery_ids)
        delete = numbered_events.delete().where(these).returning(*INDEXED_COLUMNS, *_COUNTED)
        return _unindexed(connection, connection.execute(delete).all())

    def add_counts(
        self, connection: Connection, numbers: Sequence[tuple[str, str, int, str, int]], stamp: int
    ) -> None:
        """All in one shard: there is one writer at a time."""
        connection.exec_driver_sql(ADD_COUNTS, [(*each, stamp) for each in numbers])
        connection.exec_driver_sql(ADD_CHANGES, [(mailing, stamp) for mailing in sorted({n[2] for n in numbers})])

    def overwrite(self, connection: Connection) -> None:
        """By zeros: many builds of SQLite leave what is deleted in the file."""
        connection.exec_driver_sql("PRAGMA secure_delete=ON")

    def empty_log(self, engine: Engine) -> None:
        """Move all of it into the file, and cut it off."""
        with engine.connect() as connection:
            if connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()[0]:
                raise Unavailable(
                    f"Everything is deleted, but another process is reading {self.shown}, so old bytes remain in "
                    "its write-ahead log: run it again."
                )

    def scrub(self, engine: Engine) -> None:
        """Rewrite the file: what was deleted earlier may be in it, and in the write-ahead log."""
        with engine.connect() as connection:
            connection.exec_driver_sql("VACUUM")
        self.empty_log(engine)

    # --- reading ---

    def seconds(self, column: ColumnElement[Any]) -> tuple[ColumnElement[Any], Callable[[Any], int]]:
        """As the text that they are: to make a datetime of each takes longer than all else about a row."""
        return type_coerce(column, Text), _second

    def by_time(self, kind: str) -> tuple[ColumnElement[bool], list[ColumnElement[Any]]]:
        """In the order of the index on time and type: with `type = …`, SQLite would sort the rows of each time."""
        return tables.events.c.type.between(kind, kind), [tables.events.c.type, literal_column("events.row")]

    def about(self, recipient: str | None, message_id: str | None, newest: int = 0) -> list[ColumnElement[bool]]:
        """The search index narrows the search down; the columns themselves decide."""
        columns = tables.events.c
        conditions: list[ColumnElement[bool]] = []
        if recipient is not None:
            address = folded(recipient)
            term = address[:INDEXED]
            conditions += [
                search_index.rows_of_recipient(term, newest),
                or_(func.lower(columns.recipient) == address, columns.folded_recipient == term),
            ]
        if message_id is not None:
            conditions += [] if recipient else [search_index.rows_of_message(message_id)]
            conditions.append(columns.message_id == message_id)
        return conditions

    def is_frequent(self, connection: Connection, recipient: str, most: int) -> bool:
        """By the entries of the search index alone: the rows themselves are all over the file."""
        return search_index.has_more_than(connection, folded(recipient)[:INDEXED], most)

    def of_messages(self, message_ids: Sequence[str]) -> ColumnElement[bool]:
        """By the search index, as for one."""
        return and_(search_index.rows_with_messages(message_ids), super().of_messages(message_ids))

    def tagged(self, tag: str) -> ColumnElement[bool]:
        """By its own reader of JSON."""
        tags = func.json_each(tables.events.c.tags).table_valued("value")
        return exists(select(literal_column("1")).select_from(tags).where(tags.c.value == tag))

    def holds(self, text: ColumnElement[str], piece: str) -> ColumnElement[bool]:
        """By `instr`, which unlike LIKE goes on after a NUL."""
        return func.instr(func.lower(text), piece) > 0

    def period(self, by: str) -> ColumnElement[str]:
        """Times are text, which begins with the period."""
        return literal_column(f"substr(events.occurred_at, 1, {PERIODS[by]})")

    def weaknesses(self, connection: Connection) -> list[Risk]:
        """Every setting that matters is made by `_set_up`; but others can keep the log from being emptied."""
        size = self._log_size
        if size <= LOG_BOUND:
            return []
        text = (
            f"the write-ahead log {self.shown}-wal has {size >> 20:,} MiB, because another process has been "
            "reading for long: end that process, or the log fills the disk"
        )
        return [Risk(RiskCode.DATABASE_LOG, text)]

    @property
    def _log_size(self) -> int:
        try:
            return Path(f"{self.path}-wal").stat().st_size
        except OSError:  # there is none, once the last process has closed the file
            return 0


def _unindexed(connection: Connection, rows: Sequence[Any]) -> list[Deleted]:
    """Take deleted rows, with `INDEXED_COLUMNS` and `_COUNTED`, out of the search index."""
    width = len(INDEXED_COLUMNS)
    search_index.remove(connection, [Indexed._make(row[:width]) for row in rows])
    return [Deleted._make(row[width:]) for row in rows]


def _set_up(connection: sqlite3.Connection, _record: object) -> None:
    connection.create_function(search_index.HASH, 1, search_index.term_hash, deterministic=True)
    connection.isolation_level = None  # so that only `SQLite.begin` begins a transaction
    _use_wal(connection)
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
    connection.execute(f"PRAGMA journal_size_limit={LOG_KEPT}")


def _watch_the_clock(connection: sqlite3.Connection, _record: object) -> None:
    connection.set_progress_handler(_is_late, CLOCK_STEPS)


def _is_late() -> bool:
    left = patience.left()
    return left is not None and left < 0


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch to a write-ahead log; for this one statement SQLite itself does not wait for other processes."""
    until = time.monotonic() + LOCK_TIMEOUT
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(WAL_RETRY)
        else:
            return


@lru_cache(maxsize=REMEMBERED_SECONDS)  # rows in the order of their times share them
def _second(text: str) -> int:
    return _minute(text[:16]) + int(text[17:19])


@lru_cache(maxsize=REMEMBERED_MINUTES)
def _minute(text: str) -> int:
    return int(datetime.fromisoformat(f"{text}:00Z").timestamp())
