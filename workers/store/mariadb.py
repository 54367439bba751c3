"""The store on MariaDB, from release 10.6, and MySQL, from release 8.0.17: events partitioned by month.

Both commit around each change of a table by themselves (`workers.store.mariadb_schema` bears that), and neither
has locks that a transaction holds under a name. So whoever takes turns locks a row of the table `turns`.
"""

from collections.abc import Sequence
from typing import Any, ClassVar
from zlib import crc32

import pymysql
from sqlalchemy import (
    URL,
    ColumnElement,
    Connection,
    Engine,
    LargeBinary,
    Table,
    and_,
    cast,
    create_engine,
    event,
    func,
    literal,
    literal_column,
    or_,
    select,
    text,
)

from ingest import shown
from ingest.copernica.addresses import folded
from ingest.errors import Collided, IngestError, RowsRejected, TookTooLong, Unavailable
from ingest.health import Risk
from workers.store import (
    descriptions,
    event_counts,
    mariadb_descriptions,
    mariadb_judgement,
    mariadb_partitions,
    mariadb_schema,
    patience,
    remedies,
    tables,
)
from workers.store.backend import DELETE_ROWS, INDEXED, PERIODS, Backend, Row, Transactions
from workers.store.event_counts import Deleted
from workers.store.mariadb_connection import Driver, arguments, code_of, driver_of, said_by
from workers.store.mariadb_facts import MariaFacts
from workers.store.mariadb_insert import TOO_LONG, Inserter
from workers.store.rows import json_text

#: Most rows that are counted exactly, which takes seconds; beyond, the server's estimate is used.
COUNTED_ROWS = 10_000_000
#: Keys in one statement.
PORTION = 1000
#: The server's number for a table that does not exist.
NO_TABLE = 1146
#: Its numbers for a write where none is possible: a replica, or a server that is set to read only.
READ_ONLY = frozenset({1290, 1792, 1836})
#: Its number where a server of a cluster is not part of it at the moment, and answers nothing.
APART = 1047
#: Its numbers for a statement that was given up, or ended by another session.
GIVEN_UP = frozenset({1317, 1969, 3024})
#: Its numbers for what goes well when it is done again: a deadlock, a lock that took too long, and a row that
#: another server of a cluster has changed meanwhile.
COLLISIONS = frozenset({1020, 1205, 1213})
#: Beginnings of SQLSTATE whose cause is the rows: bad data, broken rules, a trigger's error.
ABOUT_ROWS = ("22", "23", "45")
#: Its numbers for the same under another SQLSTATE: truncated, malformed or too long, and a row of no partition.
ROWS = frozenset({1118, TOO_LONG, 1265, 1366, 1526})

#: Adds to the numbers of events. What it adds up is in order, so that two transactions never deadlock.
ADD_COUNTS = "INSERT INTO event_counts (hour, type, mailing, source, shard, number, changes) VALUES "
ADD_CHANGES = "INSERT INTO mailing_changes (mailing, shard, changes) VALUES "
ADDED_COUNTS = (
    " ON DUPLICATE KEY UPDATE number = event_counts.number + VALUES(number), "
    "changes = event_counts.changes + VALUES(changes)"
)
ADDED_CHANGES = " ON DUPLICATE KEY UPDATE changes = mailing_changes.changes + VALUES(changes)"


