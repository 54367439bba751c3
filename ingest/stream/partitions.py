"""All partitions of an installation, for who looks at them, or wakes workers for them.

Each is on a server of its own, and any of these may be away: then the others are looked at all the same. One that
failed is not asked again for a while, so that a server that hangs costs its time-out once. Where there is but one
partition, its errors are the caller's, and it is asked each time.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import redis

from ingest.stream.consumer import Consumer, Pulse

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Seconds for which a partition is not asked again that failed.
AWAY_FOR = 15.0


class Partition(NamedTuple):
    """One of them: the name of its server, and how to get there."""

    name: str
    client: redis.Redis
    #: Whether endpoints write to it.
    takes: bool = True
    #: Whether rq's queues are there.
    has_queues: bool = False


class Partitions:
    """The partitions, that of the queues always among them."""

    def __init__(self, partitions: Sequence[Partition], clock: Callable[[], float] = time.monotonic) -> None:
        self._all = tuple(partitions)
        self._clock = clock
        #: By name, when a partition failed and why.
        self._away: dict[str, tuple[float, redis.RedisError]] = {}

    @classmethod
    def alone(cls, client: redis.Redis) -> "Partitions":
        """That of one server."""
        return cls([Partition("", client, has_queues=True)])

    def __iter__(self) -> Iterator[Partition]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    @property
    def queues(self) -> str:
        """The name of the server where rq's queues are."""
        return next(partition.name for partition in self._all if partition.has_queues)

    @property
    def are_several(self) -> bool:
        """Whether there is more than one."""
        return len(self._all) > 1

    def each(self, ask: Callable[[Consumer], T]) -> dict[str, T]:
        """What each one says that answers, by its name.

        Raises:
            redis.RedisError: none answers.
        """
        found, error = self.looked_at(lambda partition: ask(Consumer(partition.client)))
        if error is not None and not found:
            raise error
        return found

    def every(self, ask: Callable[[Consumer], T]) -> list[T]:
        """What each one says.

        Raises:
            redis.RedisError: one of them does not answer.
        """
        found, error = self.looked_at(lambda partition: ask(Consumer(partition.client)))
        if error is not None:
            raise error
        return list(found.values())

    def looked_at(self, ask: Callable[[Partition], T]) -> tuple[dict[str, T], redis.RedisError | None]:
        """What each one says that answers, by its name, and why the first of the others does not."""
        found: dict[str, T] = {}
        first: redis.RedisError | None = None
        for partition in self._all:
            if (known := self.away(partition.name)) is None:
                try:
                    found[partition.name] = ask(partition)
                    continue
                except redis.RedisError as error:
                    known = error
                    if self.are_several:
                        log.debug("the stream server %s does not answer: %s", partition.name, error)
                        self._away[partition.name] = self._clock(), error
            first = first or known
        return found, first

    def away(self, name: str) -> redis.RedisError | None:
        """Why a partition is not asked now; None if it is."""
        since, error = self._away.get(name, (0.0, None))
        return error if error is not None and self._clock() - since < AWAY_FOR else None

    # --- what is asked most ---

    def batches(self) -> int:
        """Batches in the streams of those that answer."""
        return sum(self.each(Consumer.batches).values())

    def backlog(self) -> int:
        """Events in them."""
        return sum(self.each(Consumer.backlog).values())

    def pending(self) -> int:
        """Batches that drains have claimed."""
        return sum(self.each(Consumer.pending).values())

    def oldest_age(self) -> float | None:
        """Seconds since the oldest batch came in; None when there is none."""
        ages = self.each(Consumer.oldest_age).values()
        return max((age for age in ages if age is not None), default=None)


def together(pulses: Sequence[Pulse]) -> Pulse:
    """How several streams stand as one, at the latest of these moments."""
    return Pulse(
        max(pulse.at for pulse in pulses),
        sum(pulse.accepted for pulse in pulses),
        sum(pulse.drained for pulse in pulses),
        sum(pulse.backlog for pulse in pulses),
        max(pulse.age for pulse in pulses),
    )
