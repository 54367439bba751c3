"""The store on PostgreSQL, from release 14: events partitioned by month, and written by COPY.

COPY has no ON CONFLICT, so it fills a temporary table from which new events are inserted. That table lives for one
transaction: nothing is kept in the session, so a pooler in between may use another one for each transaction.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from operator import itemgetter
from typing import Any, ClassVar, cast

import psycopg
from sqlalchemy import (
    URL,
    ColumnElement,
    Connection,
    Engine,
    Table,
    and_,
    any_,
    create_engine,
    event,
    func,
    literal_column,
    or_,
    select,
    text,
)

from ingest.copernica.addresses import folded
from ingest.errors import IngestError, RowsRejected, Unavailable
from workers.store import tables
from workers.store.backend import DELETE_ROWS, INDEXED, PERIODS, Backend, Row, Transactions, first_line
from workers.store.monthly_partitions import Month, MonthlyPartitions

#: The oldest release with everything that we use.
OLDEST = (14,)
#: Seconds to wait for a server that does not answer.
CONNECT_TIMEOUT = 5
#: Our name in the server's lists of connections.
NAME = "copernica-ingest"
#: Rows from which on a temporary table, which takes a millisecond, is faster than single inserts.
COPY_FROM = 100
#: Most rows that are counted exactly, which takes about a second; beyond, the server's estimate is used.
COUNTED_ROWS = 10_000_000
#: Held by whoever upgrades the schema; any number that nothing else uses.
UPGRADE_LOCK = 0x1465_7374
#: SQLSTATE of a table that does not exist.
NO_TABLE = "42P01"

#: Classes of SQLSTATE whose cause is the rows: bad data, broken rules, limits of an index, a trigger's error.
ABOUT_ROWS = ("22", "23", "54", "P0")


class PostgreSQL(Backend):
    """A database on a server."""

    errors: ClassVar[tuple[type[Exception], ...]] = (
        *Backend.errors,
        psycopg.Error,  # from COPY, which goes past SQLAlchemy
    )

    def __init__(self, url: URL) -> None:
        super().__init__(url)
        self._partitions = MonthlyPartitions()

    @property
    def shown(self) -> str:
        """The URL without the password and the name of the driver."""
        query = {name: value for name, value in self._url.query.items() if "password" not in name}
        return self._url.set(drivername="postgresql", query=query).render_as_string(hide_password=True)

    def engine(self) -> Engine:
        """Connections in UTC."""
        engine = create_engine(
            self._url,
            connect_args={
                "connect_timeout": CONNECT_TIMEOUT,
                "application_name": NAME,
                "prepare_threshold": None,
            },
            pool_pre_ping=True,
            hide_parameters=True,  # they are personal data, and errors end up in logs
        )
        event.listen(engine, "connect", _set_up)
        return engine

    def explain(self, error: Exception) -> IngestError:
        """By the server's SQLSTATE; what psycopg itself could not send is the fault of the rows."""
        cause: Any = getattr(error, "orig", error)
        state = getattr(cause, "sqlstate", None)
        if isinstance(cause, UnicodeError | OverflowError) or (
            state is None and isinstance(cause, psycopg.DataError)
        ):
            return RowsRejected(f"The database refuses it: {first_line(error)}.")
        if state is not None and state.startswith(ABOUT_ROWS):
            return RowsRejected(f"The database refuses it: {first_line(error)}.")
        return Unavailable(f"The database {self.shown} cannot be used: {first_line(error)}.")

    # --- transactions ---

    def begin(self, connection: Connection, delivery_ids: Sequence[bytes] = ()) -> None:
        """Ensure that there is a partition for each month, then begin."""
        if delivery_ids:
            ends = (min(delivery_ids), max(delivery_ids))
            same_month = Month.of_id(ends[0]) == Month.of_id(ends[1])
            self._partitions.ensure(connection, ends if same_month else delivery_ids)
        connection.begin()  # by hand: SQLAlchemy does not see what goes past it to the driver, nor commit it

    def lock_schema(self, connection: Connection) -> None:
        """By an advisory lock, until the end of the transaction."""
        connection.execute(select(func.pg_advisory_xact_lock(UPGRADE_LOCK)))

    def is_missing_table(self, error: Exception) -> bool:
        """By the server's SQLSTATE."""
        return getattr(getattr(error, "orig", error), "sqlstate", None) == NO_TABLE

    def take_turns(self, connection: Connection, name: str) -> None:
        """By an advisory lock, until the end of the transaction."""
        connection.execute(select(func.pg_advisory_xact_lock(func.hashtext(name))))

    # --- writing ---

    def insert(self, connection: Connection, table: Table, rows: Sequence[Row]) -> int:
        """By COPY if there are many rows."""
        with self._inserted(connection, table, rows, "") as cursor:
            return cursor.rowcount

    def insert_events(self, connection: Connection, rows: Sequence[Row]) -> list[bytes]:
        """Those that the server returns are new."""
        with self._inserted(connection, tables.events, rows, "RETURNING delivery_id") as cursor:
            new = [row[0] for row in cursor.fetchall()]
            while cursor.nextset():
                new += [row[0] for row in cursor.fetchall()]
            return new

    @contextmanager
    def _inserted(
        self, connection: Connection, table: Table, rows: Sequence[Row], returning: str
    ) -> Iterator[psycopg.Cursor[Any]]:
        """Insert, and yield the cursor that has the results.

        Bypasses SQLAlchemy, which has no COPY; the statements are made of nothing but names in `tables`.
        """
        driver = cast("psycopg.Connection[Any]", connection.connection.driver_connection)
        # In order, so that two drains with the same events wait for each other rather than deadlock.
        rows = sorted(rows, key=itemgetter(0))
        names = ", ".join(f'"{column.name}"' for column in table.columns)
        into, unless_there = f"INSERT INTO {table.name} ({names})", f"ON CONFLICT DO NOTHING {returning}"
        with driver.cursor() as cursor:
            if len(rows) < COPY_FROM:
                places = ", ".join(["%s"] * len(table.columns))
                cursor.executemany(f"{into} VALUES ({places}) {unless_there}", rows, returning=bool(returning))
            else:
                incoming = f"incoming_{table.name}"
                cursor.execute(f"CREATE TEMPORARY TABLE {incoming} (LIKE {table.name}) ON COMMIT DROP")
                with cursor.copy(f"COPY {incoming} ({names}) FROM STDIN") as copy:
                    for row in rows:
                        copy.write_row(row)
                cursor.execute(f"{into} SELECT {names} FROM {incoming} ORDER BY delivery_id {unless_there}")
            yield cursor

    def tidy(self, transactions: Transactions) -> None:
        """Create the next month's partition ahead of time."""
        with transactions([Month.now().first_id]):
            pass  # every transaction with events begins by creating what is missing

    def expire(self, transactions: Transactions, before: bytes) -> int:
        """Drop whole months; of the month that `before` is in, delete what is older."""
        total = self._partitions.drop_expired(transactions, before)
        events = tables.events
        oldest = select(events.c.delivery_id).where(events.c.delivery_id < before).limit(DELETE_ROWS)
        # As an array, so that the oldest are looked up once and then deleted by their keys.
        delete = events.delete().where(events.c.delivery_id == any_(func.array(oldest.scalar_subquery())))
        while True:
            with transactions() as connection:
                deleted = connection.execute(delete).rowcount
            if not deleted:
                return total
            total += deleted

    def erase(self, connection: Connection, delivery_ids: Sequence[bytes]) -> None:
        """Delete; the server's own VACUUM then frees the space for others to overwrite."""
        connection.execute(tables.events.delete().where(tables.events.c.delivery_id.in_(delivery_ids)))

    # --- reading ---

    def about(self, recipient: str | None, message_id: str | None) -> list[ColumnElement[bool]]:
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

    def count(self, connection: Connection, table: Table) -> int:
        """Exactly, or the server's estimate where counting would read gigabytes."""
        sizes = (
            "SELECT coalesce(sum(reltuples), 0) FROM pg_class WHERE relkind = 'r' AND oid IN "
            "(SELECT relid FROM pg_partition_tree(CAST(:name AS regclass)))"
        )
        estimate = int(connection.execute(text(sizes), {"name": table.name}).scalar_one())
        return estimate if estimate > COUNTED_ROWS else super().count(connection, table)

    def weaknesses(self, connection: Connection) -> list[str]:
        """Settings with which a crash of the server's machine loses what it had confirmed."""
        weaknesses = []
        if (connection.dialect.server_version_info or OLDEST) < OLDEST:
            weaknesses.append(f"the server is older than release {OLDEST[0]}")
        for name in ("fsync", "full_page_writes", "synchronous_commit"):
            if connection.execute(text(f"SHOW {name}")).scalar() == "off":
                weaknesses.append(f"{name} is off: a crash of its machine can lose events that exist nowhere else")
        return weaknesses

    def period(self, by: str) -> ColumnElement[str]:
        """As text in UTC, the time zone of our sessions."""
        return literal_column(f"left(to_char(events.occurred_at, 'YYYY-MM-DD HH24'), {PERIODS[by]})")


def _set_up(connection: psycopg.Connection[Any], _record: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET TIME ZONE 'UTC'")
    connection.commit()
