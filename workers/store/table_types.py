"""What all tables are made of: where they are collected, and the types of their columns."""

from typing import Any

from sqlalchemy import BigInteger, DateTime, Dialect, Integer, MetaData, Text
from sqlalchemy.types import TypeDecorator, TypeEngine


class JsonText(TypeDecorator[str]):
    """JSON as text, and in PostgreSQL as JSONB; whoever uses SQLite need not import what that takes."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """The type of the database's own."""
        if dialect.name != "postgresql":
            return Text()
        from sqlalchemy.dialects.postgresql import JSONB  # noqa: PLC0415

        return JSONB()


metadata = MetaData()
#: The one that belongs to Alembic; those that only SQLite files have are in `workers.store.sqlite_tables`.
alembic_metadata = MetaData()

#: A time in UTC; in SQLite it is text without a time zone, which sorts and compares correctly.
Moment = DateTime(timezone=True)
Json = JsonText()
#: A number that the database assigns, counting up.
Counter = BigInteger().with_variant(Integer(), "sqlite")
