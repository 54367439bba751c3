"""What a database holds of people: every row of every table as one text."""

from collections.abc import Iterator
from urllib.parse import unquote_plus

from sqlalchemy import MetaData

from ingest.batch import unpack
from workers.store.store import Store

#: A key of pseudonyms, and another one.
KEY, OTHER_KEY = "0123456789abcdef" * 2, "fedcba9876543210" * 2


def everything_written(store: Store) -> str:
    """All rows of all tables that there are, also those that only one kind of database has."""
    return "\n".join(_texts(store)).lower()


def _texts(store: Store) -> Iterator[str]:
    found = MetaData()
    found.reflect(store.engine)
    with store.engine.connect() as connection:
        for table in found.tables.values():
            for row in connection.execute(table.select()).mappings():
                for name, value in row.items():
                    if name == "packed":
                        for record in unpack(bytes(value)):
                            yield f"{record.target!r} {unquote_plus(repr(record.body))} {record.headers!r}"
                    else:
                        yield (
                            bytes(value).decode("latin-1") if isinstance(value, bytes | memoryview) else str(value)
                        )
