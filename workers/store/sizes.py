"""How many bytes each table and each index of the database takes: by the server's catalogue, or SQLite's pages."""

from collections.abc import Sequence
from dataclasses import dataclass

from ingest.errors import TookTooLong
from workers.store.patience import within
from workers.store.store import Store

#: Seconds for reading all of a SQLite file, of which a disk gives some gigabytes meanwhile.
PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes of a table without its indexes, or of one index of it; partitions count as their table."""

    table: str
    #: Empty: the table itself.
    index: str
    size: int


def of_relations(store: Store, seconds: float = PATIENCE) -> Sequence[Size] | None:
    """The largest first; None where the database cannot tell, or not in so many seconds.

    Raises:
        Unavailable: the database cannot be used now.
    """
    store.hurry()
    try:
        with within(seconds), store.reading() as connection:
            rows = store.backend.facts.relations(connection)
    except TookTooLong:
        return None
    if rows is None:  # a SQLite that was made without it
        return None
    sizes = [Size(str(table), str(index), int(size)) for table, index, size in rows if size]
    return sorted(sizes, key=lambda one: -one.size)


def of_database(store: Store) -> int:
    """Bytes of all of it, what is free within it included.

    Raises:
        Unavailable: the database cannot be used now, or cannot tell.
    """
    with store.reading() as connection:
        return store.backend.facts.size(connection)
