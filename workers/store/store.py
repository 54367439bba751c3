"""The store: where events end up, in SQLite or PostgreSQL (`workers.store.sqlite`, `workers.store.postgres`).

One commit per group of batches, and nothing is acknowledged before it. A delivery id that is there already is left
as it is, so doing a batch twice does no harm.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from types import TracebackType
from typing import Any, Self, TypeVar

import orjson
from sqlalchemy import (
    URL,
    Column,
    ColumnElement,
    Connection,
    Engine,
    Row,
    Table,
    Text,
    cast,
    func,
    make_url,
    or_,
    select,
    text,
    tuple_,
)
from sqlalchemy.exc import SQLAlchemyError

from ingest.batch import Record, chunks, pack
from ingest.copernica.events import Event, EventType, decode
from ingest.errors import RowsRejected, SchemaMissing, Unavailable
from workers.records import Quarantined
from workers.store import schema, search_index, tables
from workers.store.backend import Backend
from workers.store.sqlite import SQLite

#: Rows that a query holds in memory at a time, and keys that one statement takes.
FETCH_SIZE = 1000
#: Text columns in which an address may be mentioned.
MENTIONING = (
    "recipient", "message_id", "url", "user_agent", "referer", "extended", "state", "description", "path",
)  # fmt: skip

K = TypeVar("K")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events to look at; None means any. Times are in UTC, `since` is included and `until` is not.

    Recipients are compared without regard to the case of ASCII letters.
    """

    types: Sequence[str] = ()
    recipient: str | None = None
    message_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def conditions(self, backend: Backend) -> list[ColumnElement[bool]]:
        """The filter as conditions of a WHERE clause."""
        columns = tables.events.c
        found = backend.about(self.recipient, self.message_id)
        if self.types:
            found.append(columns.type.in_(self.types))
        if self.since is not None:
            found.append(columns.occurred_at >= self.since)
        if self.until is not None:
            found.append(columns.occurred_at < self.until)
        return found

    def fits(self, event: Event) -> bool:
        """Whether an event is one of them."""
        return (
            (not self.types or event.type in self.types)
            and (self.recipient is None or _alike(event.recipient, self.recipient))
            and (self.message_id is None or event.message_id == self.message_id)
            and (self.since is None or event.occurred_at >= micros(self.since))
            and (self.until is None or event.occurred_at < micros(self.until))
        )


def _alike(one: str | None, other: str) -> bool:
    return one is not None and search_index.lower(one) == search_index.lower(other)


