"""Copernica's public keys: DKIM records in DNS, looked up when needed and never pinned, since they rotate monthly.

A name below `copernica.com` is looked up once for all who wait for it, remembered for as long as DNS says (within
limits), and looked up again when a signature fails with the key we have, for it may have been replaced. A name
that does not exist is rejected. When DNS gives no answer, a key that was valid stays so for a while; for one never
seen the caller gets `KeyUnavailable`, which says whether that is a reason to keep the call for later: only if DNS
as a whole is failing, not if it fails for this one name, nor if we are busy.

Anybody can invent names. They wait in a queue of their own, bounded in number, time and rate, so a flood of them
holds up nothing but itself: names that had a key before never wait in it.
"""

import asyncio
import math
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from ingest.copernica import dkim
from ingest.copernica.events import DAY
from ingest.copernica.key_sources import ABSENT_TTL, Source
from ingest.errors import CallRejected, KeyUnavailable, Reason

#: Fewest and most seconds that an answer counts, whatever its TTL says: no lookup per call, and no day-old keys.
TTL_MIN = 60
TTL_MAX = 3600
#: Seconds that a failed lookup counts, so that not every call asks a resolver in trouble.
FAILED_TTL = 5
#: Seconds between two looks at whether DNS answers, while nothing is looked up: monitoring is to know of it before
#: the first call with a new key comes.
WATCH_EVERY = 30
#: Seconds that a valid key may still be used when DNS has stopped answering: a week, of a life of a month.
STALE = 7 * DAY
#: Seconds between two lookups of such a key.
STALE_STEP = 60
#: Seconds that a call waits for DNS to confirm such a key, before it is used without.
STALE_WAIT = 1.0
#: Seconds that a key which was replaced is still valid, for calls that were on their way.
PREVIOUS = 300
#: Seconds between two lookups of a name because a signature failed with the key we have. A forger can use up these
#: lookups, and a replaced key then goes unnoticed for as long, so this is short.
RENEW_EVERY = 10
#: Most lookups at once of names that never had a key, most of such names that wait for one of these places, and
#: seconds that they wait.
LOOKUPS = 16
LOOKUPS_WAITING = 1024
QUEUE_WAIT = 2.0
#: Most lookups of such names per second: a burst of calls may bring a new name or two, never hundreds.
LOOKUPS_PER_SECOND = 200
#: Most names remembered, valid and failed ones apart, so that invented names cannot push out real ones.
KEYS_MAX = 256
FAILURES_MAX = 4096


#: What is said when a name found no place in the queue.
CROWDED = "Too many names are being looked up."


class KnownKey(NamedTuple):
    """A key that DNS has confirmed, for others to know it: the name, the key and the age of that in seconds."""

    name: str
    key: RSAPublicKey
    age: float


@dataclass(slots=True)
class _Good:
    """A key that DNS has confirmed; times are on the monotonic clock."""

    key: RSAPublicKey
    fresh_until: float
    #: When DNS last confirmed it.
    confirmed: float
    #: When it was last looked up because a signature failed.
    renewed: float = -math.inf
    #: The key before this one, and until when its signatures are accepted.
    previous: RSAPublicKey | None = None
    previous_until: float = -math.inf

    @property
    def usable(self) -> bool:
        """Whether it may still be used if DNS does not answer."""
        return time.monotonic() < self.confirmed + STALE


class _Failure(NamedTuple):
    """Why there is no key at a name, until when that counts (monotonic), and `KeyUnavailable.plausible`."""

    until: float
    why: Reason | str
    plausible: bool = False

    def raised(self) -> CallRejected | KeyUnavailable:
        """Always a new exception: one that is raised repeatedly keeps the frames of all its callers."""
        if isinstance(self.why, Reason):
            return CallRejected(self.why)
        return KeyUnavailable(self.why, self.plausible)


