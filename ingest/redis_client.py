"""How we talk to Redis: the same time-outs everywhere, and no hidden retries.

redis-py retries commands ten times by default. A write whose answer was lost may have been done, so a second
one would double it: nothing here retries, and the caller decides what an unknown outcome means.
"""

import re

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from ingest import shown
from ingest.errors import RedisUnavailable, SettingsError, Unavailable
from ingest.redis_connection import leave_wrong_servers
from ingest.redis_errors import described, is_wrong_server
from ingest.redis_url import RedisURL

#: Seconds to wait for an answer. Longer than an fsync on a bad day, shorter than a sender's patience.
ANSWER_TIMEOUT = 5.0
#: Seconds to wait for a connection.
CONNECT_TIMEOUT = 3.0

# How a server begins that refuses everybody for a while: nothing about REDIS_URL is wrong then.
_PASSING = re.compile(r"(?:TRYAGAIN|BUSY|MISCONF|OOM|EXECABORT)\b")


def connect(url: str, answer_timeout: float = ANSWER_TIMEOUT) -> redis.Redis:
    """A blocking client; connects on first use.

    Raises:
        SettingsError: the URL is not one of Redis.
    """
    client = redis.Redis.from_url(
        _checked(url),
        retry=Retry(NoBackoff(), 0),
        socket_timeout=answer_timeout,
        socket_connect_timeout=min(answer_timeout, CONNECT_TIMEOUT),
        health_check_interval=30,
    )
    leave_wrong_servers(client.connection_pool)
    return client


def connect_async(url: str) -> "redis.asyncio.Redis":
    """An asyncio client; connects on first use.

    Raises:
        SettingsError: the URL is not one of Redis.
    """
    client = redis.asyncio.Redis.from_url(
        _checked(url),
        retry=AsyncRetry(NoBackoff(), 0),
        socket_timeout=ANSWER_TIMEOUT,
        socket_connect_timeout=CONNECT_TIMEOUT,
    )
    leave_wrong_servers(client.connection_pool)
    return client


def _checked(url: str) -> str:
    try:
        return RedisURL.read(url).url
    except ValueError as error:
        raise SettingsError(f"REDIS_URL cannot be used: {error}.") from None


def require(client: redis.Redis, url: str) -> None:
    """Make sure that Redis answers.

    Raises:
        RedisUnavailable: it does not, or not yet; it may yet. The message says what to look at.
        Unavailable: it answers, but not to us: the URL is wrong.
    """
    try:
        client.ping()
    except redis.RedisError as error:
        raise unavailable(url, error) from None


def unavailable(url: str, error: redis.RedisError) -> Unavailable:
    """An error of Redis as one sentence that says what to do: a `RedisUnavailable` if it may pass by itself."""
    place, why = shown.url(url), described(error)
    if isinstance(error, redis.AuthenticationError):
        return Unavailable(f"Redis at {place} refuses our credentials ({why}): check REDIS_URL.")
    if isinstance(error, redis.exceptions.NoPermissionError):
        return Unavailable(f"Redis at {place} does not allow us what we need ({why}): check its user's rights.")
    if isinstance(error, redis.ResponseError):
        kind = RedisUnavailable if is_wrong_server(error) or _PASSING.match(why) else Unavailable
        return kind(f"Redis at {place} does not serve us ({why}): check REDIS_URL and the state of that server.")
    return RedisUnavailable(f"Redis at {place} does not answer ({why}): check REDIS_URL and that the server runs.")
