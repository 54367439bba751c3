"""The monthly partitions of MariaDB's table of events: made ahead, and merged away when they are empty.

As in PostgreSQL (`workers.store.postgres_partitions`), a partition holds the delivery ids whose time, their first
four bytes, is in its month. Ranges follow each other without a gap: `before` holds what is older than the first
month, and `later` what is younger than the last, both of them nearly empty. New months are cut off from these two,
and an old one that has expired is joined to `before`: so no event is ever without a place, and none is dropped by
dropping a partition. To change them, the server waits until nobody uses the table, and others wait behind it: so
it waits no longer than a second.
"""

import logging
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from ingest.health import Risk, RiskCode
from workers.store.backend import Transactions
from workers.store.mariadb_connection import code_of
from workers.store.months import FEW_MONTHS, FIRST_MONTH, MONTHS_AHEAD, MOVED_MEANWHILE, Month, credible

log = logging.getLogger(__name__)

#: The partitions of what is older and what is younger than all months.
BEFORE, LATER = "before_all", "later"
#: Months that one change makes, at most: with hundreds of partitions each statement takes longer to plan.
MOST_MONTHS = 240
#: Seconds to wait until nobody uses the table; whoever wants to use it waits as long.
PATIENCE = 1
#: Times that it is tried.
ATTEMPTS = 5
#: The server's numbers: the role may not do it, a lock was not granted in time, no such partition.
NOT_ALLOWED, IN_USE, NO_PARTITION = frozenset({1044, 1142, 1227}), frozenset({1205, 1213}), 1507


class Cut(NamedTuple):
    """Months that are to be cut off from one of the two partitions at the ends."""

    of: str
    months: Sequence[Month]


def definitions() -> str:
    """The partitions of a new table: this month and those to come."""
    months = [Month.now().later(ahead) for ahead in range(MONTHS_AHEAD + 1)]
    parts = [f"PARTITION {BEFORE} VALUES LESS THAN ({_bound(months[0])})", *map(_part, months), _LATER]
    return f"PARTITION BY RANGE COLUMNS (delivery_id) ({', '.join(parts)})"


def _bound(month: Month) -> str:
    return f"x'{month.first_id.hex()}'"


def _part(month: Month) -> str:
    return f"PARTITION {month.partition} VALUES LESS THAN ({_bound(month.later(1))})"


_LATER = f"PARTITION {LATER} VALUES LESS THAN (MAXVALUE)"


# --- making room ---


def make_room(transactions: Transactions, seconds: Iterable[int] = (), however_many: bool = False) -> list[str]:
    """Make the partitions of the coming months, of these `seconds`, and of what lies at the ends.

    With `however_many` events are moved however many they are. Returns sentences on what could not be done.
    """
    with transactions() as connection:
        cuts = _wanted(connection, seconds)
    problems = []
    for cut in cuts:
        with transactions() as connection:
            if not however_many and (moved := _held(connection, cut.of)) > MOVED_MEANWHILE:
                problems.append(
                    f"The partition {cut.of} of events holds more than {moved - 1:,}, too many to move while "
                    "others read: run `ingest db upgrade` at a quiet hour."
                )
            elif problem := _changed(connection, [cut.of], _cut(connection, cut)):
                problems.append(f"{problem} Until then these events go into {cut.of}, where they are safe.")
            else:
                log.info("made partitions of events from %s to %s", cut.months[0], cut.months[-1])
    return problems


def _wanted(connection: Connection, seconds: Iterable[int]) -> list[Cut]:
    """What is to be cut off, the months of each in order."""
    months = partitions(connection)
    wanted = {Month.now().later(ahead) for ahead in range(MONTHS_AHEAD + 1)}
    wanted |= {*map(Month.of, seconds), *left_over(connection)}
    wanted = {month for month in wanted if credible(month)}
    cuts = []
    later = max(wanted)
    if later > months[-1]:
        cuts.append(Cut(LATER, list(_from(months[-1].later(1), later))))
    if min(wanted) < months[0]:
        cuts.append(Cut(BEFORE, list(_from(min(wanted), months[0].later(-1)))[-MOST_MONTHS:]))
    return cuts


def _from(first: Month, last: Month) -> Iterable[Month]:
    while first <= last:
        yield first
        first = first.later(1)


def _cut(connection: Connection, cut: Cut) -> Sequence[str]:
    parts = list(map(_part, cut.months))
    if cut.of == LATER:
        return [*parts, _LATER]
    return [f"PARTITION {BEFORE} VALUES LESS THAN ({_bound(cut.months[0])})", *parts]