class KeyRing:
    """The keys we know, and how to get others."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._good: OrderedDict[str, _Good] = OrderedDict()
        self._failed: OrderedDict[str, _Failure] = OrderedDict()
        #: Names whose key DNS has withdrawn, and when (monotonic): what others knew before that is not learned.
        self._withdrawn: OrderedDict[str, float] = OrderedDict()
        self._lookups: dict[str, asyncio.Task[RSAPublicKey]] = {}
        self._queue = _Queue()
        #: Whether DNS answers at all, as it was found out last, and until when that counts.
        self._answers = True
        self._answers_until = -math.inf
        self._probe: asyncio.Task[bool] | None = None

    def fresh(self, name: str) -> RSAPublicKey | None:
        """The key at a name, if it is known and need not be looked up, as for nearly every call."""
        good = self._good.get(name)
        return good.key if good is not None and time.monotonic() < good.fresh_until else None

    async def get(self, name: str) -> RSAPublicKey:
        """The key at a name.

        Raises:
            CallRejected: there is none, or none that can be used.
            KeyUnavailable: DNS does not answer at the moment, or too many names are being looked up.
        """
        if key := self.fresh(name):
            return key
        good = self._good.get(name)
        try:
            self._raise_if_failed(name)
            lookup = self._look_up(name)
            if good is not None and good.usable:
                async with asyncio.timeout(STALE_WAIT):
                    return await lookup
            return await lookup
        except (KeyUnavailable, TimeoutError) as error:
            good = self._good.get(name)
            if good is not None and good.usable:
                return good.key
            if isinstance(error, TimeoutError):
                raise KeyUnavailable("DNS takes too long.", plausible=True) from None
            raise

    def previous(self, name: str) -> RSAPublicKey | None:
        """The key that was replaced a moment ago: calls that it signed may still be on their way."""
        good = self._good.get(name)
        return good.previous if good is not None and time.monotonic() < good.previous_until else None

    async def renewed(self, name: str, failed: RSAPublicKey) -> RSAPublicKey | None:
        """The key that has replaced one with which a signature failed; None if that is still the current one.

        Raises:
            CallRejected: there is no key any more.
            KeyUnavailable: the key cannot be looked up now.
        """
        good = self._good.get(name)
        if good is not None and good.key is not failed:
            return good.key  # another call has found it
        if good is None or not self.may_renew(name):
            return None
        good.renewed = time.monotonic()
        try:
            key = await self._look_up(name)
        except KeyUnavailable:
            good.renewed = time.monotonic() - RENEW_EVERY + FAILED_TTL
            raise
        return None if key.public_numbers() == failed.public_numbers() else key

    def may_renew(self, name: str) -> bool:
        """Whether a failed signature justifies a lookup, or waiting for one that is in progress."""
        good = self._good.get(name)
        return good is None or name in self._lookups or time.monotonic() >= good.renewed + RENEW_EVERY

    def known(self) -> list[KnownKey]:
        """The keys that DNS has confirmed and that may be used if it does not answer."""
        now = time.monotonic()
        return [KnownKey(name, good.key, now - good.confirmed) for name, good in self._good.items() if good.usable]

    def withdrawn(self) -> dict[str, float]:
        """The names whose key DNS has withdrawn, and how many seconds ago."""
        now = time.monotonic()
        return {name: now - since for name, since in self._withdrawn.items()}

    def learn(self, keys: Iterable[KnownKey]) -> None:
        """Take over what others know: to be confirmed before it is used, unless DNS gives no answer."""
        for name, key, age in keys:
            confirmed = time.monotonic() - max(age, 0.0)
            if confirmed <= self._withdrawn.get(name, -math.inf):
                continue
            known = self._good.get(name)
            if known is None:
                self._remember(name, _Good(key, fresh_until=-math.inf, confirmed=confirmed))
            elif known.key.public_numbers() == key.public_numbers():
                known.confirmed = max(known.confirmed, confirmed)

    def _raise_if_failed(self, name: str) -> None:
        failure = self._failed.get(name)
        if failure is None:
            return
        if time.monotonic() < failure.until:
            raise failure.raised()
        del self._failed[name]

    async def _look_up(self, name: str) -> RSAPublicKey:
        task = self._lookups.get(name)
        if task is None:
            queue = None if name in self._good else self._queue
            if queue is not None:
                queue.join()
            task = asyncio.create_task(self._look_up_alone(name, queue))
            self._lookups[name] = task
            task.add_done_callback(partial(self._looked_up, name, queue))
        try:
            return await asyncio.shield(task)  # a caller who is cancelled must not end it for the others
        finally:
            del task  # or its error, whose traceback holds this frame, stays until garbage is collected

    def _looked_up(self, name: str, queue: "_Queue | None", task: "asyncio.Task[RSAPublicKey]") -> None:
        self._lookups.pop(name, None)
        if queue is not None:
            queue.leave()
        if not task.cancelled():
            task.exception()  # or asyncio complains, should every caller have left

    async def _look_up_alone(self, name: str, queue: "_Queue | None") -> RSAPublicKey:
        try:
            async with queue.place() if queue else nullcontext():
                records = await self._source.records(name)
            key = dkim.usable(records.texts).public
        except TimeoutError:  # nothing was found out about the name, so there is nothing to remember
            raise KeyUnavailable(CROWDED) from None
        except KeyUnavailable as error:
            plausible = name in self._good or not await self._dns_answers()
            self._remember_failure(name, _Failure(time.monotonic() + FAILED_TTL, str(error), plausible))
            self._extend(name)
            raise KeyUnavailable(str(error), plausible) from None
        except CallRejected as error:
            if self._good.pop(name, None):
                self._withdraw(name)
            self._remember_failure(name, _Failure(time.monotonic() + ABSENT_TTL, error.reason))
            raise
        return self._confirm(name, key, records.ttl)

    def _confirm(self, name: str, key: RSAPublicKey, ttl: int) -> RSAPublicKey:
        now = time.monotonic()
        good = _Good(key, now + min(max(ttl, TTL_MIN), TTL_MAX), now)
        if before := self._good.pop(name, None):
            good.renewed = before.renewed
            if before.key.public_numbers() == key.public_numbers():
                good.key, good.previous, good.previous_until = before.key, before.previous, before.previous_until
            elif before.fresh_until > -math.inf:  # one that we only learned from others was never ours
                good.previous, good.previous_until = before.key, now + PREVIOUS
        self._failed.pop(name, None)
        self._withdrawn.pop(name, None)
        self._remember(name, good)
        return good.key

    def _withdraw(self, name: str) -> None:
        self._withdrawn[name] = time.monotonic()
        while len(self._withdrawn) > KEYS_MAX:
            self._withdrawn.popitem(last=False)

    def _remember(self, name: str, good: _Good) -> None:
        self._good[name] = good
        while len(self._good) > KEYS_MAX:
            self._good.popitem(last=False)

    def _extend(self, name: str) -> None:
        """DNS gives no answer: go on with a valid key, and let no call wait for the next attempt."""
        good = self._good.get(name)
        now = time.monotonic()
        if good is not None and good.usable:
            good.fresh_until = min(now + STALE_STEP, good.confirmed + STALE)

    def _remember_failure(self, name: str, failure: _Failure) -> None:
        self._failed[name] = failure
        self._failed.move_to_end(name)
        while len(self._failed) > FAILURES_MAX:
            self._failed.popitem(last=False)

    async def watch(self) -> None:
        """Find out again and again whether DNS answers at all, until cancelled; `is_silent` tells."""
        while True:
            # Does not count for calls: for these it is found out as they come.
            self._answers = await self._source.answers()
            await asyncio.sleep(WATCH_EVERY)

    @property
    def is_silent(self) -> bool:
        """Whether DNS gave no answer at all when that was found out last."""
        return not self._answers

    async def _dns_answers(self) -> bool:
        """Whether DNS answers at all, found out at most once per `FAILED_TTL` seconds."""
        if time.monotonic() >= self._answers_until:
            if self._probe is None or self._probe.done():
                self._probe = asyncio.create_task(self._source.answers())
            self._answers = await asyncio.shield(self._probe)
            self._answers_until = time.monotonic() + FAILED_TTL
        return self._answers


class _Queue:
    """Where names that never had a key wait to be looked up: a few at once, and only so many per second."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(LOOKUPS)
        self._members = 0
        #: When the latest lookups began (monotonic).
        self._begun: deque[float] = deque(maxlen=LOOKUPS_PER_SECOND)

    def join(self) -> None:
        """Raise `KeyUnavailable` if too many wait already."""
        if self._members >= LOOKUPS + LOOKUPS_WAITING:
            raise KeyUnavailable(CROWDED)
        self._members += 1

    def leave(self) -> None:
        """What must follow each `join`."""
        self._members -= 1

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """A place among those that are looked up, for as long as the block runs.

        Raises:
            TimeoutError: none was free in time.
        """
        async with asyncio.timeout(QUEUE_WAIT):
            await self._places.acquire()
        try:
            if len(self._begun) == LOOKUPS_PER_SECOND:
                await asyncio.sleep(self._begun[0] + 1.0 - time.monotonic())
            self._begun.append(time.monotonic())
            yield
        finally:
            self._places.release()
