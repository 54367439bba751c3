"""How the columns of the events read in Django, on all databases: as text, and as times in UTC."""

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.core.exceptions import ValidationError
from django.db import models
from django.utils.dateparse import parse_datetime
from django.utils.timezone import is_naive, make_aware

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

    def from_db_value(self, value: Any, _expression: Any, connection: Any) -> datetime | None:
        """What a row says."""
        found: datetime | None = parse_datetime(value) if isinstance(value, str) else value
        if found is None:
            return None
        if connection.vendor != "postgresql":  # the column has no zone; Django may say that of the connection
            return found.replace(tzinfo=UTC)
        if found.tzinfo is None:  # without USE_TZ, Django takes away the zone that PostgreSQL has told
            found = found.replace(tzinfo=ZoneInfo(connection.timezone_name))
        return found.astimezone(UTC)

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        """What a query is given: an aware time also without USE_TZ, and one that is not as Django takes it."""
        found = value if prepared else self.get_prep_value(value)
        if isinstance(found, datetime):
            found = (make_aware(found) if is_naive(found) else found).astimezone(UTC)
            if connection.vendor == "postgresql":
                return found
            if connection.vendor == "sqlite":  # compares texts, and the store's have all six digits
                return found.strftime("%Y-%m-%d %H:%M:%S.%f")
            found = found.replace(tzinfo=None)
        return connection.ops.adapt_datetimefield_value(found)
