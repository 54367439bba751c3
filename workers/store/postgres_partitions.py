"""The monthly partitions of PostgreSQL's table of events: made ahead, and emptied when they have expired.

A partition holds the delivery ids whose time, their first four bytes, is in its month: so the primary key can be
the delivery id alone, and deleting a month takes no time. Events of a month without a partition of its own, and
those whose time is not credible, are in `events_other`. So drains store events without looking after partitions:
these are made by `ingest db upgrade` and once a day, and by a role that may make them.

To attach one, PostgreSQL locks `events_other` for a moment, which drains do not touch; to empty one, that alone;
to drop one, all events, so only `ingest db upgrade` does. Whoever waits for such a lock makes everybody else wait
too, so nobody waits long here: if a backup reads the tables, another time will do.
Its DDL is text: SQLAlchemy knows no partitions.
"""

import logging
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from ingest import shown
from ingest.errors import Unavailable
from ingest.health import Risk, RiskCode
from workers.store import event_counts, postgres_counts, tables
from workers.store.backend import Backend, Transactions
from workers.store.months import FEW_MONTHS, FIRST_MONTH, MONTHS_AHEAD, MOVED_MEANWHILE, Month, credible

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Held by whoever makes or drops a partition; any number that nothing else uses.
PARTITION_LOCK = 0x1465_7375
#: Milliseconds to wait for a lock. All who read or write events wait as long, behind us.
LOCK_PATIENCE_MS = 200
#: Times that it is tried, and seconds between them: longer than most queries take, shorter than a job may take.
LOCK_ATTEMPTS, LOCK_PAUSE = 5, 1.0

#: Has the block-range indexes of a new table forget its first range, which they sum up while it is empty: each row
#: that comes into it would be added to the sum, at ten times the cost of the row. A full one is summed up at once.
FORGET_RANGES = """
    SELECT brin_desummarize_range(indexrelid::regclass, 0) FROM pg_index
    JOIN pg_class ON pg_class.oid = indexrelid JOIN pg_am ON pg_am.oid = relam
    WHERE amname = 'brin' AND indrelid = CAST(:name AS regclass)"""

#: The partition for delivery ids whose month has none of its own.
OTHER = f"{tables.events.name}_other"
#: SQLSTATE where a role may not do what it tried, and where another attempt may succeed: a lock was not granted,
#: or an event of the month came in while its partition was being made.
NOT_ALLOWED, IN_USE = "42501", ("55P03", "40P01", "23514")


class NotAllowedError(Exception):
    """The role may not make or drop tables; the text is the server's."""


class InUseError(Exception):
    """Others use the tables all the time."""


# --- making room ---


def make_room(transactions: Transactions, seconds: Iterable[int] = (), however_many: bool = False) -> list[str]:
    """Make the partitions of the coming months, and those of months that have events in `events_other`.

    Also those of the months of these `seconds` (Unix time). With `however_many` events are moved out of
    `events_other` however many they are, which may hold others up. Returns sentences on what could not be done.
    """
    most = None if however_many else MOVED_MEANWHILE
    with transactions() as connection:
        wanted = _missing(connection, seconds)
    problems: list[str] = []
    made: set[Month] = set()
    for month in wanted:
        try:
            problem = _briefly(transactions, partial(_make, month=month, most=most, made=made))
        except NotAllowedError as error:
            return [*problems, _may_not(month, error)]
        except InUseError:
            return [
                *problems,
                f"{month.partition} could not be made, because the table of events is in use all the time, as "
                f"by a backup; until it is made, events of that month go into {OTHER}.",
            ]
        if problem:
            problems.append(problem)
        elif month in made:
            log.info("made the partition %s", month.partition)
    return problems


def _may_not(month: Month, error: NotAllowedError) -> str:
    return (
        f"The database role may not make {month.partition} ({error}): run `ingest db upgrade` as the owner of the "
        f"tables. Until then events of that month go into {OTHER}, where they are safe, but slower to delete."
    )


def months_ahead(connection: Connection) -> int:
    """How many of the months to come have a partition, without a gap; -1 if this month has none."""
    made = _partitions(connection)
    this, ahead = Month.now(), -1
    while this.later(ahead + 1).partition in made:
        ahead += 1
    return ahead


def left_over(connection: Connection) -> list[Month]:
    """The months that have events in `events_other` and could have a partition."""
    months = []
    at, end = FIRST_MONTH, Month.now().later(MONTHS_AHEAD + 1)
    events = _qualified(connection, OTHER)
    query = text(
        f"SELECT delivery_id FROM {events} WHERE delivery_id >= :first AND delivery_id < :end "
        "ORDER BY delivery_id LIMIT 1"
    )
    while at < end:
        found = connection.execute(query, {"first": at.first_id, "end": end.first_id}).scalar()
        if found is None:
            break
        months.append(Month.of_id(found))
        at = months[-1].later(1)
    return months


