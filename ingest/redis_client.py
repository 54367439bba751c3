"""How we talk to Redis: the same time-outs everywhere, and no hidden retries.

redis-py retries commands ten times by default. A write whose answer was lost may have been done, so a second
one would double it: nothing here retries, and the caller decides what an unknown outcome means.
"""

import re
from typing import cast

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from ingest import redis_tls, shown
from ingest.errors import RedisUnavailable, SettingsError, Unavailable
from ingest.health import CLUSTER
from ingest.redis_connection import lead_to_the_right_server
from ingest.redis_errors import described, is_denied, is_wrong_server
from ingest.redis_sentinel import PrimaryFinder
from ingest.redis_url import RedisURL, speaks_tls

#: Seconds to wait for an answer. Longer than an fsync on a bad day, shorter than a sender's patience.
ANSWER_TIMEOUT = 5.0
#: Seconds to wait for a connection.
CONNECT_TIMEOUT = 3.0

#: What redis-py says of a server that closes a connection, as one does that waits for TLS.
CLOSED = "Connection closed by server"

# How a server begins that refuses everybody for a while: nothing about REDIS_URL is wrong then.
_PASSING = re.compile(r"(?:TRYAGAIN|BUSY|MISCONF|OOM|EXECABORT)\b")


def connect(url: str, answer_timeout: float = ANSWER_TIMEOUT) -> redis.Redis:
    """A blocking client; connects on first use.

    Raises:
        SettingsError: the URL is not one of Redis.
    """
    checked = _checked(url)
    client = redis.Redis.from_url(
        checked.url,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=answer_timeout,
        socket_connect_timeout=min(answer_timeout, CONNECT_TIMEOUT),
        health_check_interval=30,
    )
    lead_to_the_right_server(client.connection_pool, _finder(checked))
    client.set_response_callback("CLIENT INFO", _client_info)
    return client


def _client_info(answer: bytes) -> dict[str, str]:
    """What Redis says of a connection, wherever its socket is: redis-py fails on a space or a `=` in that path.

    rq asks for it at the start of each worker.
    """
    pieces = answer.decode("utf-8", "replace").split()
    return {name: value for name, _, value in (piece.partition("=") for piece in pieces)}


def connect_async(url: str) -> "redis.asyncio.Redis":
    """An asyncio client; connects on first use.

    Raises:
        SettingsError: the URL is not one of Redis.
    """
    checked = _checked(url)
    client = redis.asyncio.Redis.from_url(
        checked.url,
        retry=AsyncRetry(NoBackoff(), 0),
        socket_timeout=ANSWER_TIMEOUT,
        socket_connect_timeout=CONNECT_TIMEOUT,
    )
    lead_to_the_right_server(client.connection_pool, _finder(checked))
    return client


def _checked(url: str) -> RedisURL:
    try:
        return RedisURL.read(url)
    except ValueError as error:
        raise SettingsError(f"REDIS_URL cannot be used: {error}.") from None


def _finder(url: RedisURL) -> PrimaryFinder | None:
    return None if url.sentinels is None else PrimaryFinder(url.sentinels)


def require(client: redis.Redis, url: str, setting: str = "REDIS_URL") -> None:
    """Make sure that Redis answers, and that it is one server and not a Cluster.

    Raises:
        RedisUnavailable: it does not, or not yet; it may yet. The message says what to look at.
        Unavailable: it answers, but not to us, or it is of no use: a setting is wrong.
    """
    try:
        client.ping()
        if _is_cluster(client):
            raise Unavailable(f"Redis at {shown.url(url)} {CLUSTER}")
    except redis.RedisError as error:
        raise unavailable(url, error, setting) from None


def _is_cluster(client: redis.Redis) -> bool:
    try:
        info = cast(dict[str, object], client.info("cluster"))
    except redis.ResponseError:  # we may not ask, or it has no such section
        return False
    return info.get("cluster_enabled") == 1


def unavailable(url: str, error: redis.RedisError, setting: str = "REDIS_URL") -> Unavailable:
    """An error of Redis as one sentence that says what to do: a `RedisUnavailable` if it may pass by itself.

    `setting` is the variable that names the server.
    """
    place, why = shown.url(url), described(error)
    if isinstance(error, redis.AuthenticationError):
        return Unavailable(f"Redis at {place} refuses our credentials ({why}): check {setting}.")
    if is_denied(error):
        return Unavailable(
            f"Redis at {place} does not allow us what we need ({why}): give its user the rights that "
            "deploy/redis.acl lists."
        )
    if remedy := redis_tls.remedy(url, error):
        return Unavailable(f"Redis at {place} cannot be used with TLS ({why}): {remedy}.")
    if isinstance(error, redis.ResponseError):
        kind = RedisUnavailable if is_wrong_server(error) or _PASSING.match(why) else Unavailable
        return kind(f"Redis at {place} does not serve us ({why}): check {setting} and the state of that server.")
    hint = ""
    if CLOSED in why and speaks_tls(url):
        hint = ", and set INGEST_REDIS_CERT if it wants to see a certificate"
    elif CLOSED in why and url.startswith("redis"):
        hint = ", and write rediss:// if it wants TLS"
    return RedisUnavailable(
        f"Redis at {place} does not answer ({why}): check {setting} and that the server runs{hint}."
    )
