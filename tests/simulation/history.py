"""What is noted of a run."""

from dataclasses import dataclass, field
from typing import NamedTuple


class Look(NamedTuple):
    """How things stand at a moment: events, seconds, bytes."""

    at: float
    backlog: int
    #: Of the oldest event that waits.
    age: float
    #: Of the backlog in the memory of all stream servers together.
    memory: float
    spooled: int
    stored: int
    #: Calls that wait for handlers.
    for_handlers: int


@dataclass(slots=True)
class History:
    """A whole run."""

    looks: list[Look] = field(default_factory=list)
    answered: int = 0
    stored: int = 0
    batches: int = 0
    batched: int = 0
    #: When nothing waited any more, after the last call or the last outage.
    empty_at: float | None = None

    @property
    def per_batch(self) -> float:
        """Events of one stream entry."""
        return self.batched / self.batches if self.batches else 0.0

    @property
    def most_backlog(self) -> int:
        """Events that waited at the worst moment."""
        return max((look.backlog for look in self.looks), default=0)

    @property
    def most_age(self) -> float:
        """Seconds that the oldest event had waited at the worst moment."""
        return max((look.age for look in self.looks), default=0.0)

    @property
    def most_memory(self) -> float:
        """Bytes of Redis' memory at the worst moment."""
        return max((look.memory for look in self.looks), default=0.0)

    @property
    def most_spooled(self) -> int:
        """Events that were in spools at the worst moment."""
        return max((look.spooled for look in self.looks), default=0)

    def backlog_at(self, moment: float) -> int:
        """Events that waited at a moment."""
        return next(look.backlog for look in self.looks if look.at >= moment)

    def fallen(self, moment: float, share: float) -> float:
        """When no more than a share of the greatest backlog was left, after a moment."""
        least = self.most_backlog * share
        return next(look.at for look in self.looks if look.at > moment and look.backlog <= least)

    def empty_after(self, moment: float) -> float:
        """Seconds from a moment until nothing waited any more."""
        return (
            next((look.at for look in self.looks if look.at >= moment and not look.backlog), float("inf")) - moment
        )
