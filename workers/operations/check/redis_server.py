"""Redis: is it the right one, does it take what we write and keep it, and do workers take it from there?"""

import re
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, cast

import redis

from ingest import health, redis_client, shown
from ingest.errors import IngestError, RedisUnavailable, SettingsError
from ingest.health import CLUSTER, RiskCode
from ingest.redis_settings import StreamServer
from ingest.redis_url import RedisURL
from ingest.settings import Settings
from ingest.stream import trial
from ingest.stream.clock import redis_time
from ingest.stream.consumer import Consumer
from ingest.stream.keys import RQ_SUSPENDED
from ingest.stream.known_streams import KnownStream, KnownStreams
from ingest.stream.owner import database_of
from ingest.stream.trial import Kind, Refusal
from workers.operations.check.clock import compared
from workers.operations.check.findings import Finding, ok, risk, risks, wrong
from workers.operations.streams import is_left

#: What the promise "200 means it is safe" needs of Redis, and what it is a risk of not to have it.
NEEDED = {
    "appendonly": ("yes", RiskCode.REDIS_NO_AOF, "a restart of Redis loses the backlog"),
    "appendfsync": (
        "always",
        RiskCode.REDIS_FSYNC,
        "a crash of its machine can lose the last second of acknowledged calls",
    ),
}
#: What a word in a refusal means that is no matter of rights. Redis before 7 puts words of its own before those
#: that a script met.
REFUSALS = {
    "READONLY": RiskCode.REDIS_REPLICA,
    "MASTERDOWN": RiskCode.REDIS_REPLICA,
    "OOM": RiskCode.REDIS_FULL,
    "NOREPLICAS": RiskCode.REDIS_NO_REPLICAS,
    "MISCONF": RiskCode.REDIS_DISK,
}

#: Commands and keys that are named as refused; a user without any right is refused them all.
MAX_NAMES = 12
_STATE = re.compile(rf"\b(?:{'|'.join(REFUSALS)})\b")


def check(settings: Settings) -> Iterator[Finding]:
    """Ask each server, and do once what endpoints, workers and rq do there."""
    try:
        servers = settings.stream_servers
    except SettingsError as error:
        yield wrong("redis", RiskCode.REDIS_NOT_SET, str(error))
        return
    seen: dict[str, str] = {}
    owners: dict[str, bytes | None] = {}
    for server in servers:
        yield from _of_one(settings, server, seen, owners)
    ours = next((owners.get(server.name) for server in servers if server.has_queues), None)
    for name, owner in owners.items():
        if None not in (ours, owner) and owner != ours:
            yield wrong("streams", RiskCode.OTHER_DATABASE, health.of_foreign(name).text)


def _of_one(
    settings: Settings, server: StreamServer, seen: dict[str, str], owners: dict[str, bytes | None]
) -> Iterator[Finding]:
    """One server; `seen` are the names of those before it, by what they call themselves.

    Whose it is is noted in `owners`, by its name.
    """
    try:
        with redis_client.connect(server.url) as client:
            redis_client.require(client, server.url, server.setting)
            if ignored := RedisURL.read(server.url).ignored:
                text = f"{server.setting} sets {', '.join(ignored)}, which is not for it to set: left out"
                yield risk("redis", RiskCode.REDIS_URL_OPTIONS, text)
            yield from _server(client, shown.url(server.url), server.has_queues)
            yield from _same(client, server, seen)
            offset = _offset(client)
            yield compared("Redis", RiskCode.CLOCK_REDIS, offset, settings.max_age)
            yield from _durability(client)
            if server.has_queues:
                yield from _workers(client)
                yield from _left(client, settings)
            if len(settings.stream_servers) > 1:
                yield from _closed(client, server)
                with suppress(redis.ResponseError):  # which rights are missing was told
                    owners[server.name] = database_of(client)
    except IngestError as error:
        yield wrong("redis", _code(error), str(error))
    except redis.RedisError as error:
        found = redis_client.unavailable(server.url, error, server.setting)
        yield wrong("redis", _code(found), str(found))


def _same(client: redis.Redis, server: StreamServer, seen: dict[str, str]) -> Iterator[Finding]:
    """Whether two names lead to one server: then one failure takes both, and its backlog is counted twice."""
    itself = str(cast(Any, client.info("server")).get("run_id", server.name))
    if (other := seen.setdefault(itself, server.name)) != server.name:
        text = f"{server.name} and {other} are one server: each should be one of its own"
        yield wrong("streams", RiskCode.STREAM_SAME, text)


def _closed(client: redis.Redis, server: StreamServer) -> Iterator[Finding]:
    with suppress(redis.ResponseError):  # which rights are missing was told
        if not Consumer(client).is_closed():
            return
        text = (
            f"{server.name} gets no calls, since it is being drained: `ingest streams use {server.name}` ends that"
        )
        yield risk("streams", RiskCode.STREAM_CLOSED, text)


