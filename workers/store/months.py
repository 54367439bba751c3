"""Months, as the partitions of events have them in PostgreSQL and MariaDB."""

from datetime import UTC, datetime
from typing import NamedTuple, Self

from workers.store import tables

#: The first year with a credible delivery id.
FIRST_YEAR = 2010
#: How many months are made ahead: a year, so that a role which may not make any is good for a year.
MONTHS_AHEAD = 12
#: Months ahead below which `check` says that it is time to make more.
FEW_MONTHS = 2
#: Events that are moved to the partition of their month while others want to read: a third of a second's work.
MOVED_MEANWHILE = 10_000


class Month(NamedTuple):
    """A month in UTC."""

    year: int
    month: int

    @classmethod
    def now(cls) -> Self:
        """The current month."""
        now = datetime.now(UTC)
        return cls(now.year, now.month)

    @classmethod
    def of(cls, second: int) -> Self:
        """The month of a time in Unix seconds."""
        moment = datetime.fromtimestamp(second, UTC)
        return cls(moment.year, moment.month)

    @classmethod
    def of_id(cls, delivery_id: bytes) -> Self:
        """The month of the time that a delivery id begins with."""
        return cls.of(int.from_bytes(delivery_id[:4], "big"))

    def later(self, months: int) -> "Month":
        """The month that is `months` later."""
        count = self.year * 12 + self.month - 1 + months
        return Month(count // 12, count % 12 + 1)

    @property
    def first_id(self) -> bytes:
        """The smallest delivery id that this month can have, as far as its time goes."""
        return int(datetime(self.year, self.month, 1, tzinfo=UTC).timestamp()).to_bytes(4, "big")

    @property
    def partition(self) -> str:
        """The name of its table."""
        return f"{tables.events.name}_{self.year:04d}_{self.month:02d}"

    def __str__(self) -> str:
        return f"{self.year:04d}-{self.month:02d}"


FIRST_MONTH = Month(FIRST_YEAR, 1)


def credible(month: Month) -> bool:
    """Whether an id of this month can be genuine."""
    return FIRST_MONTH <= month <= Month.now().later(MONTHS_AHEAD)
