"""The monthly partitions of PostgreSQL's table of events: created ahead, and dropped when they have expired.

A partition holds the delivery ids whose time, their first four bytes, is in its month: so the primary key can be
the delivery id alone, and deleting a month takes no time. Events whose time is not credible are in `events_other`.
"""

import logging
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple, Self

from sqlalchemy import Connection, text

from workers.store import tables
from workers.store.backend import Transactions

log = logging.getLogger(__name__)

#: The first year with a credible delivery id, and how many months ahead one may be: others are made up.
FIRST_YEAR = 2010
MONTHS_AHEAD = 2
#: Held by whoever creates or drops a partition; any number that nothing else uses.
PARTITION_LOCK = 0x1465_7375
#: Seconds to wait for a table that is in use, before it is left to a later clean-up.
DROP_PATIENCE = 5

#: The partition for delivery ids whose month has none of its own.
OTHER = f"{tables.events.name}_other"


class Month(NamedTuple):
    """A month in UTC."""

    year: int
    month: int

    @classmethod
    def now(cls) -> Self:
        """The current month."""
        now = datetime.now(UTC)
        return cls(now.year, now.month)

    @classmethod
    def of_id(cls, delivery_id: bytes) -> Self:
        """The month of the time that a delivery id begins with."""
        moment = datetime.fromtimestamp(int.from_bytes(delivery_id[:4], "big"), UTC)
        return cls(moment.year, moment.month)

    def later(self, months: int) -> "Month":
        """The month that is `months` later."""
        count = self.year * 12 + self.month - 1 + months
        return Month(count // 12, count % 12 + 1)

    @property
    def first_id(self) -> bytes:
        """The smallest delivery id that this month can have, as far as its time goes."""
        return int(datetime(self.year, self.month, 1, tzinfo=UTC).timestamp()).to_bytes(4, "big")

    @property
    def partition(self) -> str:
        """The name of its table."""
        return f"{tables.events.name}_{self.year:04d}_{self.month:02d}"


FIRST_MONTH = Month(FIRST_YEAR, 1)


class MonthlyPartitions:
    """Creates and drops partitions, and remembers which exist. Its DDL is text: SQLAlchemy knows no partitions."""

    def __init__(self) -> None:
        self._known: frozenset[Month] = frozenset()

    def ensure(self, connection: Connection, delivery_ids: Iterable[bytes] = ()) -> None:
        """Create what is missing for these ids, this month and the next, each in a transaction of its own."""
        this = Month.now()
        wanted = {this, this.later(1)} | {Month.of_id(delivery_id) for delivery_id in delivery_ids}
        credible = {month for month in wanted if FIRST_MONTH <= month <= this.later(MONTHS_AHEAD)}
        for month in sorted(credible - self._known):
            _create(connection, month)
            self._known |= {month}

    def drop_expired(self, transactions: Transactions, before: bytes) -> int:
        """Drop the months that end before a delivery id; returns how many events they held."""
        with transactions() as connection:
            expired = _older_than(connection, Month.of_id(before))
        dropped = 0
        for name in expired:
            with transactions() as connection:
                dropped += _drop(connection, name)
        self._known = frozenset()
        return dropped


def _create(connection: Connection, month: Month) -> None:
    if not _exists(connection, month.partition):
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": PARTITION_LOCK})
        if not _exists(connection, month.partition):
            _attach(connection, month)
            log.info("created the partition %s", month.partition)
    connection.commit()


def _attach(connection: Connection, month: Month) -> None:
    """Create the table on its own and then attach it, so that others can write meanwhile.

    Only writers to `events_other` have to wait, since rows are moved out of it.
    """
    events, name = tables.events.name, month.partition
    first, end = month.first_id, month.later(1).first_id
    connection.exec_driver_sql(f"LOCK TABLE {OTHER} IN SHARE ROW EXCLUSIVE MODE")
    connection.exec_driver_sql(f"CREATE TABLE {name} (LIKE {events} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)")
    moved = f"DELETE FROM {OTHER} WHERE delivery_id >= :first AND delivery_id < :end RETURNING *"
    connection.execute(
        text(f"WITH moved AS ({moved}) INSERT INTO {name} SELECT * FROM moved"), {"first": first, "end": end}
    )
    span = f"FROM ('\\x{first.hex()}') TO ('\\x{end.hex()}')"
    connection.exec_driver_sql(f"ALTER TABLE {events} ATTACH PARTITION {name} FOR VALUES {span}")


def _older_than(connection: Connection, month: Month) -> list[str]:
    query = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = CAST(:events AS regclass)"
    names = connection.execute(text(query), {"events": tables.events.name}).scalars()
    return sorted(name for name in names if FIRST_MONTH.partition <= name < month.partition)


def _drop(connection: Connection, name: str) -> int:
    """Drop a partition, unless another process did; returns how many events it held."""
    patience = {"patience": f"{DROP_PATIENCE}s"}
    connection.execute(text("SELECT set_config('lock_timeout', :patience, true)"), patience)
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": PARTITION_LOCK})
    if not _exists(connection, name):
        return 0
    count = int(connection.execute(text(f"SELECT count(*) FROM {name}")).scalar_one())
    connection.exec_driver_sql(f"DROP TABLE {name}")
    log.info("dropped the partition %s with %d events", name, count)
    return count


def _exists(connection: Connection, partition: str) -> bool:
    """Whether there is such a table; asks the catalogue itself, since `to_regclass` may not see it yet."""
    query = (
        "SELECT 1 FROM pg_class WHERE relname = :name "
        "AND relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = CAST(:events AS regclass))"
    )
    return connection.execute(text(query), {"name": partition, "events": tables.events.name}).scalar() is not None
