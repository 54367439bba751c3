"""How we talk to Redis: the same time-outs everywhere, and no hidden retries.

redis-py retries commands ten times by default. A write whose answer was lost may have been done, so a second
one would double it: nothing here retries, and the caller decides what an unknown outcome means.
"""

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from ingest.errors import RedisUnavailable, SettingsError, Unavailable

#: Seconds to wait for an answer. Longer than an fsync on a bad day, shorter than a sender's patience.
ANSWER_TIMEOUT = 5.0
#: Seconds to wait for a connection.
CONNECT_TIMEOUT = 3.0


def connect(url: str, answer_timeout: float = ANSWER_TIMEOUT) -> redis.Redis:
    """A blocking client; connects on first use.

    Raises:
        SettingsError: the URL is not one of Redis.
    """
    try:
        return redis.Redis.from_url(
            url,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=answer_timeout,
            socket_connect_timeout=min(answer_timeout, CONNECT_TIMEOUT),
            health_check_interval=30,
        )
    except ValueError as error:
        raise SettingsError(f"REDIS_URL={shown(url)!r} cannot be used: {error}") from None


def connect_async(url: str) -> "redis.asyncio.Redis":
    """An asyncio client; connects on first use.

    Raises:
        SettingsError: the URL is not one of Redis.
    """
    try:
        return redis.asyncio.Redis.from_url(
            url,
            retry=AsyncRetry(NoBackoff(), 0),
            socket_timeout=ANSWER_TIMEOUT,
            socket_connect_timeout=CONNECT_TIMEOUT,
        )
    except ValueError as error:
        raise SettingsError(f"REDIS_URL={shown(url)!r} cannot be used: {error}") from None


def require(client: redis.Redis, url: str) -> None:
    """Make sure that Redis answers.

    Raises:
        RedisUnavailable: it does not; it may yet. The message says what to look at.
        Unavailable: it answers, but not to us: the URL is wrong.
    """
    try:
        client.ping()
    except redis.AuthenticationError as error:
        raise Unavailable(f"Redis at {shown(url)} refuses our credentials ({error}): check REDIS_URL.") from None
    except redis.ResponseError as error:
        raise Unavailable(f"Redis at {shown(url)} does not serve us ({error}): check REDIS_URL.") from None
    except redis.RedisError as error:
        raise RedisUnavailable(
            f"Redis at {shown(url)} does not answer ({error}): check REDIS_URL and that the server runs."
        ) from None


def shown(url: str) -> str:
    """The URL as it may be printed: without credentials and parameters."""
    scheme, separator, rest = url.partition("://")
    place = rest.partition("?")[0].rpartition("@")[2]
    return f"{scheme}{separator}{place}" if separator else "(no URL)"
