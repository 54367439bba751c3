"""The store on PostgreSQL, from release 14: events partitioned by month, and written by COPY.

Nothing is kept in the session, so a pooler in between may use another one for each transaction: settings that
matter are made at the beginning of each, whatever the environment (`PGOPTIONS`, a service file), the role or the
database has set.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, cast

import psycopg
from sqlalchemy import (
    URL,
    ColumnElement,
    Connection,
    Engine,
    Table,
    Text,
    and_,
    any_,
    create_engine,
    event,
    func,
    literal,
    literal_column,
    or_,
    select,
    text,
)
from sqlalchemy import cast as cast_to

from ingest import shown
from ingest.copernica.addresses import folded
from ingest.copernica.events import MICROS
from ingest.errors import IngestError, RowsRejected, TookTooLong, Unavailable
from ingest.health import Risk, RiskCode
from workers.store import (
    descriptions,
    event_counts,
    patience,
    postgres_connection,
    postgres_descriptions,
    postgres_partitions,
    remedies,
    tables,
)
from workers.store.backend import DELETE_ROWS, INDEXED, PERIODS, Backend, Row, Transactions, first_line
from workers.store.event_counts import Deleted
from workers.store.postgres_counts import ADD_COUNTS, SHARD_LOCK, SHARDS
from workers.store.postgres_facts import PostgresFacts
from workers.store.postgres_insert import Inserter
from workers.store.rows import json_text

#: The oldest release with everything that we use.
OLDEST = (14,)
#: Most rows that are counted exactly, which takes about a second; beyond, the server's estimate is used.
COUNTED_ROWS = 10_000_000
#: Held by whoever upgrades the schema; any number that nothing else uses.
UPGRADE_LOCK = 0x1465_7374
#: SQLSTATE of a table that does not exist.
NO_TABLE = "42P01"
#: SQLSTATE of a write in a database that takes none: a standby, or one that its host has closed.
READ_ONLY = "25006"
#: Seconds by which a call may be early or late, and its event still be found by its key.
SLACK = 3600
#: SQLSTATE of a statement that was given up.
GIVEN_UP = "57014"
#: Encodings of a database that hold every character: SQL_ASCII holds bytes of any kind.
ENCODINGS = ("UTF8", "SQL_ASCII")
#: Set for each session, since the driver relies on it; poolers know these, and hand them on from one to the next.
SESSION = "SET TIME ZONE 'UTC'; SET DateStyle = 'ISO, YMD'; SET standard_conforming_strings = on"
#: Set for each transaction: times are written and cut into days in UTC, and a limit that is meant for queries of
#: people must not keep a drain, or the daily clean-up, from ever coming to an end. The server thinks partitions
#: dear enough to compile queries for them, which takes half a second; without that they take a tenth of one.
TRANSACTION = "SET LOCAL TIME ZONE 'UTC'; SET LOCAL statement_timeout = 0; SET LOCAL jit = off"

#: Set for a search by message: the server takes a Bloom filter for nearly as dear as reading the whole table, and
#: often reads the table instead, in a hundred times the time.
ONLY_BITMAPS = (
    "SET LOCAL enable_seqscan = off; SET LOCAL enable_indexscan = off; SET LOCAL enable_indexonlyscan = off"
)
#: Nor does it pay to start processes for it, which takes as long as the search in some ten million events, but for
#: a table of a million pages (of 8 KiB) and more.
ALONE = """
    SELECT set_config('max_parallel_workers_per_gather', '0', true) FROM pg_class
    WHERE oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = to_regclass('events'))
    HAVING sum(relpages) < 1000000"""

#: Classes of SQLSTATE whose cause is the rows: bad data, broken rules, limits of an index, a trigger's error.
ABOUT_ROWS = ("22", "23", "54", "P0")


class PostgreSQL(Backend):
    """A database on a server."""

    facts = PostgresFacts()
    errors: ClassVar[tuple[type[Exception], ...]] = (
        *Backend.errors,
        psycopg.Error,  # from COPY, which goes past SQLAlchemy
    )

    def __init__(self, url: URL) -> None:
        super().__init__(url)
        self._inserter = Inserter()

    @property
    def shown(self) -> str:
        """The URL without what may be secret, and without the name of the driver."""
        return shown.url(self._url.set(drivername="postgresql").render_as_string(hide_password=False))

    def engine(self) -> Engine:
        """Connections that are the same whatever the environment and the URL say."""
        engine = create_engine(
            self._url,
            connect_args=postgres_connection.arguments(self._url),
            isolation_level="READ COMMITTED",
            pool_pre_ping=True,
            hide_parameters=True,  # they are personal data, and errors end up in logs
        )
        event.listen(engine, "connect", _set_up)
        # Past SQLAlchemy, which would send it as part of a query whose rows are fetched in portions.
        event.listen(engine, "begin", lambda connection: _driver(connection).execute(TRANSACTION))
        return engine

    def hurry(self, engine: Engine) -> None:
        """By the server's own limit for statements, set for each transaction."""
        event.listen(engine, "begin", _limit)

    def explain(self, error: Exception) -> IngestError:
        """By the server's SQLSTATE; what psycopg itself could not send is the fault of the rows."""
        cause: Any = getattr(error, "orig", error)
        state = getattr(cause, "sqlstate", None)
        unsent = state is None and isinstance(cause, psycopg.DataError)
        if unsent or isinstance(cause, UnicodeError | OverflowError) or (state or "").startswith(ABOUT_ROWS):
            return RowsRejected(f"The database refuses it: {first_line(error)}.")
        if state == GIVEN_UP and patience.left() is not None:
            return TookTooLong(f"The database {self.shown} did not answer in time.")
        hint = remedies.CONNECTING if state is None and isinstance(cause, psycopg.OperationalError) else ""
        return Unavailable(f"The database {self.shown} cannot be used: {first_line(error)}{hint}.")

    # --- transactions ---

    def begin(self, connection: Connection) -> None:
        """Begin by hand: SQLAlchemy does not see what goes past it to the driver, nor commit it."""
        connection.begin()

    def is_stuck(self, connection: Connection) -> bool:
        """Whether the server is still at work on a statement whose end nobody waited for, or has gone.

        SQLAlchemy learns of neither where psycopg is used past it, and would log that it cannot roll back.
        """
        if connection.closed or connection.invalidated:
            return False
        driver = _driver(connection)
        return driver.closed or driver.info.transaction_status == psycopg.pq.TransactionStatus.ACTIVE

    def is_elsewhere(self, error: BaseException) -> bool:
        """By the server's SQLSTATE: after a fail-over a pooler may still lead to what is a standby by now."""
        return getattr(getattr(error, "orig", error), "sqlstate", None) == READ_ONLY

    def lock_schema(self, connection: Connection) -> None:
        """By an advisory lock, until the end of the transaction."""
        connection.execute(select(func.pg_advisory_xact_lock(UPGRADE_LOCK)))

    def describe(self, connection: Connection) -> None:
        """By `COMMENT`, in one transaction."""
        for statement in postgres_descriptions.statements(connection):
            _driver(connection).execute(f"SET LOCAL lock_timeout = {descriptions.PATIENCE * 1000}")
            _driver(connection).execute(statement.encode())
        connection.commit()

    def lacks(self, connection: Connection, table: str) -> bool:
        """By the catalogue."""
        return connection.execute(select(func.to_regclass(table))).scalar() is None

    def is_missing_table(self, error: Exception) -> bool:
        """By the server's SQLSTATE."""
        return getattr(getattr(error, "orig", error), "sqlstate", None) == NO_TABLE

    def take_turns(self, connection: Connection, name: str) -> None:
        """By an advisory lock, until the end of the transaction."""
        connection.execute(select(func.pg_advisory_xact_lock(func.hashtext(name))))

    def share_turns(self, connection: Connection, name: str) -> None:
        """By the same lock, shared."""
        connection.execute(select(func.pg_advisory_xact_lock_shared(func.hashtext(name))))

    def time(self, connection: Connection) -> int | None:
        """The server's time."""
        query = text("SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)")
        return int(connection.execute(query).scalar_one())

    # --- writing ---

    def insert(self, connection: Connection, table: Table, rows: Sequence[Row]) -> int:
        """By COPY if there are many rows."""
        return len(self._inserter.insert_new(_driver(connection), table, rows))

    def insert_events(self, connection: Connection, rows: Sequence[Row]) -> list[bytes]:
        """By COPY if there are many."""
        return self._inserter.insert_new(_driver(connection), tables.events, rows)

    def make_room(
        self, transactions: Transactions, seconds: Sequence[int] = (), however_many: bool = False
    ) -> list[str]:
        """Make partitions for the months to come, and at a quiet hour drop those that are past and empty."""
        if however_many:
            postgres_partitions.drop_empty(transactions)
        return postgres_partitions.make_room(transactions, seconds, however_many)

    def expire(self, transactions: Transactions, before: bytes) -> int:
        """Empty whole months; of the month that `before` is in, delete what is older."""
        total = postgres_partitions.empty_expired(transactions, before, self)
        events = tables.events
        oldest = select(events.c.delivery_id).where(events.c.delivery_id < before).limit(DELETE_ROWS)
        # As an array, so that the oldest are looked up once and then deleted by their keys.
        these = events.c.delivery_id == any_(func.array(oldest.scalar_subquery()))
        while True:
            with transactions() as connection:
                self.share_turns(connection, event_counts.TURNS)
                deleted = self._delete(connection, these)
                event_counts.change(connection, self, deleted=deleted)
            if not deleted:
                return total
            total += len(deleted)

    def erase(self, connection: Connection, delivery_ids: Sequence[bytes]) -> list[Deleted]:
        """Delete; the server's own VACUUM then frees the space for others to overwrite."""
        return self._delete(connection, tables.events.c.delivery_id.in_(delivery_ids))

    def _delete(self, connection: Connection, these: ColumnElement[bool]) -> list[Deleted]:
        columns = tables.events.c
        counted = columns.delivery_id, self.period("hour"), columns.type, columns.mailing, columns.source
        rows = connection.execute(tables.events.delete().where(these).returning(*counted))
        return [Deleted._make(row) for row in rows]

    def add_counts(
        self, connection: Connection, numbers: Sequence[tuple[str, str, int, str, int]], stamp: int
    ) -> None:
        """In the first shard that is free; if none is, in the first as soon as it is."""
        driver = _driver(connection)
        values = [list(column) for column in zip(*numbers, strict=True)]
        mailings = sorted(set(values[2]))
        given = [SHARDS - 1, SHARD_LOCK, stamp, mailings, stamp, *values]
        while not driver.execute(ADD_COUNTS, given).rowcount:
            driver.execute("SELECT pg_advisory_xact_lock(%s, 0)", [SHARD_LOCK])

    # --- reading ---

    def about(self, recipient: str | None, message_id: str | None, newest: int = 0) -> list[ColumnElement[bool]]:
        """The first condition on recipients is the expression that is indexed."""
        columns = tables.events.c
        conditions: list[ColumnElement[bool]] = []
        if recipient is not None:
            # Literal numbers, as in the index: with parameters the server would not recognise the expression.
            indexed = func.lower(func.substr(columns.recipient, literal_column("1"), literal_column(str(INDEXED))))
            address = folded(recipient)
            term = address[:INDEXED]
            in_lower_case = and_(indexed == func.lower(term), func.lower(columns.recipient) == func.lower(address))
            conditions.append(or_(in_lower_case, columns.folded_recipient == term))
        if message_id is not None:
            conditions.append(columns.message_id == message_id)
        return conditions

    def go_by_message(self, connection: Connection) -> None:
        """Leave it nothing but bitmaps."""
        connection.exec_driver_sql(f"{ONLY_BITMAPS};{ALONE}")

    def on_time(self, low: int, high: int) -> ColumnElement[bool] | None:
        """By the key. One late call widens the times of all that is beside it in a BRIN index."""
        first, end = max(0, low // MICROS - SLACK), high // MICROS + SLACK + 1
        key = tables.events.c.delivery_id
        return and_(key >= first.to_bytes(4, "big"), key < end.to_bytes(4, "big"))

    def tagged(self, tag: str) -> ColumnElement[bool]:
        """By what JSONB is for."""
        return tables.events.c.tags.op("@>")(cast_to(literal(json_text([tag]), Text), tables.events.c.tags.type))

    def holds(self, text: ColumnElement[str], piece: str) -> ColumnElement[bool]:
        """As ASCII, in which the lower case of no letter depends on the server's language."""
        return func.strpos(func.lower(text.collate("C")), piece) > 0

    def length(self, column: ColumnElement[bytes]) -> ColumnElement[int]:
        """What is kept apart and compressed has its length beside it: `length` would read all of it."""
        return func.octet_length(column)

    def count(self, connection: Connection, table: Table) -> int:
        """Exactly, or the server's estimate where counting would read gigabytes."""
        sizes = (
            "SELECT coalesce(sum(reltuples), 0) FROM pg_class WHERE relkind = 'r' AND oid IN "
            "(SELECT relid FROM pg_partition_tree(CAST(:name AS regclass)))"
        )
        estimate = int(connection.execute(text(sizes), {"name": table.name}).scalar_one())
        return estimate if estimate > COUNTED_ROWS else super().count(connection, table)

    def unfit(self, connection: Connection) -> str | None:
        """Whether its encoding has all characters."""
        encoding = connection.execute(text("SHOW server_encoding")).scalar_one()
        if encoding in ENCODINGS:
            return None
        return (
            f"The database {self.shown} is in {encoding}, which lacks most characters: make one with "
            "CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0."
        )

    def closed(self, connection: Connection) -> Risk | None:
        """A standby, or a server, database or role that is set to read only."""
        if connection.execute(text("SELECT pg_is_in_recovery()")).scalar_one():
            return Risk(
                RiskCode.DATABASE_STANDBY,
                f"{self.shown} is a standby, which stores nothing: name the primary in DATABASE_URL, or add "
                "?target_session_attrs=read-write with several hosts",
            )
        if connection.execute(text("SHOW transaction_read_only")).scalar_one() == "on":
            return Risk(
                RiskCode.DATABASE_READ_ONLY,
                f"{self.shown} is read-only (default_transaction_read_only): nothing can be stored in it",
            )
        return None

    def weaknesses(self, connection: Connection) -> list[Risk]:
        """What can lose events when the server's machine crashes, or makes them hard to delete."""
        weaknesses = []
        if (connection.dialect.server_version_info or OLDEST) < OLDEST:
            weaknesses.append(Risk(RiskCode.DATABASE_TOO_OLD, f"the server is older than release {OLDEST[0]}"))
        for name in ("fsync", "full_page_writes", "synchronous_commit"):
            if connection.execute(text(f"SHOW {name}")).scalar() == "off":
                lost = f"{name} is off: a crash of its machine can lose events that exist nowhere else"
                weaknesses.append(Risk(RiskCode.DATABASE_UNSAFE, lost))
        return weaknesses + postgres_partitions.weaknesses(connection)

    def period(self, by: str) -> ColumnElement[str]:
        """As text in UTC, the time zone of our transactions."""
        return literal_column(f"left(to_char(events.occurred_at, 'YYYY-MM-DD HH24'), {PERIODS[by]})")


def _driver(connection: Connection) -> "psycopg.Connection[Any]":
    """The driver's own connection, since SQLAlchemy has no COPY."""
    return cast("psycopg.Connection[Any]", connection.connection.driver_connection)


def _limit(connection: Connection) -> None:
    left = patience.left()
    if left is not None:  # 0 would be no limit at all
        _driver(connection).execute(f"SET LOCAL statement_timeout = {max(1, round(left * 1000))}")


def _set_up(connection: psycopg.Connection[Any], _record: object) -> None:
    connection.execute(SESSION)
    connection.commit()