def _missing(connection: Connection, seconds: Iterable[int]) -> list[Month]:
    ahead = [Month.now().later(months) for months in range(MONTHS_AHEAD + 1)]
    wanted = {*map(Month.of, seconds), *left_over(connection)}
    made = _partitions(connection)
    # What is needed soonest comes first.
    order = [*ahead, *sorted(filter(credible, wanted - set(ahead)))]
    return [month for month in order if month.partition not in made]


def _make(
    connection: Connection, month: Month, most: int | None = None, made: set[Month] | None = None
) -> str | None:
    """Make a partition with all it needs, then attach it; returns a sentence on why it could not be done.

    Adds it to `made`, unless another process has made it.

    The constraint spares the server from reading the new table while everybody waits.
    """
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": PARTITION_LOCK})
    if month.partition in _partitions(connection):
        return None
    events, other, name = (_qualified(connection, table) for table in (tables.events.name, OTHER, month.partition))
    if connection.execute(text("SELECT to_regclass(:name)"), {"name": name}).scalar() is not None:
        return f"{name} exists and is no partition of {events}: attach, rename or drop it."
    ends = {"first": month.first_id, "end": month.later(1).first_id}
    within = "delivery_id >= :first AND delivery_id < :end"
    count = text(f"SELECT count(*) FROM (SELECT 1 FROM {other} WHERE {within} LIMIT {(most or 0) + 1}) AS found")
    found = connection.execute(count, ends).scalar_one()
    if most is not None and found > most:
        return (
            f"{OTHER} holds more than {most:,} events of {month}, too many to move while others read: run "
            "`ingest db upgrade` at a quiet hour."
        )
    first, end = (f"'\\x{bound.hex()}'" for bound in ends.values())
    connection.exec_driver_sql(
        f"CREATE TABLE {name} (LIKE {events} INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES, "
        f"CONSTRAINT its_month CHECK (delivery_id >= {first} AND delivery_id < {end}))"
    )
    if found:
        connection.exec_driver_sql(f"LOCK TABLE {other} IN ACCESS EXCLUSIVE MODE")
        moved = f"WITH moved AS (DELETE FROM {other} WHERE {within} RETURNING *)"
        connection.execute(text(f"{moved} INSERT INTO {name} SELECT * FROM moved"), ends)
    connection.exec_driver_sql(
        f"ALTER TABLE {events} ATTACH PARTITION {name} FOR VALUES FROM ({first}) TO ({end})"
    )
    connection.exec_driver_sql(f"ALTER TABLE {name} DROP CONSTRAINT its_month")
    if not found:
        connection.execute(text(FORGET_RANGES), {"name": name})
    if made is not None:
        made.add(month)
    return None


def weaknesses(connection: Connection) -> list[Risk]:
    """Months that have no partition, or will have none; tries to make one, and leaves none behind."""
    found = []
    ahead = months_ahead(connection)
    if ahead < FEW_MONTHS:
        when = f"end with {Month.now().later(ahead)}" if ahead >= 0 else "are missing for this month"
        made = (
            f"the partitions of events {when}: without one, events go into {OTHER} and are slow to delete; "
            "`ingest db upgrade` makes those of a year"
        )
        found.append(Risk(RiskCode.DATABASE_PARTITIONS, made))
    months = [str(month) for month in left_over(connection)]
    if months:
        held = f"{OTHER} holds events of {', '.join(months)}"
        moved = f"{held}: `ingest db upgrade` moves them to their own partitions"
        found.append(Risk(RiskCode.DATABASE_OTHER_PARTITION, moved))
    try:
        _set_patience(connection)
        _make(connection, FIRST_MONTH.later(-1))
    except DBAPIError as error:
        if _state(error) == NOT_ALLOWED:
            owner = "its role may not make partitions: run `ingest db upgrade` as the owner of the tables once in "
            found.append(Risk(RiskCode.DATABASE_NO_DDL, f"{owner}{MONTHS_AHEAD} months"))
        elif _state(error) not in IN_USE:
            raise
    connection.rollback()
    return found


# --- months that have expired ---


def empty_expired(transactions: Transactions, before: bytes, backend: Backend) -> int:
    """Empty the months that end before a delivery id; returns how many events they held.

    What is left of them takes next to nothing, and `drop_empty` drops it. A role that may not empty tables leaves
    that to whoever deletes rows.

    Raises:
        Unavailable: others read the tables all the time.
    """
    with transactions() as connection:
        expired = [name for name in _past(connection, Month.of_id(before)) if _size(connection, name)]
    deleted = 0
    for name in expired:
        try:
            deleted += _briefly(transactions, partial(_empty, name=name, backend=backend))
        except NotAllowedError as error:
            log.info("the role may not empty old partitions (%s): their events are deleted one by one", error)
            break
        except InUseError:
            raise Unavailable(
                f"The partition {name} has expired, but is in use all the time, as by a backup: it goes later."
            ) from None
    return deleted


