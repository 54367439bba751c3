"""The store: where events end up, on SQLite.

One commit per group of batches, and nothing is acknowledged before it: `synchronous=FULL` makes that commit wait
for the disk. A delivery id that is there already is left as it is, so doing a batch twice does no harm.
"""

import json
import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Self

import orjson
from sqlalchemy import ColumnElement, Engine, Table, create_engine, event, func, make_url, select
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import SQLAlchemyError

from ingest.batch import Record
from ingest.copernica.events import Event
from ingest.errors import NoStoreYet, Unavailable
from workers import tables

#: Seconds to wait for another process that writes to the same SQLite file.
LOCK_TIMEOUT = 30
#: Pages of write-ahead log (4 KiB each) after which SQLite moves them into the file: 32 MiB, so that a drain at
#: full speed does it about once a second rather than at every commit.
CHECKPOINT_PAGES = 8192
#: Rows that a query holds in memory at a time.
FETCH_SIZE = 1000


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Quarantined(NamedTuple):
    """A call whose body could not be read, and why."""

    record: Record
    reason: str


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events to look at; None means any. Times are in UTC, `since` is included and `until` is not."""

    type: str | None = None
    recipient: str | None = None
    message_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """The filter as conditions of a WHERE clause."""
        columns = tables.events.c
        found: list[ColumnElement[bool]] = []
        for name in ("type", "recipient", "message_id"):
            if (value := getattr(self, name)) is not None:
                found.append(columns[name] == value)
        if self.since is not None:
            found.append(columns.occurred_at >= self.since)
        if self.until is not None:
            found.append(columns.occurred_at < self.until)
        return found


class Store:
    """The database of events. Open it after a fork, never before."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._insert_event = _insert_statement(tables.events)
        self._insert_quarantined = _insert_statement(tables.quarantine)
        self._insert_unverified = _insert_statement(tables.unverified)

    @classmethod
    def open(cls, url: str, create: bool = True) -> Self:
        """Connect, and make the tables if they are not there.

        Raises:
            Unavailable: the database cannot be opened or written.
            NoStoreYet: it is not there and shall not be made.
        """
        name = make_url(url).database
        if name in (None, "", ":memory:"):
            raise Unavailable(f"{url} is a database in memory: what is acknowledged must be kept in a file.")
        location = Path(str(name))
        if not create and not location.exists():
            raise NoStoreYet(f"There is no database at {location} yet: a worker makes it when it starts.")
        try:
            location.absolute().parent.mkdir(parents=True, exist_ok=True)
            engine = create_engine(url, connect_args={"timeout": LOCK_TIMEOUT})
        except OSError as error:
            raise Unavailable(f"The database {location} cannot be used: {error.strerror}.") from None
        event.listen(engine, "connect", _set_up_sqlite)
        try:
            with engine.connect() as connection:
                # Workers start together: one makes the tables, the others wait and find them.
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                tables.metadata.create_all(connection)
                connection.commit()
        except (SQLAlchemyError, sqlite3.Error) as error:
            engine.dispose()
            raise Unavailable(f"The database {location} cannot be used: {_reason(error)}.") from None
        return cls(engine)

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()

    def add(
        self,
        events: Sequence[Event],
        quarantined: Sequence[Quarantined] = (),
        unverified: Sequence[Record] = (),
        settled: Sequence[bytes] = (),
    ) -> int:
        """Store events, calls for quarantine and unverified calls in one transaction.

        `settled` are the delivery ids of calls that are unverified no more. Returns how many were new.

        Raises:
            Unavailable: the database refused; nothing of it was stored.
        """
        try:
            with self._engine.connect() as connection:
                # At once, not at the first insert: two writers that both begin by reading would block each other.
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                new = 0
                if events:
                    rows = [_event_row(e) for e in events]
                    new += connection.exec_driver_sql(self._insert_event, rows).rowcount
                if quarantined:
                    unread = [_quarantine_row(q) for q in quarantined]
                    new += connection.exec_driver_sql(self._insert_quarantined, unread).rowcount
                if unverified:
                    open_rows = [_unverified_row(record) for record in unverified]
                    new += connection.exec_driver_sql(self._insert_unverified, open_rows).rowcount
                if settled:
                    ids = [(id,) for id in settled]
                    connection.exec_driver_sql("DELETE FROM unverified WHERE delivery_id = ?", ids)
                connection.commit()
                return new
        except SQLAlchemyError as error:
            raise Unavailable(f"The database refused a write: {_reason(error)}.") from error

    def stored(self) -> int:
        """How many events there are."""
        return self._count(tables.events)

    def quarantined(self) -> int:
        """How many unreadable calls there are."""
        return self._count(tables.quarantine)

    def unverified(self) -> int:
        """How many calls wait to be verified."""
        return self._count(tables.unverified)

    def any_unverified(self) -> bytes:
        """The delivery id of one of them, drawn at random; empty when there are none."""
        query = select(tables.unverified.c.delivery_id).order_by(func.random()).limit(1)
        with self._engine.connect() as connection:
            return connection.execute(query).scalar() or b""

    def next_unverified(self, after: bytes, limit: int) -> list[Record]:
        """Calls that wait to be verified, in the order of their delivery ids."""
        table = tables.unverified
        query = select(table).where(table.c.delivery_id > after).order_by(table.c.delivery_id).limit(limit)
        with self._engine.connect() as connection:
            return [
                Record(
                    row.delivery_id, _micros(row.received_at), row.path, row.content_type, row.body, row.headers
                )
                for row in connection.execute(query)
            ]

    def _count(self, table: Table) -> int:
        with self._engine.connect() as connection:
            return connection.execute(select(func.count()).select_from(table)).scalar_one()

    def find(self, wanted: Filter) -> Iterator[dict[str, Any]]:
        """Events in the order of their delivery ids (that is, as they came in), a few in memory at a time."""
        query = select(tables.events).where(*wanted.conditions()).order_by(tables.events.c.delivery_id)
        with self._engine.connect() as connection:
            for row in connection.execution_options(yield_per=FETCH_SIZE).execute(query).mappings():
                yield {
                    **row,
                    "delivery_id": row["delivery_id"].hex(),
                    "occurred_at": _shown_time(row["occurred_at"]),
                    "received_at": _shown_time(row["received_at"]),
                    "tags": orjson.loads(row["tags"]),
                    "payload": _load(row["payload"]),
                }


