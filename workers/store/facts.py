"""What each kind of database can say of itself: see `workers.store.sqlite_facts` and so on.

Nothing here reads a table from one end to the other, but for `Facts.relations` of SQLite: sizes are those of
files, and numbers of rows the server's estimates.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from sqlalchemy import Connection

if TYPE_CHECKING:
    from workers.store.store import Store


class TableFacts(NamedTuple):
    """A table, or a partition of one: bytes with its indexes, and about how many rows; None: not known."""

    name: str
    size: int | None
    rows: int | None


class StatementFacts(NamedTuple):
    """A kind of statement, by the time that it took in all (ms)."""

    text: str
    calls: int
    total_ms: float
    mean_ms: float


@dataclass(slots=True)
class DatabaseFacts:
    """What a database says of itself."""

    kind: str
    version: str
    where: str
    #: Bytes: of all, of the write-ahead log beside it, and of what is free within it; None: not known.
    size: int | None = None
    log: int | None = None
    free: int | None = None
    #: Settings that matter, by their names.
    settings: Mapping[str, str] = field(default_factory=dict)
    tables: list[TableFacts] = field(default_factory=list)
    partitions: list[TableFacts] = field(default_factory=list)
    #: Connections now, and how many there may be.
    connections: int | None = None
    most_connections: int | None = None
    #: The slowest statements; None where the server does not keep count of them.
    statements: list[StatementFacts] | None = None
    #: Events by month, from the numbers that are kept; empty while an upgrade still makes them.
    months: list[tuple[str, int]] = field(default_factory=list)
    #: The server's time.
    at: datetime | None = None


class Facts(ABC):
    """One kind of database, asked about itself."""

    #: Bytes that an event takes with all indexes, as it was measured once.
    usual_bytes: ClassVar[float]

    @abstractmethod
    def look(self, store: "Store") -> DatabaseFacts:
        """Ask it for everything.

        Raises:
            Unavailable: the database cannot be used now.
        """

    @abstractmethod
    def size(self, connection: Connection) -> int:
        """Bytes of all of it, what is free within it included."""

    @abstractmethod
    def relations(self, connection: Connection) -> Iterable[tuple[Any, Any, Any]] | None:
        """Table, index (empty: the table itself) and bytes of each of them; None if it cannot tell."""
