"""The store on PostgreSQL, from release 14: events partitioned by month, and written by COPY.

COPY has no ON CONFLICT, so it fills a temporary table from which new events are inserted. That table lives for one
transaction: nothing is kept in the session, and a pooler between us and the server may change it each time.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any

import psycopg
from sqlalchemy import ColumnElement, Connection, Engine, Table, create_engine, event, func, literal_column, text

from ingest.errors import IngestError, RowsRejected, SettingsError, Unavailable
from workers.store import tables
from workers.store.backend import DELETE_ROWS, INDEXED, PERIODS, Backend, Row, first_line

log = logging.getLogger(__name__)

#: The oldest release that has all that we use.
OLDEST = (14,)
#: Seconds to wait for a server that does not answer.
CONNECT_TIMEOUT = 5
#: How we appear in the server's own lists.
NAME = "copernica-ingest"
#: Rows from which a temporary table (a millisecond) is less work than single inserts.
COPY_FROM = 100
#: Rows up to which a table is counted one by one; it takes about a second.
COUNTED_ROWS = 10_000_000
#: Months before this one have no events of Copernica's webhooks, nor have those far ahead: such ids are made up.
FIRST_MONTH = (2010, 1)
MONTHS_AHEAD = 2
#: Held by whoever makes or drops a partition; any number will do that nobody else uses.
PARTITION_LOCK = 0x1465_7375
#: Seconds to wait for a table that others use, before it is tried again another day.
DROP_PATIENCE = 5

#: Classes of SQLSTATE that blame the rows: bad data, broken rules, limits of an index, a trigger's own refusal.
ABOUT_ROWS = ("22", "23", "54", "P0")

Month = tuple[int, int]


class PostgreSQL(Backend):
    """A database on a server."""

    _partitions: frozenset[Month] = frozenset()

    @property
    def shown(self) -> str:
        """The URL without the password and our own additions."""
        query = {name: value for name, value in self._url.query.items() if "password" not in name}
        return self._url.set(drivername="postgresql", query=query).render_as_string(hide_password=True)

    def engine(self) -> Engine:
        """Connections in UTC."""
        try:
            engine = create_engine(
                self._url,
                connect_args={
                    "connect_timeout": CONNECT_TIMEOUT,
                    "application_name": NAME,
                    "prepare_threshold": None,
                },
                pool_pre_ping=True,
                hide_parameters=True,  # they are personal data, and errors end in logs
            )
        except ModuleNotFoundError:
            raise SettingsError("PostgreSQL needs its driver: pip install 'copernica-ingest[postgres]'.") from None
        event.listen(engine, "connect", _set_up)
        return engine

    def begin(self, connection: Connection, delivery_ids: Sequence[bytes] = ()) -> None:
        """See that there is a partition for each month, then begin."""
        if delivery_ids:
            months = {_month(min(delivery_ids)), _month(max(delivery_ids))}
            if len(months) > 1:
                months = {_month(delivery_id) for delivery_id in delivery_ids}
            self.make_partitions(connection, months)
        connection.begin()  # by hand: SQLAlchemy does not see what goes past it to the driver, nor commit it

    def insert(self, connection: Connection, table: Table, rows: Sequence[Row]) -> int:
        """By COPY if there are many."""
        with self._inserted(connection, table, rows, "") as cursor:
            return cursor.rowcount

    def insert_events(self, connection: Connection, rows: Sequence[Row]) -> list[bytes]:
        """New are those that the server returns."""
        with self._inserted(connection, tables.events, rows, "RETURNING delivery_id") as cursor:
            found = [row[0] for row in cursor.fetchall()]
            while cursor.nextset():
                found += [row[0] for row in cursor.fetchall()]
            return found

    @contextmanager
    def _inserted(
        self, connection: Connection, table: Table, rows: Sequence[Row], returning: str
    ) -> Iterator[psycopg.Cursor[Any]]:
        """Insert, and give the cursor that knows what came of it."""
        driver = connection.connection.driver_connection
        assert isinstance(driver, psycopg.Connection)
        # In order, so that two drains with the same events wait for each other rather than block each other.
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

    def explain(self, error: Exception) -> IngestError:
        """By the server's SQLSTATE; what psycopg itself could not send is the rows' fault."""
        cause: Any = getattr(error, "orig", error)
        state = getattr(cause, "sqlstate", None)
        if isinstance(cause, UnicodeError | OverflowError) or (
            state is None and isinstance(cause, psycopg.DataError)
        ):
            return RowsRejected(f"The database refuses it: {first_line(error)}.")
        if state is not None and state.startswith(ABOUT_ROWS):
            return RowsRejected(f"The database refuses it: {first_line(error)}.")
        return Unavailable(f"The database {self.shown} cannot be used: {first_line(error)}.")

    def about(self, recipient: str | None, message_id: str | None) -> list[ColumnElement[bool]]:
        """The first condition on recipients is what the index knows."""
        columns, found = tables.events.c, []
        if recipient is not None:
            found += [
                func.lower(func.substr(columns.recipient, text("1"), text(str(INDEXED))))
                == func.lower(recipient[:INDEXED]),
                func.lower(columns.recipient) == func.lower(recipient),
            ]
        if message_id is not None:
            found.append(columns.message_id == message_id)
        return found

    def make_partitions(self, connection: Connection, months: set[Month]) -> None:
        """Make the partitions of these months and of the next, if they are not there."""
        now = datetime.now(UTC)
        this = (now.year, now.month)
        latest = _later(this, MONTHS_AHEAD)
        wanted = {month for month in {*months, this, _later(this, 1)} if FIRST_MONTH <= month <= latest}
        for month in sorted(wanted - self._partitions):
            self._make_partition(connection, month)
            self._partitions |= {month}

    def _make_partition(self, connection: Connection, month: Month) -> None:
        name = _partition(month)
        if not _exists(connection, name):
            first, end = _first_id(month), _first_id(_later(month, 1))
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": PARTITION_LOCK})
            if not _exists(connection, name):
                # Made as a table of its own and then attached, which lets others write meanwhile; but for those
                # whose events have no partition, since these are to be moved.
                connection.exec_driver_sql("LOCK TABLE events_other IN SHARE ROW EXCLUSIVE MODE")
                connection.exec_driver_sql(
                    f"CREATE TABLE {name} (LIKE events INCLUDING DEFAULTS INCLUDING CONSTRAINTS)"
                )
                moved = "DELETE FROM events_other WHERE delivery_id >= :first AND delivery_id < :end RETURNING *"
                connection.execute(
                    text(f"WITH moved AS ({moved}) INSERT INTO {name} SELECT * FROM moved"),
                    {"first": first, "end": end},
                )
                span = f"FROM ('\\x{first.hex()}') TO ('\\x{end.hex()}')"
                connection.exec_driver_sql(f"ALTER TABLE events ATTACH PARTITION {name} FOR VALUES {span}")
                log.info("made the partition %s", name)
        connection.commit()

    def tidy(self, engine: Engine) -> None:
        """Make the next month's partition while there is time."""
        with engine.connect() as connection:
            self.make_partitions(connection, set())

    def expire(self, engine: Engine, before: bytes) -> int:
        """Drop whole months; of the month that `before` is in, delete what is older."""
        gone = 0
        with engine.connect() as connection:
            for name in self._expired_partitions(connection, before):
                patience = {"patience": f"{DROP_PATIENCE}s"}
                connection.execute(text("SELECT set_config('lock_timeout', :patience, true)"), patience)
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": PARTITION_LOCK})
                if _exists(connection, name):
                    count = connection.execute(text(f"SELECT count(*) FROM {name}")).scalar_one()
                    connection.exec_driver_sql(f"DROP TABLE {name}")
                    gone += count
                    log.info("dropped the partition %s with %d events", name, count)
                connection.commit()
            self._partitions = frozenset()
            while True:
                doomed = "SELECT delivery_id FROM events WHERE delivery_id < :before LIMIT :rows"
                deleted = connection.execute(
                    text(f"DELETE FROM events WHERE delivery_id = ANY (ARRAY({doomed}))"),
                    {"before": before, "rows": DELETE_ROWS},
                ).rowcount
                connection.commit()
                if not deleted:
                    return gone
                gone += deleted

    def _expired_partitions(self, connection: Connection, before: bytes) -> Iterator[str]:
        names = connection.execute(
            text("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'events'::regclass")
        ).scalars()
        month = _month(before)
        yield from sorted(name for name in names if FIRST_NAME <= name < _partition(month))

    def erase(self, connection: Connection, delivery_ids: Sequence[bytes]) -> None:
        """Delete; the server's own VACUUM then frees the space for others to overwrite."""
        connection.execute(tables.events.delete().where(tables.events.c.delivery_id.in_(delivery_ids)))

    def count(self, connection: Connection, table: Table) -> int:
        """Exactly, or as the server estimates it where counting would read gigabytes."""
        sizes = (
            "SELECT coalesce(sum(reltuples), 0) FROM pg_class WHERE relkind = 'r' AND oid IN "
            "(SELECT relid FROM pg_partition_tree(CAST(:name AS regclass)))"
        )
        estimate = int(connection.execute(text(sizes), {"name": table.name}).scalar_one())
        return estimate if estimate > COUNTED_ROWS else super().count(connection, table)

    def weaknesses(self, connection: Connection) -> list[str]:
        """Settings with which a crash of the server's machine loses what it had confirmed."""
        found = []
        if (connection.dialect.server_version_info or OLDEST) < OLDEST:
            found.append(f"the server is older than release {OLDEST[0]}")
        for name in ("fsync", "full_page_writes", "synchronous_commit"):
            if connection.execute(text(f"SHOW {name}")).scalar() == "off":
                found.append(f"{name} is off: a crash of its machine can lose events that are in no other place")
        return found

    def period(self, by: str) -> ColumnElement[str]:
        """Sessions are in UTC."""
        return literal_column(f"left(to_char(events.occurred_at, 'YYYY-MM-DD HH24'), {PERIODS[by]})")


def _set_up(connection: psycopg.Connection[Any], _record: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET TIME ZONE 'UTC'")
    connection.commit()


def _exists(connection: Connection, partition: str) -> bool:
    """Whether there is such a table; asked of the catalogue, since `to_regclass` may not know yet."""
    query = (
        "SELECT 1 FROM pg_class WHERE relname = :name "
        "AND relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = CAST('events' AS regclass))"
    )
    return connection.execute(text(query), {"name": partition}).scalar() is not None


def _month(delivery_id: bytes) -> Month:
    """The month of the time that an id begins with."""
    moment = datetime.fromtimestamp(int.from_bytes(delivery_id[:4], "big"), UTC)
    return moment.year, moment.month


def _later(month: Month, months: int) -> Month:
    count = month[0] * 12 + month[1] - 1 + months
    return count // 12, count % 12 + 1


def _first_id(month: Month) -> bytes:
    return int(datetime(*month, 1, tzinfo=UTC).timestamp()).to_bytes(4, "big")


def _partition(month: Month) -> str:
    return f"events_{month[0]:04d}_{month[1]:02d}"


FIRST_NAME = _partition(FIRST_MONTH)
