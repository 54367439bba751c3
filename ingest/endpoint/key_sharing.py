"""What endpoint processes tell each other, through Redis, so that DNS may fail: keys, and what waits for one."""

import asyncio
import logging
import math
import time
from typing import NamedTuple

from redis import RedisError

from ingest.copernica.public_keys import STALE
from ingest.endpoint.budget import UnverifiedBudget
from ingest.jobs import JobScheduler
from ingest.spool import Spool
from ingest.stream.consumer import Consumer
from ingest.stream.known_keys import DatedKey, KnownKeys
from ingest.stream.partitions import Partitions
from ingest.verification import Verifier

log = logging.getLogger(__name__)

#: Seconds from when a call is kept until it is surely in the stream or the spool.
SETTLING = 10.0


class Ours(NamedTuple):
    """What this process knows: keys, and since when others are withdrawn (Unix seconds)."""

    known: dict[str, DatedKey]
    withdrawn: dict[str, float]


class Shared(NamedTuple):
    """What Redis says: the keys of others, what waits in the database, and the age of the oldest batch."""

    keys: dict[str, DatedKey]
    calls: int
    size: int
    oldest_age: float | None


class KeySharing:
    """One process's part in it."""

    def __init__(
        self,
        verifier: Verifier,
        budget: UnverifiedBudget,
        known_keys: KnownKeys,
        scheduler: JobScheduler,
        partitions: Partitions,
    ) -> None:
        self._verifier = verifier
        self._budget = budget
        self._known_keys = known_keys
        self._scheduler = scheduler
        self._partitions = partitions

    async def refresh(self, spool: Spool | None) -> None:
        """Tell the others what we know, and learn what they do; does nothing while Redis is unavailable."""
        self.learn(await asyncio.to_thread(self.exchange, self.ours()), spool)

    def ours(self) -> Ours:
        """What we know. In the event loop."""
        return Ours(self._verifier.known_keys(), self._verifier.withdrawn_keys())

    def exchange(self, ours: Ours) -> Shared | None:
        """Tell the others; returns what they know, None while Redis is unavailable. In a thread."""
        try:
            return self._exchange(ours)
        except RedisError as error:
            log.debug("keys are not shared now: %s", error)
        except Exception:  # whatever lies in Redis, maintenance must go on
            log.exception("keys cannot be shared")
        return None

    def learn(self, shared: Shared | None, spool: Spool | None) -> None:
        """Take over what the others know. In the event loop."""
        if shared is None:
            return
        self._verifier.learn(shared.keys)
        ages = [shared.oldest_age or 0.0, (spool and spool.oldest_age) or 0.0, SETTLING]
        self._budget.settle(shared.calls, shared.size, time.time() - max(ages))

    def _exchange(self, ours: Ours) -> Shared:
        keys = self._known_keys.exchange(ours.known, time.time() - STALE, ours.withdrawn)
        # Redis sends the whole batch along with its age, so it is asked for only when somebody wants to know.
        oldest_age = self._oldest_age() if self._budget.has_underway else None
        return Shared(keys, *self._scheduler.noted_unverified(), oldest_age)

    def _oldest_age(self) -> float | None:
        """The age of the oldest batch that may wait anywhere: without end, if a stream server does not say."""
        ages = self._partitions.each(Consumer.oldest_age)
        if len(ages) < len(self._partitions):
            return math.inf
        return max((age for age in ages.values() if age is not None), default=None)
