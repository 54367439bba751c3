"""What the database says of itself: how large it is, and what it does; what the console shows of it.

In SQLite, how much of the file each table takes is only known by reading all of it: `measured`.
"""

from collections import Counter

from sqlalchemy import func, select

from ingest.errors import TookTooLong, Unavailable
from workers.store import tables
from workers.store.facts import DatabaseFacts, TableFacts
from workers.store.patience import within
from workers.store.store import Store


def look(store: Store) -> DatabaseFacts:
    """Ask it.

    Raises:
        Unavailable: the database cannot be used now.
    """
    facts = store.backend.facts.look(store)
    if store.is_counted:
        facts.months = _months(store)
    return facts


def _months(store: Store) -> list[tuple[str, int]]:
    columns = tables.event_counts.c
    # By the hour, which is their order: by the month, they would have to be sorted first.
    query = select(columns.hour, func.sum(columns.number)).group_by(columns.hour)
    months: Counter[str] = Counter()
    with store.reading() as connection:
        for hour, number in connection.execute(query):
            months[hour[: len("2026-11")]] += int(number)
    return sorted(((name, number) for name, number in months.items() if number), reverse=True)


def measured(store: Store, seconds: float) -> list[TableFacts] | None:
    """How many bytes of SQLite's file each table takes, with its indexes: reads all of the file.

    None if this SQLite cannot tell. Only a store that was told to `hurry` gives up in time.

    Raises:
        Unavailable: it takes longer than so many seconds, or the database cannot be used now.
    """
    try:
        with within(seconds), store.reading() as connection:
            relations = store.backend.facts.relations(connection)
    except TookTooLong:
        raise Unavailable(f"That takes longer than {seconds:.0f} s: the file is too large for it.") from None
    if relations is None:
        return None
    sizes: Counter[str] = Counter()
    for table, _, size in relations:
        sizes[str(table)] += int(size)
    return [TableFacts(name, size, None) for name, size in sizes.most_common()]
