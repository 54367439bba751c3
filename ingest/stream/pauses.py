"""What is paused by hand: queues and handlers whose work waits until somebody resumes it, or until a time.

One hash in Redis (`Keys.paused`): `queue:NAME` or `handler:NAME` → the time at which that ends in µs since 1970 by
the server's clock, or nothing if it does not end by itself. It is on disk with everything else in Redis, so it
survives restarts; a Redis that was emptied has forgotten it, and the work goes on.
"""

from collections.abc import Iterable
from typing import NamedTuple, cast

import redis

from ingest.stream.clock import redis_time
from ingest.stream.keys import Keys

#: What can be paused, and how its names begin.
QUEUE, HANDLER = "queue:", "handler:"


class Pause(NamedTuple):
    """Something that is paused: its name behind `queue:` or `handler:`, and when that ends, in µs since 1970."""

    name: str
    until: int | None


class Pauses:
    """What is paused; read by every job, and by those that run for long now and then."""

    def __init__(self, client: redis.Redis, partition: int = 0) -> None:
        self._client = client
        self._key = Keys(partition).paused

    def add(self, names: Iterable[str], until: int | None = None) -> None:
        """Pause these, until a time in µs since 1970 by the server's clock, or until they are resumed."""
        self._client.hset(self._key, mapping={name: "" if until is None else str(until) for name in names})

    def remove(self, names: Iterable[str]) -> list[str]:
        """Resume these; returns those of them that were paused."""
        there = {pause.name for pause in self.all()}
        found = sorted(there.intersection(names))
        if found:
            self._client.hdel(self._key, *found)
        return found

    def all(self) -> list[Pause]:
        """What is paused now, in the order of the names."""
        kept = cast(dict[bytes, bytes], self._client.hgetall(self._key))
        if not kept:
            return []
        now = redis_time(self._client)
        pauses = [Pause(name.decode(), int(until) if until else None) for name, until in sorted(kept.items())]
        # What is over stays in the hash: to delete it here could delete a pause that somebody adds at this moment.
        return [pause for pause in pauses if pause.until is None or pause.until > now]

    def of(self, name: str) -> Pause | None:
        """Whether this one is paused, and until when."""
        return next((pause for pause in self.all() if pause.name == name), None)