def _empty(connection: Connection, name: str, backend: Backend) -> int:
    """Empty a partition, unless another process did; returns how many events it held.

    To drop or detach it would lock `events` against everybody (and CONCURRENTLY is not for a table that has a
    default partition), to empty it locks nothing but itself, into which nobody writes who is not late by months.

    Counting takes long, and whoever shares turns makes those wait who want one alone, and all who store behind
    them. So only the partition is locked meanwhile.
    """
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": PARTITION_LOCK})
    if name not in _partitions(connection) or not _size(connection, name):
        return 0
    qualified = _qualified(connection, name)
    below = event_counts.counted_below(connection)
    count, counted = postgres_counts.of_table(connection, qualified)
    backend.share_turns(connection, event_counts.TURNS)
    if event_counts.counted_below(connection) != below:  # more of what was there before is in the numbers now
        count, counted = postgres_counts.of_table(connection, qualified)
    connection.exec_driver_sql(f"TRUNCATE {qualified}")
    event_counts.add(connection, backend, counted)
    log.info("emptied the partition %s, which held %s", name, shown.counted(count, "event"))
    return count


def drop_empty(transactions: Transactions) -> int:
    """Drop the partitions of past months that are empty; returns how many. Locks all events for a moment.

    For `ingest db upgrade`, which is run at a quiet hour; where the role may not, or others read, they stay.
    """
    with transactions() as connection:
        empty = [name for name in _past(connection, Month.now()) if not _size(connection, name)]
    dropped = 0
    for name in empty:
        try:
            dropped += _briefly(transactions, partial(_drop, name=name))
        except (NotAllowedError, InUseError):
            break
    return dropped


def _drop(connection: Connection, name: str) -> int:
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": PARTITION_LOCK})
    qualified = _qualified(connection, name)
    connection.exec_driver_sql(f"LOCK TABLE {_qualified(connection, tables.events.name)} IN ACCESS EXCLUSIVE MODE")
    if name not in _partitions(connection):
        return 0
    if connection.exec_driver_sql(f"SELECT EXISTS (SELECT FROM {qualified})").scalar_one():
        return 0  # a late event has come
    connection.exec_driver_sql(f"DROP TABLE {qualified}")
    return 1


def _past(connection: Connection, end: Month) -> list[str]:
    """The partitions of months before this one."""
    return [name for name in sorted(_partitions(connection)) if FIRST_MONTH.partition <= name < end.partition]


def _size(connection: Connection, name: str) -> int:
    """Bytes of the rows of a table: none, once it has been emptied."""
    query = text("SELECT coalesce(pg_relation_size(to_regclass(:name)), 0)")
    return int(connection.execute(query, {"name": _qualified(connection, name)}).scalar_one())


# --- the server's catalogue and its locks ---


def _partitions(connection: Connection) -> set[str]:
    """The names of the partitions."""
    query = (
        "SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid "
        "WHERE inhparent = CAST(:events AS regclass)"
    )
    return set(connection.execute(text(query), {"events": tables.events.name}).scalars())


def _qualified(connection: Connection, name: str) -> str:
    """A table in the schema of `events`, whichever schema comes first on the search path."""
    query = "SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = CAST(:events AS regclass)"
    return f"{connection.execute(text(query), {'events': tables.events.name}).scalar_one()}.{name}"


def _briefly(transactions: Transactions, change: Callable[[Connection], T]) -> T:
    """Make a change in a transaction that waits only briefly for locks, a few times.

    Raises:
        NotAllowedError, InUseError: it could not be made.
    """
    for attempt in range(LOCK_ATTEMPTS):
        if attempt:
            time.sleep(LOCK_PAUSE)
        with transactions() as connection:
            _set_patience(connection)
            try:
                return change(connection)
            except DBAPIError as error:
                connection.rollback()
                if _state(error) == NOT_ALLOWED:
                    raise NotAllowedError(str(error.orig).splitlines()[0]) from error
                if _state(error) not in IN_USE:
                    raise
    raise InUseError


def _set_patience(connection: Connection) -> None:
    patience = {"patience": f"{LOCK_PATIENCE_MS}ms"}
    connection.execute(text("SELECT set_config('lock_timeout', :patience, true)"), patience)


def _state(error: DBAPIError) -> Any:
    return getattr(error.orig, "sqlstate", None)
