"""Which handlers there are by what is kept of them, whether or not a worker has them still."""

from collections.abc import Iterable

from sqlalchemy import Table, func, select

from workers.store.console_tables import handler_runs
from workers.store.store import Store
from workers.store.tables import dead_letters, handoffs

#: What is kept of handlers. Each begins an index with the handler.
KEPT = (handoffs, dead_letters, handler_runs)


def with_work(store: Store, tables: Iterable[Table] = KEPT) -> list[str]:
    """The names in these tables, in order: by leaps from one to the next, as they are few and the rows many."""
    found: set[str] = set()
    with store.reading() as connection:
        for table in tables:
            first = select(func.min(table.c.handler))
            name = connection.execute(first).scalar()
            while name is not None:
                found.add(name)
                name = connection.execute(first.where(table.c.handler > name)).scalar()
    return sorted(found)
