"""How the columns of the events read in Django, on all databases: as text, and as times in UTC."""

from datetime import UTC, datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from django.utils.dateparse import parse_datetime

#: Bytes of a delivery id.
SIZE = 12


class DeliveryIdField(models.Field):
    """A delivery id: 24 hexadecimal digits, as the command line shows it, which are bytes in the database."""

    description = "A delivery id"

    def db_type(self, connection: Any) -> str:
        """As the migrations of the program create it."""
        return {"postgresql": "bytea", "mysql": f"varbinary({SIZE})"}.get(connection.vendor, "BLOB")

    def from_db_value(self, value: Any, *_: Any) -> str | None:
        """What a row says."""
        return None if value is None else bytes(value).hex()

    def to_python(self, value: Any) -> str | None:
        """What somebody typed, or the bytes that a handler was given.

        Raises:
            ValidationError: it is no delivery id.
        """
        if value is None:
            return None
        try:
            found = bytes(value) if isinstance(value, bytes | memoryview) else bytes.fromhex(str(value))
        except ValueError:
            found = b""
        if len(found) != SIZE:
            raise ValidationError(f"{value!r} is no delivery id: it has {2 * SIZE} hexadecimal digits.")
        return found.hex()

    def get_prep_value(self, value: Any) -> bytes | None:
        """What a query is given."""
        found = self.to_python(value)
        return None if found is None else bytes.fromhex(found)


class MomentField(models.DateTimeField):
    """A time, in UTC and aware whatever `USE_TZ` and `TIME_ZONE` say."""

    def from_db_value(self, value: Any, *_: Any) -> datetime | None:
        """What a row says."""
        found: datetime | None = parse_datetime(value) if isinstance(value, str) else value
        if found is None:
            return None
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
