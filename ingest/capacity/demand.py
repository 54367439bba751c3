"""What is asked of a plan, and what it consists of."""

from dataclasses import dataclass
from typing import NamedTuple

from ingest.capacity.figures import Figures


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What is to be planned for: events per second, seconds of an outage of the database, bytes."""

    rate: float
    outage: float = 3600.0
    #: Events of a day; None: the rate all day.
    per_day: float | None = None
    #: `sqlite`, `postgresql` or `mariadb`; None: whichever fits.
    database: str | None = None
    #: Handlers that are called with each event.
    handlers: int = 0
    #: Memory of one Redis server (`maxmemory`).
    memory: float = 64e9
    #: Disk of each server; None: as large as it takes.
    disk: float | None = None

    @property
    def daily(self) -> float:
        """Events of a day."""
        return self.rate * 86400 if self.per_day is None else self.per_day

    @property
    def backlog(self) -> float:
        """Events that wait at the end of the outage: no more than come on so many days."""
        return min(self.rate * self.outage, self.daily * max(1.0, self.outage / 86400))

    @property
    def working_rate(self) -> float:
        """Events per second that are stored while a backlog is made up for: in as long as it took to gather."""
        return self.rate * (2 if self.outage else 1)


class Part(NamedTuple):
    """One part of the whole: what it takes, and how that comes about."""

    name: str
    needs: str
    lines: tuple[str, ...]
    #: The same in figures, for programs.
    values: dict[str, float]


class Limit(NamedTuple):
    """When a part of the plan is full: at so many times what was planned for, and what happens then."""

    part: str
    factor: float
    at: str
    then: str


class Plan(NamedTuple):
    """The whole."""

    demand: Demand
    figures: Figures
    database: str
    parts: tuple[Part, ...]
    #: What breaks first comes first.
    limits: tuple[Limit, ...]
    notes: tuple[str, ...]