class MariaDB(Backend):
    """A database on a server."""

    facts = MariaFacts()
    errors: ClassVar[tuple[type[Exception], ...]] = (
        *Backend.errors,
        pymysql.MySQLError,  # from what goes past SQLAlchemy
    )
    #: A read that takes long keeps the server from forgetting old versions of rows.
    reads_in_portions = True

    def __init__(self, url: URL) -> None:
        super().__init__(url)
        self._inserter = Inserter()

    @property
    def shown(self) -> str:
        """The URL without what may be secret, and without the name of the driver."""
        return shown.url(self._url.set(drivername="mysql").render_as_string(hide_password=False))

    def engine(self) -> Engine:
        """Connections that are the same whatever the server's settings say."""
        engine = create_engine(
            self._url,
            isolation_level="READ COMMITTED",
            pool_pre_ping=True,
            hide_parameters=True,  # they are personal data, and errors end up in logs
        )
        told = arguments(self._url)
        event.listen(engine, "do_connect", lambda *_: Driver(**told))
        # Before SQLAlchemy looks at the session: it quotes names as the mode says that it finds there.
        event.listen(engine, "connect", lambda driver, _record: driver.set_up(), insert=True)
        return engine

    def hurry(self, engine: Engine) -> None:
        """By the server's own limit for statements, set for each transaction."""
        event.listen(engine, "begin", _limit)

    def explain(self, error: Exception) -> IngestError:
        """By the server's SQLSTATE or number; what the driver itself could not send is the fault of the rows."""
        cause: Any = getattr(error, "orig", error)
        code, state = code_of(error), getattr(cause, "sqlstate", None) or ""
        if isinstance(cause, UnicodeError | OverflowError | pymysql.DataError):
            return RowsRejected(f"The database refuses it: {said_by(error)}.")
        if state.startswith(ABOUT_ROWS) or code in ROWS:
            return RowsRejected(f"The database refuses it: {said_by(error)}.")
        if code in GIVEN_UP and patience.left() is not None:
            return TookTooLong(f"The database {self.shown} did not answer in time.")
        kind = Collided if code in COLLISIONS else Unavailable
        hint = remedies.CONNECTING if code in remedies.UNCONNECTED else ""
        return kind(f"The database {self.shown} cannot be used: {said_by(error)}{hint}.")

    # --- transactions ---

    def begin(self, connection: Connection) -> None:
        """Begin by hand: SQLAlchemy does not see what goes past it to the driver, nor commit it."""
        connection.begin()

    def is_stuck(self, connection: Connection) -> bool:
        """Whether the answer to a statement is still to come, for which nobody waited, or the server has gone."""
        if connection.closed or connection.invalidated:
            return False
        driver = driver_of(connection)
        return driver.under_way or not driver.open

    def is_elsewhere(self, error: BaseException) -> bool:
        """By the server's number: after a fail-over a proxy may still lead to what is a replica by now."""
        return code_of(error) in {*READ_ONLY, APART}

    def lock_schema(self, connection: Connection) -> None:
        """By a lock of the session: that of a row would end with the first change of a table."""
        mariadb_schema.lock(connection, self.shown)

    def create(self, connection: Connection) -> str | None:
        """All tables at once; of the release that knew this database first."""
        return mariadb_schema.create(connection)

    def describe(self, connection: Connection) -> None:
        """By `ALTER TABLE`."""
        connection.exec_driver_sql(f"SET SESSION lock_wait_timeout = {descriptions.PATIENCE}")
        for statement in mariadb_descriptions.statements(connection):
            driver_of(connection).query(statement)

    def lacks(self, connection: Connection, table: str) -> bool:
        """By the catalogue."""
        return not connection.dialect.has_table(connection, table)

    def is_missing_table(self, error: Exception) -> bool:
        """By the server's number."""
        return code_of(error) == NO_TABLE

    def take_turns(self, connection: Connection, name: str) -> None:
        """By a lock on a row, until the end of the transaction."""
        _lock_turn(connection, name, "FOR UPDATE")

    def share_turns(self, connection: Connection, name: str) -> None:
        """By the same lock, shared."""
        _lock_turn(connection, name, "LOCK IN SHARE MODE")

    def time(self, connection: Connection) -> int | None:
        """The server's time."""
        query = text("SELECT CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED)")
        return int(connection.execute(query).scalar_one())

    # --- writing ---

    def insert(self, connection: Connection, table: Table, rows: Sequence[Row]) -> int:
        """By statements of many rows: see `workers.store.mariadb_insert`."""
        return len(self._inserter.insert_new(driver_of(connection), table, rows))

    def insert_events(self, connection: Connection, rows: Sequence[Row]) -> list[bytes]:
        """In the same way."""
        return self._inserter.insert_new(driver_of(connection), tables.events, rows)

    def make_room(
        self, transactions: Transactions, seconds: Sequence[int] = (), however_many: bool = False
    ) -> list[str]:
        """Make partitions for the months to come."""
        return mariadb_partitions.make_room(transactions, seconds, however_many)

    def expire(self, transactions: Transactions, before: bytes) -> int:
        """Delete some thousand at a time, so that drains can write in between; then the months that are empty go.

        A whole month cannot be dropped in one transaction with its numbers: the server commits around it.
        """
        key = tables.events.c.delivery_id
        oldest = select(key).where(key < before).order_by(key).limit(DELETE_ROWS)
        total = 0
        while True:
            with transactions() as connection:
                self.share_turns(connection, event_counts.TURNS)
                ids = connection.execute(oldest).scalars().all()
                deleted = self.erase(connection, ids)
                event_counts.change(connection, self, deleted=deleted)
            if not ids:
                break
            total += len(deleted)
        mariadb_partitions.drop_empty(transactions, before)
        return total

    def erase(self, connection: Connection, delivery_ids: Sequence[bytes]) -> list[Deleted]:
        """Delete; the server overwrites what was deleted when it needs the room (`docs/mariadb.md`)."""
        columns = tables.events.c
        counted = columns.delivery_id, self.period("hour"), columns.type, columns.mailing, columns.source
        deleted: list[Deleted] = []
        for at in range(0, len(delivery_ids), PORTION):
            these = columns.delivery_id.in_(delivery_ids[at : at + PORTION])
            # Looked at and then deleted: MySQL has no RETURNING.
            rows = connection.execute(
                select(*counted).where(these).order_by(columns.delivery_id).with_for_update()
            )
            deleted += [Deleted._make(row) for row in rows]
            connection.execute(tables.events.delete().where(these))
        return deleted

    def add_counts(
        self, connection: Connection, numbers: Sequence[tuple[str, str, int, str, int]], stamp: int
    ) -> None:
        """In the first shard that is free; if none is, in the first as soon as it is."""
        shard = mariadb_schema.free_shard(connection)
        driver = driver_of(connection)
        escape = driver.escape
        mailings = sorted({mailing for _, _, mailing, _, _ in numbers})
        changes = ", ".join(f"({int(mailing)}, {shard}, {int(stamp)})" for mailing in mailings)
        driver.query(ADD_CHANGES + changes + ADDED_CHANGES)
        for at in range(0, len(numbers), PORTION):
            rows = ", ".join(
                f"({escape(hour)}, {escape(kind)}, {int(mailing)}, {escape(source)}, {shard}, {int(number)}, "
                f"{int(stamp)})"
                for hour, kind, mailing, source, number in numbers[at : at + PORTION]
            )
            driver.query(ADD_COUNTS + rows + ADDED_COUNTS)

    # --- reading ---

    def after(self, order: Sequence[ColumnElement[Any]], last: Sequence[Any]) -> ColumnElement[bool]:
        """Column by column: a row of several is compared with every row of the table."""
        column, value = order[0], last[0]
        later: ColumnElement[bool] = column > value
        if len(order) == 1:
            return later
        return and_(column >= value, or_(later, self.after(order[1:], last[1:])))

    def about(self, recipient: str | None, message_id: str | None, newest: int = 0) -> list[ColumnElement[bool]]:
        """By the hashes that are indexed; the columns themselves decide."""
        columns = tables.events.c
        conditions: list[ColumnElement[bool]] = []
        if recipient is not None:
            address = folded(recipient)
            term = address[:INDEXED]
            plain = and_(columns.folded_recipient.is_(None), func.lower(columns.recipient) == address)
            conditions.append(literal_column("events.recipient_hash") == _hash(term))
            conditions.append(or_(plain, columns.folded_recipient == term))
        if message_id is not None:
            conditions.append(self.of_messages([message_id]))
        return conditions

    def of_messages(self, message_ids: Sequence[str]) -> ColumnElement[bool]:
        """By the hash, as above."""
        hashes = sorted({_hash(message_id) for message_id in message_ids})
        return and_(literal_column("events.message_hash").in_(hashes), super().of_messages(message_ids))

    def tagged(self, tag: str) -> ColumnElement[bool]:
        """By its own reader of JSON."""
        return func.json_contains(tables.events.c.tags, literal(json_text(tag))) == 1

    def holds(self, text: ColumnElement[str], piece: str) -> ColumnElement[bool]:
        """As characters of a set in which no others than ASCII letters have a lower case: ISO 8859-8."""
        return func.instr(func.lower(_as_bytes(text)), _as_bytes(literal(piece))) > 0

    def count(self, connection: Connection, table: Table) -> int:
        """Exactly, or the server's estimate where counting would read gigabytes."""
        sizes = (
            "SELECT table_rows FROM information_schema.tables WHERE table_schema = DATABASE() "
            "AND table_name = :name"
        )
        estimate = int(connection.execute(text(sizes), {"name": table.name}).scalar() or 0)
        return estimate if estimate > COUNTED_ROWS else super().count(connection, table)

    def period(self, by: str) -> ColumnElement[str]:
        """Times are written in UTC, and as text begin with the period."""
        return literal_column(f"left(events.occurred_at, {PERIODS[by]})")

    # --- judging ---

    def unfit(self, connection: Connection) -> str | None:
        """Whether it lets our sessions be strict, and has tables that can be rolled back."""
        return mariadb_judgement.unfit(connection, self.shown)

    def closed(self, connection: Connection) -> Risk | None:
        """A replica, or a server that is set to read only."""
        return mariadb_judgement.closed(connection, self.shown)

    def weaknesses(self, connection: Connection) -> list[Risk]:
        """What can lose events when the server's machine crashes, what does not fit, and what is not allowed."""
        return mariadb_judgement.weaknesses(connection)


def _lock_turn(connection: Connection, name: str, how: str) -> None:
    query = text(f"SELECT name FROM turns WHERE name = :name {how}")
    while connection.execute(query, {"name": name}).first() is None:
        added = text("INSERT INTO turns (name) VALUES (:name) ON DUPLICATE KEY UPDATE name = VALUES(name)")
        connection.execute(added, {"name": name})


def _hash(term: str) -> int:
    """As the generated columns have it."""
    return crc32(term.encode("utf-8", "replace"))


def _as_bytes(text: ColumnElement[str]) -> ColumnElement[str]:
    """The bytes of a text, each taken for a character of a set of 256 whose order is that of the bytes."""
    return func.convert(cast(text, LargeBinary).op("USING")(literal_column("hebrew"))).collate("hebrew_bin")


def _limit(connection: Connection) -> None:
    left = patience.left()
    driver = driver_of(connection)
    if driver.is_mariadb:
        driver.query(f"SET max_statement_time = {0 if left is None else max(0.001, round(left, 3))}")
    else:
        driver.query(f"SET max_execution_time = {0 if left is None else max(1, round(left * 1000))}")