def _set_up_sqlite(connection: sqlite3.Connection, _record: object) -> None:
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


def _insert_statement(table: Table) -> str:
    # Executed as text with tuples: SQLAlchemy's handling of every single value would cost more than the insert.
    return str(insert(table).on_conflict_do_nothing().compile(dialect=sqlite.dialect()))


def _event_row(e: Event) -> tuple[object, ...]:
    return (
        e.delivery_id,
        e.type,
        e.message_id,
        _stored_time(e.occurred_at),
        _stored_time(e.received_at),
        e.recipient,
        e.ip,
        e.url,
        e.user_agent,
        e.referer,
        _dump(e.tags),
        _dump(e.payload),
        e.path,
        e.source,
    )


def _quarantine_row(q: Quarantined) -> tuple[object, ...]:
    record = q.record
    return (
        record.delivery_id,
        _stored_time(record.received_at),
        record.target.decode("utf-8", "replace"),
        record.content_type.decode("utf-8", "replace"),
        record.body,
        q.reason,
    )


def _unverified_row(record: Record) -> tuple[object, ...]:
    return (
        record.delivery_id,
        _stored_time(record.received_at),
        record.target,
        record.content_type,
        record.headers,
        record.body,
    )


def _dump(value: object) -> str:
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # lone surrogates, which stand for bytes that are not UTF-8: JSON can escape them
        return json.dumps(value, separators=(",", ":"))


def _load(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return json.loads(text)


def _stored_time(micros: int) -> str:
    """µs since 1970 in the form in which SQLAlchemy keeps a DateTime in SQLite."""
    second, micro = divmod(micros, 1_000_000)
    return f"{_stored_second(second)}.{micro:06d}"


@lru_cache(maxsize=4096)  # events of one drain cluster around the same seconds
def _stored_second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _micros(moment: datetime) -> int:
    return (moment.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)


def _shown_time(moment: datetime) -> str:
    return moment.isoformat() + "Z"


def _reason(error: Exception) -> str:
    """The database's own words, without SQLAlchemy's."""
    return str(getattr(error, "orig", None) or error).splitlines()[0].rstrip(".")
