"""Where the primary is, as its Sentinels know it: they are asked anew for each connection.

Nobody asks only one: a Sentinel that was cut off, or has just started again, may still name the old primary. The
address that more than half of them give is taken at once; if some do not answer, the one that most give. Whoever
connects there asks the server itself whether it is a primary (`ingest.redis_connection`).
"""

import asyncio
from collections import Counter
from typing import Any, TypeAlias

import redis
import redis.asyncio
from redis import AuthenticationError, RedisError
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from ingest.redis_url import Sentinels

#: Seconds that a Sentinel may take, connecting included: an endpoint connects, and has a write confirmed, within
#: half a second, also where the first Sentinel went down together with the primary.
ASK_TIMEOUT = 0.2

#: A host, and its port.
Address: TypeAlias = tuple[str, int]
#: What a Sentinel says: an address, that it does not know that name (None), or nothing, and why.
Answer: TypeAlias = Address | RedisError | None


class _Election:
    """What the Sentinels say, counted."""

    def __init__(self, sentinels: Sentinels) -> None:
        self._primary = sentinels.primary
        self._most = len(sentinels.urls)
        self._votes: Counter[Address] = Counter()
        self._troubles: list[RedisError] = []
        self._is_unknown = False

    def hear(self, answer: Answer) -> Address | None:
        """Count one more answer; returns the address on which more than half of all agree."""
        if answer is None:
            self._is_unknown = True
        elif isinstance(answer, RedisError):
            self._troubles.append(answer)
        else:
            self._votes[answer] += 1
            if 2 * self._votes[answer] > self._most:
                return answer
        return None

    def result(self) -> Address:
        """The address that most gave, now that nobody else will answer.

        Raises:
            redis.ResponseError: no Sentinel knows a primary of that name.
            redis.AuthenticationError: they do not accept our credentials.
            redis.ConnectionError: none of them answered.
        """
        if self._votes:
            return self._votes.most_common(1)[0][0]
        if self._is_unknown:
            raise redis.ResponseError(f"no Sentinel knows a primary with the name {self._primary}")
        for trouble in self._troubles:
            if isinstance(trouble, AuthenticationError):
                said = f"a Sentinel says: {trouble}; its own password is the option sentinel_password"
                raise AuthenticationError(said) from trouble
        raise redis.ConnectionError(f"no Sentinel answers: {self._troubles[0]}") from self._troubles[0]


class PrimaryFinder:
    """Asks the Sentinels of one URL."""

    def __init__(self, sentinels: Sentinels) -> None:
        self._sentinels = sentinels

    def find(self) -> Address:
        """Ask one after the other.

        Raises:
            redis.RedisError: nobody knows; see `_Election.result`.
        """
        election = _Election(self._sentinels)
        for url in self._sentinels.urls:
            if address := election.hear(self._ask(url)):
                return address
        return election.result()

    def _ask(self, url: str) -> Answer:
        with redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), **_OPTIONS) as sentinel:
            try:
                return _address(sentinel.sentinel_get_master_addr_by_name(self._sentinels.primary))
            except RedisError as error:
                return error

    async def find_async(self) -> Address:
        """Ask all at once.

        Raises:
            redis.RedisError: nobody knows; see `_Election.result`.
        """
        election = _Election(self._sentinels)
        asking = [asyncio.create_task(self._ask_async(url)) for url in self._sentinels.urls]
        try:
            for answer in asyncio.as_completed(asking):
                if address := election.hear(await answer):
                    return address
        finally:
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
        return election.result()

    async def _ask_async(self, url: str) -> Answer:
        try:
            async with (
                asyncio.timeout(ASK_TIMEOUT),
                redis.asyncio.Redis.from_url(url, retry=AsyncRetry(NoBackoff(), 0), **_OPTIONS) as sentinel,
            ):
                return _address(await sentinel.sentinel_get_master_addr_by_name(self._sentinels.primary))
        except TimeoutError:
            return redis.TimeoutError("no answer in time")
        except RedisError as error:
            return error


#: RESP2 is what all Sentinels speak, also before a password was given.
_OPTIONS: dict[str, Any] = {
    "protocol": 2,
    "decode_responses": True,
    "socket_timeout": ASK_TIMEOUT,
    "socket_connect_timeout": ASK_TIMEOUT,
}


def _address(said: object) -> Address | None:
    """What redis-py makes of the answer: a tuple, or None."""
    return (str(said[0]), int(said[1])) if isinstance(said, tuple) and len(said) == 2 else None