def _changed(connection: Connection, of: Sequence[str], parts: Sequence[str]) -> str | None:
    """Put partitions in the place of others; returns a sentence on why that could not be done."""
    change = f"ALTER TABLE events REORGANIZE PARTITION {', '.join(of)} INTO ({', '.join(parts)})"
    for _ in range(ATTEMPTS):
        try:
            connection.exec_driver_sql(f"SET SESSION lock_wait_timeout = {PATIENCE}")
            connection.exec_driver_sql(change)
            return None
        except DBAPIError as error:
            if code_of(error) in NOT_ALLOWED:
                return (
                    "The database user may not change the partitions of events: run `ingest db upgrade` as one "
                    "that may (ALTER, CREATE, INSERT and DROP)."
                )
            if code_of(error) not in IN_USE:
                raise
        finally:
            connection.exec_driver_sql("SET SESSION lock_wait_timeout = DEFAULT")
    return "The partitions of events could not be changed, since the table is in use all the time, as by a backup."


def left_over(connection: Connection) -> list[Month]:
    """The first credible months of what lies at the two ends."""
    found = []
    for name in (BEFORE, LATER):
        query = text(
            f"SELECT min(delivery_id), max(delivery_id) FROM events PARTITION ({name}) "
            "WHERE delivery_id >= :first AND delivery_id < :end"
        )
        ends = {"first": FIRST_MONTH.first_id, "end": Month.now().later(MONTHS_AHEAD + 1).first_id}
        row = connection.execute(query, ends).one()
        found += [Month.of_id(bytes(key)) for key in row if key is not None]
    return found


def _held(connection: Connection, name: str) -> int:
    """About how many events a partition holds, `MOVED_MEANWHILE` and one at most."""
    query = f"SELECT count(*) FROM (SELECT 1 FROM events PARTITION ({name}) LIMIT {MOVED_MEANWHILE + 1}) AS held"
    return int(connection.exec_driver_sql(query).scalar_one())


def partitions(connection: Connection) -> list[Month]:
    """The months that have one, in order."""
    query = (
        "SELECT partition_name FROM information_schema.partitions WHERE table_schema = DATABASE() AND "
        "table_name = 'events' AND left(partition_name, 7) = 'events_' ORDER BY partition_ordinal_position"
    )
    return [Month(int(name[-7:-3]), int(name[-2:])) for (name,) in connection.exec_driver_sql(query)]


# --- taking them away ---


def drop_empty(transactions: Transactions, before: bytes) -> None:
    """Join the months that end before a delivery id, and have no events any more, to what is older."""
    with transactions() as connection:
        gone = []
        for month in partitions(connection)[:-1]:
            if month.later(1).first_id > before or _held(connection, month.partition):
                break
            gone.append(month)
        if gone and not _held(connection, BEFORE):
            end = f"PARTITION {BEFORE} VALUES LESS THAN ({_bound(gone[-1].later(1))})"
            problem = _changed(connection, [BEFORE, *(month.partition for month in gone)], [end])
            log.info("%s", problem or f"joined the partitions through {gone[-1]} to {BEFORE}")


# --- judging ---


def weaknesses(connection: Connection) -> list[Risk]:
    """Months that will have no partition, and whether the role may make any."""
    found = []
    last = partitions(connection)[-1]
    if last < Month.now().later(FEW_MONTHS):
        made = (
            f"the partitions of events end with {last}: without one, events go into {LATER} and are slow to "
            "delete; `ingest db upgrade` makes those of a year"
        )
        found.append(Risk(RiskCode.DATABASE_PARTITIONS, made))
    try:
        connection.exec_driver_sql(f"SET SESSION lock_wait_timeout = {PATIENCE}")
        connection.exec_driver_sql("ALTER TABLE events DROP PARTITION there_is_none")
    except DBAPIError as error:
        if code_of(error) in NOT_ALLOWED:
            owner = "its role may not make partitions: run `ingest db upgrade` as the owner of the tables once in "
            found.append(Risk(RiskCode.DATABASE_NO_DDL, f"{owner}{MONTHS_AHEAD} months"))
        elif code_of(error) not in (NO_PARTITION, *IN_USE):
            raise
    finally:
        connection.exec_driver_sql("SET SESSION lock_wait_timeout = DEFAULT")
    return found