def backend_of(url: str) -> Backend:
    """The kind of database that a URL names."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return SQLite(parsed)
    from workers.store.postgres import PostgreSQL  # noqa: PLC0415  # its driver need not be installed

    return PostgreSQL(URL.create(**parsed._asdict() | {"drivername": "postgresql+psycopg"}))


def upgrade(url: str) -> tuple[str | None, str]:
    """Make the tables or bring them up to date; returns the versions of the schema before and after.

    Raises:
        Unavailable: the database cannot be reached or used.
        SchemaMismatch: it is newer than this program.
    """
    backend = backend_of(url)
    store = Store(backend, backend.engine())
    try:
        with store.explained():
            return schema.upgrade(store.engine)
    finally:
        store.close()


class Store:
    """The database of events. Open it after a fork, never before."""

    def __init__(self, backend: Backend, engine: Engine) -> None:
        self._backend = backend
        self.engine = engine

    @classmethod
    def open(cls, url: str) -> Self:
        """Connect to a database that has our tables.

        Raises:
            Unavailable: the database cannot be reached or used.
            NoStoreYet, WrongSchema: it has no tables, or those of another release.
        """
        backend = backend_of(url)
        if isinstance(backend, SQLite) and backend.path is not None and not backend.path.exists():
            raise SchemaMissing(f"There is no database at {backend.shown} yet: run `ingest db upgrade`.")
        store = cls(backend, backend.engine())
        try:
            with store.explained():
                schema.require(store.engine, backend.shown)
        except Unavailable:
            store.close()
            raise
        return store

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def shown(self) -> str:
        """The database as it may be printed."""
        return self._backend.shown

    def close(self) -> None:
        """Give the connections back."""
        self.engine.dispose()

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn what a database says into what it means."""
        try:
            yield
        except (SQLAlchemyError, UnicodeError, OverflowError) as error:
            raise self._backend.explain(error) from error
        except Exception as error:
            if type(error).__module__.partition(".")[0] == "psycopg":  # from COPY, which goes past SQLAlchemy
                raise self._backend.explain(error) from error
            raise

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection to ask with.

        Raises:
            Unavailable: the database cannot be used now.
        """
        with self.explained(), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self, delivery_ids: Sequence[bytes] = ()) -> Iterator[Connection]:
        """A transaction, committed at the end of the block; `delivery_ids` are of the events that it will add.

        Raises:
            RowsRejected: the database does not take something of it; nothing of it was stored.
            Unavailable: the database cannot be used now; nothing of it was stored.
        """
        with self.reading() as connection:
            self._backend.begin(connection, delivery_ids)
            yield connection
            connection.commit()

    def insert(self, connection: Connection, table: Table, rows: Sequence[tuple[object, ...]]) -> int:
        """Add rows whose key is not there yet, within a transaction; returns how many were not."""
        return self._backend.insert(connection, table, rows)

    # --- writing ---

    def add(
        self,
        events: Sequence[Event],
        quarantined: Sequence[Quarantined] = (),
        unverified: Sequence[Record] = (),
        settled: Sequence[Record] = (),
        hand_on: Mapping[bytes, Record] | None = None,
    ) -> int:
        """Store events, calls for quarantine and unverified calls in one transaction.

        `settled` are calls that are unverified no more. With `hand_on`, the calls that brought the events by their
        delivery ids, those that are new are put into the outbox for the handlers. Returns how many were new.

        Raises:
            RowsRejected: the database does not take something of it; nothing of it was stored.
            Unavailable: the database cannot be used now; nothing of it was stored.
        """
        with self.writing([e.delivery_id for e in events]) as connection:
            new = 0
            if events and hand_on is not None:
                ids = set(self._backend.insert_events(connection, [_event_row(e) for e in events]))
                new += len(ids)
                _put_out(connection, [e for e in events if e.delivery_id in ids], hand_on)
            elif events:
                new += self._backend.insert(connection, tables.events, [_event_row(e) for e in events])
            for table, rows in (
                (tables.quarantine, [_quarantine_row(q) for q in quarantined]),
                (tables.unverified, [_unverified_row(record) for record in unverified]),
            ):
                if rows:
                    new += self._backend.insert(connection, table, rows)
            if settled:
                key = tuple_(tables.unverified.c.delivery_id, tables.unverified.c.body_hash)
                ids_settled = [(record.delivery_id, body_hash(record.body)) for record in settled]
                connection.execute(tables.unverified.delete().where(key.in_(ids_settled)))
        return new

    def readmit(self, record: Record, event: Event, hand_on: bool) -> int:
        """Store an event out of quarantine after all; returns 1, or 0 if the database still refuses it."""
        try:
            self.add([event], hand_on={event.delivery_id: record} if hand_on else None)
        except RowsRejected:
            return 0
        with self.writing() as connection:
            of_it = tables.quarantine.c.delivery_id == record.delivery_id
            connection.execute(tables.quarantine.delete().where(of_it))
        return 1

    def tidy(self) -> None:
        """Do what keeps the database fast and is not urgent."""
        with self.explained():
            self._backend.tidy(self.engine)

    def expire(self, before: int) -> int:
        """Delete events and kept calls of before a second (Unix time); returns how many."""
        oldest = before.to_bytes(4, "big")
        with self.explained():
            gone = self._backend.expire(self.engine, oldest)
        with self.reading() as connection:
            self._backend.begin(connection)
            for table in (tables.quarantine, tables.unverified, tables.dead_letters):
                gone += connection.execute(table.delete().where(table.c.delivery_id < oldest)).rowcount
            connection.commit()
        return gone

    def erase(
        self,
        deleted: Sequence[bytes],
        blanked: Sequence[Event],
        quarantined: Sequence[bytes],
        unverified: Sequence[tuple[bytes, bytes]],
    ) -> None:
        """Delete for good, by their keys; events that are `blanked` are stored again as given here."""
        verified = tables.unverified.c
        with self.reading() as connection:
            self._backend.begin(connection)
            for some in _portions([*deleted, *(event.delivery_id for event in blanked)]):
                self._backend.erase(connection, some)
            if blanked:
                self._backend.insert(connection, tables.events, [_event_row(event) for event in blanked])
            for some in _portions(quarantined):
                calls = tables.quarantine.c.delivery_id.in_(some)
                connection.execute(tables.quarantine.delete().where(calls))
            for keys in _portions(unverified):
                calls = tuple_(verified.delivery_id, verified.body_hash).in_(keys)
                connection.execute(tables.unverified.delete().where(calls))
            connection.commit()

    def scrub(self) -> None:
        """After an erasure: see that no byte of it is left, as far as that is in our hands; may take minutes.

        Raises:
            Unavailable: that failed; running it again is all that is needed.
        """
        with self.explained():
            self._backend.scrub(self.engine)

    # --- reading ---

    def stored(self) -> int:
        """How many events there are."""
        return self._count(tables.events)

    def quarantined(self) -> int:
        """How many unreadable calls there are."""
        return self._count(tables.quarantine)

    def unverified(self) -> int:
        """How many calls wait to be verified."""
        return self._count(tables.unverified)

    def _count(self, table: Table) -> int:
        with self.reading() as connection:
            return self._backend.count(connection, table)

    def any_unverified(self) -> bytes:
        """The delivery id of one of them, drawn at random; empty when there are none."""
        query = select(tables.unverified.c.delivery_id).order_by(func.random()).limit(1)
        with self.reading() as connection:
            return connection.execute(query).scalar() or b""

    def next_unverified(self, after: bytes, limit: int) -> list[Record]:
        """Calls that wait to be verified, in the order of their delivery ids."""
        table = tables.unverified
        query = select(table).where(table.c.delivery_id > after).order_by(table.c.delivery_id).limit(limit)
        with self.reading() as connection:
            return [
                Record(row.delivery_id, micros(row.received_at), row.path, row.content_type, row.body, row.headers)
                for row in connection.execute(query)
            ]

    def find(self, wanted: Filter) -> Iterator[Event]:
        """Events in the order of their delivery ids (that is, as they came in), a few in memory at a time."""
        yield from self._events(*wanted.conditions(self._backend))

    def _events(self, *conditions: ColumnElement[bool]) -> Iterator[Event]:
        query = select(tables.events).where(*conditions).order_by(tables.events.c.delivery_id)
        with self.reading() as connection:
            for row in connection.execution_options(yield_per=FETCH_SIZE).execute(query):
                yield _event(row)

    def mentioning(self, patterns: Sequence[str]) -> Iterator[Event]:
        """Events that hold one of these texts somewhere, and all that are kept raw: reads every event there is."""
        columns = tables.events.c
        searched = [cast(columns[name], Text) for name in (*MENTIONING, "tags", "payload")]
        found = [column.icontains(pattern, autoescape=True) for column in searched for pattern in patterns]
        yield from self._events(or_(*found, columns.raw.is_not(None)))

    def of_profiles(self, profiles: Sequence[tuple[int, int]]) -> Iterator[Event]:
        """Events of these profiles, each named by its database and its own number; reads every event there is."""
        columns = tables.events.c
        yield from self._events(tuple_(columns.database, columns.profile).in_(profiles))

    def rows(
        self, table: Table, conditions: Sequence[ColumnElement[bool]] = (), order: Sequence[Column[Any]] = ()
    ) -> Iterator[Row[Any]]:
        """Rows of any table, a few in memory at a time."""
        query = select(table).where(*conditions).order_by(*order)
        with self.reading() as connection:
            yield from connection.execution_options(yield_per=FETCH_SIZE).execute(query)

    def count(self, wanted: Filter) -> int:
        """How many events there are of a kind."""
        query = select(func.count()).select_from(tables.events).where(*wanted.conditions(self._backend))
        with self.reading() as connection:
            return connection.execute(query).scalar_one()

    def portions(self, wanted: Filter, after: bytes, size: int) -> Iterator[list[Event]]:
        """Events behind a delivery id, in order, so many at a time and each time asked anew."""
        columns = tables.events.c
        while True:
            query = select(tables.events).where(*wanted.conditions(self._backend), columns.delivery_id > after)
            with self.reading() as connection:
                rows = connection.execute(query.order_by(columns.delivery_id).limit(size)).all()
            if not rows:
                return
            found = [_event(row) for row in rows]
            yield found
            after = found[-1].delivery_id

    def counted(self, wanted: Filter, by: str) -> list[tuple[str, str, int]]:
        """How many events of which type there were in which `hour` or `day`."""
        period, kind = self._backend.period(by), tables.events.c.type
        query = select(period, kind, func.count()).where(*wanted.conditions(self._backend))
        with self.reading() as connection:
            return [tuple(row) for row in connection.execute(query.group_by(period, kind).order_by(period, kind))]

    def weaknesses(self) -> list[str]:
        """What in the set-up of the database breaks the promise that what is stored is kept."""
        with self.reading() as connection:
            return self._backend.weaknesses(connection)

    def named(self, delivery_ids: Sequence[bytes]) -> list[Event]:
        """The events with these delivery ids, in their order."""
        column = tables.events.c.delivery_id
        with self.reading() as connection:
            query = select(tables.events).where(column.in_(delivery_ids)).order_by(column)
            return [_event(row) for row in connection.execute(query)]


def _put_out(connection: Connection, events: Sequence[Event], calls: Mapping[bytes, Record]) -> None:
    """Put new events into the outbox, by type, since that is what handlers ask for; doubles in a batch once."""
    by_type: dict[str, dict[bytes, Record]] = {}
    for event in events:
        by_type.setdefault(event.type.value, {})[event.delivery_id] = calls[event.delivery_id]
    rows = [
        {"type": kind, "count": len(chunk), "packed": pack(chunk)}
        for kind, records in by_type.items()
        for chunk in chunks(list(records.values()))
    ]
    if rows:
        statement = "INSERT INTO outbox (type, count, packed) VALUES (:type, :count, :packed)"
        connection.execute(text(statement), rows)


def _portions(keys: Sequence[K]) -> Iterator[Sequence[K]]:
    for at in range(0, len(keys), FETCH_SIZE):
        yield keys[at : at + FETCH_SIZE]


# --- rows ---


def _event_row(e: Event) -> tuple[object, ...]:
    return (
        e.delivery_id, e.type.value, e.message_id, stored_time(e.occurred_at), stored_time(e.received_at),
        e.recipient, e.ip, e.url, e.user_agent, e.referer,
        e.profile, e.subprofile, e.database, e.collection, e.mailing, e.code, e.extended, e.state, e.description,
        _dump(e.tags) if e.tags else "[]", _dump(e.payload), e.path, e.source, e.raw, e.raw_type,
    )  # fmt: skip


def _event(row: Sequence[Any]) -> Event:
    """An event as it was when it was decoded."""
    # By place, in the order of the table and of Event: by name would take half as long again.
    (
        delivery_id,
        kind,
        message_id,
        occurred_at,
        received_at,
        *columns,
        tags,
        payload,
        path,
        source,
        raw,
        raw_type,
    ) = row
    received = micros(received_at)
    values = decode(raw, raw_type or "", path, received).payload if raw is not None else _load(payload)
    head = delivery_id, EventType(kind), message_id, micros(occurred_at), received
    return Event._make((*head, *columns, _load(tags), values, path, source, raw, raw_type))


def _quarantine_row(q: Quarantined) -> tuple[object, ...]:
    record = q.record
    return (
        record.delivery_id,
        stored_time(record.received_at),
        clean(record.target.decode("utf-8", "replace")),
        clean(record.content_type.decode("utf-8", "replace")),
        record.body,
        clean(q.reason),
    )


def _unverified_row(record: Record) -> tuple[object, ...]:
    return (
        record.delivery_id,
        body_hash(record.body),
        stored_time(record.received_at),
        record.target,
        record.content_type,
        record.headers,
        record.body,
    )


def body_hash(body: bytes) -> bytes:
    """Tells two bodies apart that came with the same signature."""
    return hashlib.sha256(body).digest()[:8]


def clean(value: str) -> str:
    """What every text column can hold."""
    return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def _dump(value: object) -> str:
    """JSON that every database takes. What that changes is in `raw`, from which it is read again."""
    try:
        dumped = orjson.dumps(value).decode()
    except TypeError:  # lone surrogates, which stand for bytes that are not text
        dumped = "\\u0000"
    if "\\u0000" not in dumped:
        return dumped
    return _clean_json(value)


def _clean_json(value: object) -> str:
    def cleaned(inner: Any) -> Any:
        if isinstance(inner, str):
            return inner.replace("\0", "\ufffd").encode("utf-8", "surrogatepass").decode("utf-8", "replace")
        if isinstance(inner, list):
            return [cleaned(item) for item in inner]
        if isinstance(inner, dict):
            return {cleaned(name): cleaned(item) for name, item in inner.items()}
        return inner

    return json.dumps(cleaned(value), ensure_ascii=False, separators=(",", ":"))


def _load(value: Any) -> Any:
    """JSON comes as text from SQLite, and read from PostgreSQL."""
    if not isinstance(value, str):
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:  # nested deeper than orjson likes, or written by release 0.1
        return json.loads(value)


def stored_time(moment: int) -> str:
    """µs since 1970 in the form in which SQLAlchemy keeps a DateTime in SQLite, and which PostgreSQL reads too."""
    second, micro = divmod(moment, 1_000_000)
    return f"{_stored_second(second)}.{micro:06d}"


@lru_cache(maxsize=4096)  # events of one drain cluster around the same seconds
def _stored_second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%d %H:%M:%S")


def micros(moment: datetime) -> int:
    """µs since 1970 of a moment, in UTC if it names no zone."""
    zoned = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (zoned - _EPOCH) // timedelta(microseconds=1)