def _left(client: redis.Redis, settings: Settings) -> Iterator[Finding]:
    """Servers that calls were written to, and that are named no more."""
    named = {server.name for server in settings.stream_servers}
    known: list[KnownStream] = []
    with suppress(redis.ResponseError):
        known = KnownStreams(client).all()
    for one in known:
        if is_left(one, named):
            text = (
                f"{one.name} is not in INGEST_STREAM_URLS any more, and was not drained: what it has is not stored"
            )
            yield wrong("streams", RiskCode.STREAM_LEFT, text)


def _code(error: IngestError) -> RiskCode:
    """What it means that Redis does not even answer a question."""
    if word := _STATE.search(str(error)):
        return REFUSALS[word[0]]
    if "NOPERM" in str(error):
        return RiskCode.REDIS_RIGHTS
    if CLUSTER in str(error):
        return RiskCode.REDIS_CLUSTER
    return RiskCode.REDIS_UNREACHABLE if isinstance(error, RedisUnavailable) else RiskCode.REDIS_REFUSES


def _server(client: redis.Redis, url: str, has_queues: bool) -> Iterator[Finding]:
    """What it is; whether it takes writes is tried only where it is a server to write to."""
    info = cast(Any, client.info())
    unfit = list(health.of_server(info))
    for one in unfit:
        said = ""
        if one.code is RiskCode.REDIS_REPLICA and (refusals := trial.refusals(client, has_queues)):
            said = f" It says: {refusals[0].said}."
        yield wrong("redis", one.code, f"{url}: {one.text}{said}")
    if not unfit:
        yield ok("redis", f"{url} answers ({health.version_of(info)})")
        yield from _writes(client, has_queues)
        yield from risks("redis", health.of_replication(info))
    yield from risks("memory", health.of_memory(info))


def _writes(client: redis.Redis, has_queues: bool) -> Iterator[Finding]:
    refusals = trial.refusals(client, has_queues)
    if not refusals:
        yield ok("commands", "Redis takes what calls and jobs need")
        return
    for refusal in refusals:
        word = _STATE.search(refusal.said)
        if word:  # whatever is wrong with the whole server, it says of many commands
            text = f"Redis answers, but refuses what calls and jobs need ({refusal.said})"
            yield wrong("commands", REFUSALS[word[0]], text)
            return
    for code, kind, mend in (
        (RiskCode.REDIS_RIGHTS, Kind.RIGHTS, "give its user the rights to them"),
        (RiskCode.REDIS_LACKS_COMMANDS, Kind.UNKNOWN, "they must not be renamed or left out"),
        (RiskCode.REDIS_REFUSES_WRITES, Kind.OTHER, "check the state of that server"),
    ):
        if these := [refusal for refusal in refusals if refusal.kind is kind]:
            text = f"Redis answers, but refuses what calls and jobs need: {_summary(these)}; {mend}"
            yield wrong("commands", code, text)
            return  # what else is refused may be for want of what these would have made


def _summary(refusals: list[Refusal]) -> str:
    """What is refused, by name, and how Redis said so the first time."""
    names = dict.fromkeys(refusal.what for refusal in refusals)
    for all_of_them in (trial.ALL_OURS, trial.ALL_OF_RQ):
        if all_of_them in names:
            begin = all_of_them.replace("the keys", "the key").rstrip("*")
            names = dict.fromkeys(name for name in names if not name.startswith(begin))
    some = list(names)[:MAX_NAMES]
    more = f" and {len(names) - len(some)} more" if len(names) > len(some) else ""
    return f"{', '.join(some)}{more} ({refusals[0].said})"


def _offset(client: redis.Redis) -> float:
    """Seconds by which its clock is ahead of ours."""
    before = time.time()
    server = redis_time(client) / 1e6
    return server - (before + time.time()) / 2


def _workers(client: redis.Redis) -> Iterator[Finding]:
    try:
        suspended = bool(client.exists(RQ_SUSPENDED))
    except redis.ResponseError:
        return  # which rights are missing was told
    for one in health.of_work(suspended, ahead=0.0):
        yield wrong("workers", one.code, one.text)


def _durability(client: redis.Redis) -> Iterator[Finding]:
    info = cast(Any, client.info())
    policy = str(info.get("maxmemory_policy"))
    evicts = list(health.of_eviction(policy))
    yield from risks("redis", evicts)
    if not evicts:
        yield ok("redis", f"maxmemory-policy {policy}")
    try:
        values = {name: cast(Any, client.config_get(name)).get(name) for name in NEEDED}
    except redis.ResponseError:
        yield from risks("redis", [one for one in health.of_redis(info) if one.code is RiskCode.REDIS_NO_AOF])
        text = "does not show its configuration: see deploy/redis.conf for what it needs"
        yield risk("redis", RiskCode.REDIS_CONFIG_HIDDEN, text)
        return
    for name, (wanted, code, why) in NEEDED.items():
        if values[name] == wanted:
            yield ok("redis", f"{name} {wanted}")
        else:
            yield risk("redis", code, f"{name} is {values[name]}, not {wanted}: {why}")
