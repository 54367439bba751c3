"""What each kind of database does in its own way: see `workers.store.sqlite`, `.postgres` and `.mariadb`."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, date, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

from sqlalchemy import URL, ColumnElement, Connection, CursorResult, Engine, Table, func, select, tuple_
from sqlalchemy.exc import SQLAlchemyError

from ingest.copernica.events import EPOCH
from ingest.errors import IngestError, Unavailable
from ingest.health import Risk
from workers.store import tables

if TYPE_CHECKING:
    from pyarrow import RecordBatch

    from workers.store.event_counts import Deleted
    from workers.store.facts import Facts

#: Values of one row, in the order of the table's columns.
Row = tuple[Any, ...]

#: Most rows that are deleted in one transaction: more would hold up the drains.
DELETE_ROWS = 10_000
#: Characters of an address that are indexed; no address is longer.
INDEXED = 320
#: The periods by which `stats` counts, and how many characters of `2026-11-20 09:12:44` name each.
PERIODS = {"hour": 13, "day": 10}


class Slice(NamedTuple):
    """The events of some types that occurred on one day, in UTC."""

    day: date
    types: Sequence[str]

    @property
    def begin(self) -> datetime:
        """The moment with which the day begins."""
        return datetime(self.day.year, self.day.month, self.day.day, tzinfo=UTC)

    @property
    def end(self) -> datetime:
        """The moment with which the next day begins."""
        return self.begin + timedelta(days=1)


class Transactions(Protocol):
    """Begins a transaction, which is committed at the end of its block: `Database.writing`."""

    def __call__(self) -> AbstractContextManager[Connection]:
        """One transaction."""


class Backend(ABC):
    """One kind of database."""

    #: What the database, its driver and SQLAlchemy raise when they reject something or fail.
    errors: ClassVar[tuple[type[Exception], ...]] = (SQLAlchemyError, UnicodeError, OverflowError)

    #: What asks it about itself.
    facts: ClassVar["Facts"]
    #: Whether a read that takes long keeps a log growing, and so is done in portions.
    reads_in_portions: ClassVar[bool] = False

    def __init__(self, url: URL) -> None:
        self._url = url

    @property
    @abstractmethod
    def shown(self) -> str:
        """The name of the database for messages: without its password."""

    @property
    def path(self) -> Path | None:
        """The file that it is, if it is one."""
        return None

    @property
    def is_absent(self) -> bool:
        """Whether it is certain, without connecting, that there is no such database."""
        return False

    @abstractmethod
    def engine(self) -> Engine:
        """An engine for it, which connects on first use.

        Raises:
            Unavailable: it could never connect.
        """

    @abstractmethod
    def explain(self, error: Exception) -> IngestError:
        """What an error means: `RowsRejected` if it is about the rows, `Unavailable` otherwise."""

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Raise what `explain` says in place of the database's own errors."""
        try:
            yield
        except self.errors as error:
            raise self.explain(error) from error

    @abstractmethod
    def hurry(self, engine: Engine) -> None:
        """Have what is asked over an engine given up (`TookTooLong`) as `workers.store.patience` says."""

    def seconds(self, column: ColumnElement[Any]) -> tuple[ColumnElement[Any], Callable[[Any], int]]:
        """A column of times as one for a query of millions, and what makes Unix seconds of its values."""
        return column, _second

    def by_time(self, kind: str) -> tuple[ColumnElement[bool], list[ColumnElement[Any]]]:
        """For a query of millions of events of a type: the condition, and what tells apart those of one time."""
        return tables.events.c.type == kind, [tables.events.c.delivery_id]

    # --- transactions ---

    @abstractmethod
    def begin(self, connection: Connection) -> None:
        """Begin a transaction that will write."""

    def is_stuck(self, connection: Connection) -> bool:
        """Whether the connection is of no use any more: a statement was interrupted, or the server has gone."""
        return False

    def is_elsewhere(self, error: BaseException) -> bool:
        """Whether an error says that another server has to be asked by now: the connection is of no use."""
        return False

    @abstractmethod
    def lock_schema(self, connection: Connection) -> None:
        """Begin a transaction in which no other process can upgrade the schema."""

    def lacks(self, connection: Connection, table: str) -> bool:
        """Whether a table is missing, where a query for it would be an error in the server's own log."""
        return False

    def describe(self, connection: Connection) -> None:  # noqa: B027  # optional
        """Put comments on tables, views and columns, where a database keeps such; outside of any transaction."""

    def create(self, connection: Connection) -> str | None:
        """Make all tables in a database without any, in place of the first migrations; returns their version."""
        return None

    @abstractmethod
    def is_missing_table(self, error: Exception) -> bool:
        """Whether an error says that a table does not exist."""

    def take_turns(self, connection: Connection, name: str) -> None:  # noqa: B027  # not needed where writers take turns anyway
        """Wait until no other transaction that took turns under this name is open."""

    def time(self, connection: Connection) -> int | None:
        """The time in µs since 1970 by the database's clock; None if it has none of its own."""
        return None

    def share_turns(self, connection: Connection, name: str) -> None:  # noqa: B027  # as with `take_turns`
        """Wait until no transaction that took turns under this name is open; others may share with this one."""

    # --- writing ---

    @abstractmethod
    def insert(self, connection: Connection, table: Table, rows: Sequence[Row]) -> int:
        """Add rows whose key is not there yet; returns how many were not."""

    @abstractmethod
    def insert_events(self, connection: Connection, rows: Sequence[Row]) -> list[bytes]:
        """Add events that are not there yet; returns the delivery ids of those that were new."""

    def tidy(self, transactions: Transactions) -> None:  # noqa: B027  # optional
        """Do maintenance that is not urgent; called when a drain has nothing else to do."""

    def make_room(
        self, transactions: Transactions, seconds: Sequence[int] = (), however_many: bool = False
    ) -> list[str]:
        """Make what events to come need, and those of these `seconds` (Unix time).

        With `however_many` it may take its time, and hold others up. Returns sentences on what could not be done.
        """
        return []

    @abstractmethod
    def expire(self, transactions: Transactions, before: bytes) -> int:
        """Delete events with a smaller delivery id; returns how many."""

    @abstractmethod
    def erase(self, connection: Connection, delivery_ids: Sequence[bytes]) -> "list[Deleted]":
        """Delete events so that nothing of them is left in its files, as far as that is in our power.

        Returns what was deleted, for `event_counts.change`.
        """

    @abstractmethod
    def add_counts(
        self, connection: Connection, numbers: Sequence[tuple[str, str, int, str, int]], stamp: int
    ) -> None:
        """Add to `event_counts`: hour, type, mailing, source, number, in order. Ends a transaction.

        `stamp` is added to `changes`, there and in `mailing_changes`.
        """

    def overwrite(self, connection: Connection) -> None:  # noqa: B027  # optional
        """Have what this connection deletes from now on overwritten, where that is in our power."""

    def empty_log(self, engine: Engine) -> None:  # noqa: B027  # optional
        """Leave nothing that was deleted in a log."""

    def scrub(self, engine: Engine) -> None:  # noqa: B027  # optional
        """Finish what `erase` began, after its commit."""

    # --- reading ---

    @abstractmethod
    def about(self, recipient: str | None, message_id: str | None, newest: int = 0) -> list[ColumnElement[bool]]:
        """Conditions that find a recipient's or a message's events without reading all others.

        Recipients are compared as `folded` has them. Of a recipient with many events, only so many of the `newest`
        may be found, unless that is 0, where to read all of them would take long.
        """

    def is_frequent(self, connection: Connection, recipient: str, most: int) -> bool:
        """Whether a recipient has more than so many events, and to look each of them up would take long."""
        return False

    def after(self, order: Sequence[ColumnElement[Any]], last: Sequence[Any]) -> ColumnElement[bool]:
        """A condition: a row comes after the one whose columns have these values."""
        return order[0] > last[0] if len(order) == 1 else tuple_(*order) > tuple(last)

    def of_messages(self, message_ids: Sequence[str]) -> ColumnElement[bool]:
        """A condition that finds the events of some messages without reading all others."""
        return tables.events.c.message_id.in_(message_ids)

    def on_time(self, low: int, high: int) -> ColumnElement[bool] | None:
        """For events that occurred between two times (µs): whether their calls came at about that time.

        None where there is no need to leave out the others.
        """
        return None

    @abstractmethod
    def tagged(self, tag: str) -> ColumnElement[bool]:
        """Whether an event has a tag."""

    @abstractmethod
    def holds(self, text: ColumnElement[str], piece: str) -> ColumnElement[bool]:
        """Whether a text has a piece in it, whose ASCII letters are in lower case; those of the text in any."""

    def go_by_message(self, connection: Connection) -> None:  # noqa: B027  # optional
        """Have this transaction look messages up in their index, however the database judges it."""

    @abstractmethod
    def period(self, by: str) -> ColumnElement[str]:
        """The hour (`2026-11-20 09`) or day (`2026-11-20`) in UTC in which an event occurred."""

    def length(self, column: ColumnElement[bytes]) -> ColumnElement[int]:
        """How many bytes it has, without reading them where that can be had."""
        return func.length(column)

    def count(self, connection: Connection, table: Table) -> int:
        """How many rows a table has."""
        return connection.execute(select(func.count()).select_from(table)).scalar_one()

    def unfit(self, connection: Connection) -> str | None:
        """A sentence on why events cannot be stored in this database as they are; None if they can."""
        return None

    def closed(self, connection: Connection) -> Risk | None:
        """Why nothing can be written to this database at all, though it can be read; for `ingest check`."""
        return None

    def as_arrow(self, engine: Engine, wanted: Slice) -> "Iterator[RecordBatch]":
        """Events as record batches, in the order of their times; those that are very large may come last.

        Each kind of database has a module of its own for that, since it needs libraries that few have installed.
        No connection may be in use meanwhile.
        """
        try:
            reader = import_module(f"{type(self).__module__}_arrow")
        except ModuleNotFoundError as error:
            if error.name != f"{type(self).__module__}_arrow":
                raise
            raise Unavailable("This kind of database cannot be read as columns: export it as jsonl.") from None
        found: Iterator[RecordBatch] = reader.read(self, engine, wanted)
        return found

    @abstractmethod
    def weaknesses(self, connection: Connection) -> list[Risk]:
        """Settings that put committed events at risk; for `ingest check`.

        Tries what has to be tried, in a transaction that is rolled back.
        """


def new_key(inserted: CursorResult[Any]) -> int:
    """The number that the database gave to a row, by whichever way it tells."""
    key = inserted.inserted_primary_key
    assert key is not None
    return int(key[0])


def first_line(error: Any) -> str:
    """The first line of the database's own message, without what SQLAlchemy adds."""
    lines = str(getattr(error, "orig", None) or error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(". ")


def _second(moment: datetime) -> int:
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - EPOCH) // timedelta(seconds=1)
