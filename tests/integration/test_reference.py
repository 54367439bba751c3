"""The reference says of each column of events what type it has, as each kind of database tells it."""

import re

from sqlalchemy import Connection, text

from tests.support.reference.events import types
from workers.store.store import Store
from workers.store.tables import events

_TOLD = {
    "sqlite": "SELECT name, type FROM pragma_table_info('events')",
    "postgresql": "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'events'",
    "mysql": "SELECT column_name, column_type FROM information_schema.columns "
    "WHERE table_name = 'events' AND table_schema = DATABASE()",
}
KINDS = tuple(_TOLD)


def told(connection: Connection) -> dict[str, str]:
    rows = connection.execute(text(_TOLD[connection.dialect.name]))
    return {name: re.sub(r"^bigint\(\d+\)", "bigint", kind).upper() for name, kind in rows}


def test_the_reference_says_the_types_of_columns_as_the_database_does(store: Store) -> None:
    with store.engine.connect() as connection:
        there, place = told(connection), KINDS.index(connection.dialect.name)
    assert {column.name: types(column)[place] for column in events.columns}.items() <= there.items()
