"""What became of one message: the row of the view `message_stats`, found by an index in each kind of database.

The view itself has an index to look a message up by in PostgreSQL only; `Store` knows the other databases' own.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, func, literal_column, select

from workers.store import tables
from workers.store.filters import Filter
from workers.store.store import Store
from workers.store.view_queries import MESSAGE
from workers.store.views import message_stats

_MOMENT = tables.events.c.occurred_at.type


def message(store: Store, message_id: str) -> dict[str, str | int | datetime | None] | None:
    """The columns of `message_stats` by their names; None if no event of the store is of this message.

    Raises:
        Unavailable: the database cannot be used now.
    """
    columns = [_column(name, expression) for name, expression in MESSAGE.items()]
    wanted = Filter(message_id=message_id)
    query = select(func.count(), *columns).where(*wanted.conditions(store.backend))
    with store.reading(by_message=True) as connection:
        number, *values = connection.execute(query.select_from(tables.events)).one()
    return {"message_id": message_id, **dict(zip(MESSAGE, values, strict=True))} if number else None


def _column(name: str, expression: str) -> ColumnElement[Any]:
    is_moment = isinstance(message_stats.c[name].type, type(_MOMENT))
    return literal_column(expression, _MOMENT if is_moment else message_stats.c[name].type)
