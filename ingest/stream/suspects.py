"""How often a batch was claimed by a drain that then died, and which of its calls were being decoded.

Kept in Redis, because whoever dies of a call cannot tell. Only batches that were taken over are counted, so this
costs the others nothing; a drain that breaks off in good order takes back what it has counted.
"""

import logging
from enum import StrEnum
from typing import NamedTuple

import redis
from redis.exceptions import OutOfMemoryError

from ingest.stream.keys import Keys

log = logging.getLogger(__name__)

#: Seconds after which counts are forgotten if none was made meanwhile: far more than anything takes to come back.
FORGET = 7 * 86_400


class Doing(StrEnum):
    """What a drain does with a call: which of these killed it says how likely it was that call's fault."""

    UNPACKING = "unpacking"
    READING = "reading"
    STORING = "storing"
    #: Nothing: it broke off in good order, and another goes on here.
    NOTHING = "nothing"


class Place(NamedTuple):
    """Which of a batch's calls a drain was at, counted from 0, and what it did with it."""

    call: int
    doing: Doing


class Suspects:
    """The counts of one partition's batches."""

    def __init__(self, client: redis.Redis, partition: int = 0) -> None:
        self._client = client
        self._key = Keys(partition).suspects

    def times(self, batch: bytes) -> int:
        """How often a batch was taken over and not finished."""
        return int(self._client.hget(self._key, batch.decode()) or 0)

    def begin(self, batch: bytes) -> int:
        """Count that work on a batch that was taken over begins; returns how often it did, this time included.

        A Redis that is too full to count lets the batch begin like one that is taken over for the first time.
        """
        try:
            with self._client.pipeline(transaction=False) as pipeline:
                pipeline.hincrby(self._key, batch.decode(), 1)
                pipeline.expire(self._key, FORGET)
                return int(pipeline.execute()[0])
        except OutOfMemoryError as error:
            log.warning("could not count that a batch was taken over: %s", error)
            return 1

    def excuse(self, batch: bytes) -> None:
        """Take back the last count: it was not the batch's fault that the work was not finished."""
        self._client.hincrby(self._key, batch.decode(), -1)

    def place(self, batch: bytes) -> Place | None:
        """Where the last drain was that worked on a batch call by call; None if there was none."""
        noted = self._client.hget(self._key, _place_of(batch))
        if noted is None:
            return None
        call, _, doing = noted.decode().partition(" ")  # type: ignore[union-attr]
        return Place(int(call), Doing(doing))

    def note(self, batch: bytes, place: Place) -> None:
        """Note where this drain is."""
        try:
            self._client.hset(self._key, _place_of(batch), f"{place.call} {place.doing}")
        except OutOfMemoryError as error:
            log.warning("could not note which call of a batch comes next: %s", error)

    def clear(self, batch: bytes) -> None:
        """Forget a batch, which is done."""
        self._client.hdel(self._key, batch.decode(), _place_of(batch))


def _place_of(batch: bytes) -> str:
    return f"{batch.decode()} at"
