"""What endpoint processes surely took, and what they could not keep: each says so in Redis, again and again.

A worker takes it from there (`workers.gaps`). Times are by the clock of Redis, which all processes share, and
beside it by the clock of the machine since its start, which does not jump. Nothing here must last: a process says
the same again after Redis has lost it, until it has ended.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Self, cast

import orjson
import redis

from ingest.stream.clock import redis_time
from ingest.stream.keys import Keys

#: What a statement is about: a period in which calls were surely taken; calls that were answered 503 since nothing
#: could keep them; calls that had been kept in the spool, and were lost there.
COVERED, ANSWERED_503, SPOOL_DAMAGED = "covered", "answered-503", "spool-damaged"
#: How a period ended: the process stopped in good order, or it stood still for a while.
STOPPED, FROZEN = "stopped", "frozen"
#: Statements that are kept while no worker takes them; of more, those go that ended first. A process makes one at
#: its start and one for each standstill, and an endpoint that dies at every start starts eight in five seconds.
MOST = 2000


class Statement(NamedTuple):
    """One period of one process. It is replaced by what the process says later of the same name."""

    name: str
    kind: str
    #: µs since 1970 by the clock of Redis; the period goes up to `through`.
    since: int
    through: int
    #: The same in µs since the start of the machine …
    up_since: int
    up_through: int
    #: … that has this name, if that is known.
    boot: str | None = None
    #: How it ended, if that is known: `STOPPED` or `FROZEN`.
    ended: str | None = None
    #: For what was lost: how many calls; 0 if unknown.
    calls: int = 0
    #: When this was said, by both clocks.
    at: int = 0
    up_at: int = 0
    #: Whether another process says it, from what the dead one had noted on disk.
    is_found: bool = False

    def as_json(self) -> bytes:
        """As it is kept in Redis, and on disk."""
        return orjson.dumps(self._asdict())

    @classmethod
    def from_json(cls, text: bytes) -> Self | None:
        """Read it; None if it is none. Names that a later release adds are passed over."""
        try:
            known = {name: value for name, value in orjson.loads(text).items() if name in cls._fields}
            read = cls(**known)
            numbers = (read.since, read.through, read.up_since, read.up_through, read.calls, read.at, read.up_at)
        except (AttributeError, TypeError, ValueError):
            return None
        return read if all(type(number) is int for number in numbers) else None


class Coverage:
    """The statements of all processes."""

    def __init__(self, client: redis.Redis, partition: int = 0) -> None:
        self._client = client
        self._key = Keys(partition).coverage

    def time(self) -> int:
        """µs since 1970 by the clock that statements are made by."""
        return redis_time(self._client)

    def state(self, statements: Iterable[Statement]) -> None:
        """Say this, in place of what was said under the same names."""
        if said := {one.name: one.as_json() for one in statements}:
            self._client.hset(self._key, mapping=cast(Mapping[Any, Any], said))

    def statements(self) -> list[Statement]:
        """Everything that was said and not forgotten, in no order."""
        answer = cast(dict[bytes, bytes], self._client.hgetall(self._key))
        return [one for text in answer.values() if (one := Statement.from_json(text)) is not None]

    def forget(self, names: Iterable[str]) -> None:
        """Forget what was said under these names."""
        if names := list(names):
            self._client.hdel(self._key, *names)

    def trim(self, most: int = MOST) -> None:
        """Forget what ended first, if nobody has taken it for long and there is too much of it."""
        said = self.statements()
        if len(said) > most:
            oldest = sorted(said, key=lambda one: one.through)
            self.forget(one.name for one in oldest[: math.ceil(len(oldest) - most * 0.9)])
