"""`ingest check`: the whole set-up, one finding for each thing that was checked."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Any, cast

import redis

from ingest import health, redis_client, shown, spool, unencrypted
from ingest.copernica import dkim
from ingest.copernica.accounts import full_name
from ingest.copernica.api.client import Copernica
from ingest.copernica.api.retry import RetryPolicy
from ingest.copernica.key_sources import Source
from ingest.errors import CallRejected, IngestError, KeyUnavailable
from ingest.private_files import FILE_MODE, FOLDER_MODE, open_to_others
from ingest.redis_errors import described
from ingest.redis_url import RedisURL
from ingest.settings import Settings
from ingest.shown import counted
from ingest.stream.clock import redis_time
from ingest.stream.trial import try_commands
from ingest.verification import Verifier, key_source
from workers.handlers.configured import all_handlers
from workers.store import trial
from workers.store.store import Store

#: A key id that Copernica's documentation shows; looked up when none is given.
DOCUMENTED_KEY_ID = "one._domainkey.copernica.com"
#: Seconds that our clock may differ from that of Redis before it is reported.
CLOCK_TOLERANCE = 5.0
#: Files that are named as open to others; there may be thousands.
MAX_FILES = 5
#: What the promise "200 means it is safe" needs of Redis, and why.
NEEDED = {
    "appendonly": ("yes", "a restart of Redis loses the backlog"),
    "appendfsync": ("always", "a crash of its machine can lose the last second of acknowledged calls"),
    "maxmemory-policy": ("noeviction", "a full Redis throws acknowledged calls away"),
}


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    RISK = "risk"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result for one thing that was checked."""

    level: Level
    about: str
    text: str


def check(settings: Settings, key_id: str | None = None) -> Iterator[Finding]:
    """Check everything, one thing after the other; raises nothing: what is wrong becomes a finding."""
    yield from _signatures(settings, key_id)
    yield from _redis(settings)
    yield from _spool(settings)
    yield from _files(settings)
    yield from _database(settings)
    yield _handlers(settings)
    yield _copernica(settings)
    for sentence in unencrypted.readable(settings):
        yield Finding(Level.RISK, "encryption", sentence)


def _signatures(settings: Settings, key_id: str | None) -> Iterator[Finding]:
    if settings.verify == "off":
        yield Finding(Level.RISK, "signatures", "not verified: whoever can reach the endpoint can add events")
        return
    try:
        Verifier.from_settings(settings)
        source = key_source(settings)
    except IngestError as error:
        yield Finding(Level.WRONG, "signatures", str(error))
        return
    bare = "; a bare number is an account's" if any(map(str.isdigit, settings.accounts)) else ""
    yield Finding(Level.OK, "accounts", ", ".join(map(full_name, settings.accounts)) + bare)
    if settings.hosts:
        yield Finding(Level.OK, "hosts", ", ".join(settings.hosts))
    else:
        yield Finding(Level.RISK, "hosts", "INGEST_HOSTS is not set: calls meant for another host are taken too")
    yield from _key(source, settings, key_id)


def _key(source: Source, settings: Settings, key_id: str | None) -> Iterator[Finding]:
    name = key_id or DOCUMENTED_KEY_ID
    try:
        records = asyncio.run(source.records(name.lower()))
        key = dkim.usable(records.texts)
    except CallRejected as error:
        # The documented name may be out of use; only one that was asked for has to be there.
        level = Level.WRONG if key_id else Level.RISK
        yield Finding(level, "keys", f"{name}: {error.reason} (from {settings.keys}); try another with --key-id")
    except KeyUnavailable as error:
        yield Finding(Level.WRONG, "keys", f"{error} New keys cannot be looked up; check INGEST_DNS_SERVERS.")
    else:
        validated = ", validated by DNSSEC" if records.authentic else ""
        where = f"(from {settings.keys}{validated})"
        yield Finding(Level.OK, "keys", f"{name}: RSA, {key.public.key_size} bits {where}")
        if key.testing:
            yield Finding(Level.RISK, "keys", f"{name}: its owner marks it as a test (t=y)")


def _redis(settings: Settings) -> Iterator[Finding]:
    try:
        with redis_client.connect(settings.redis) as client:
            redis_client.require(client, settings.redis)
            if ignored := RedisURL.read(settings.redis).ignored:
                names = ", ".join(ignored)
                yield Finding(Level.RISK, "redis", f"REDIS_URL sets {names}, which is not for it to set: left out")
            yield from _server(client, shown.url(settings.redis))
            yield _commands(client)
            yield _clock(client, settings.max_age)
            yield from _durability(client)
    except IngestError as error:
        yield Finding(Level.WRONG, "redis", str(error))
    except redis.RedisError as error:
        yield Finding(Level.WRONG, "redis", str(redis_client.unavailable(settings.redis, error)))


def _server(client: redis.Redis, shown: str) -> Iterator[Finding]:
    info = cast(Any, client.info())
    version = info["redis_version"]
    if health.is_too_old(info):
        yield Finding(Level.WRONG, "redis", f"{shown} speaks version {version}; at least 6.2 is needed")
    else:
        yield Finding(Level.OK, "redis", f"{shown} answers (version {version})")
    for risk in health.of_memory(info):
        yield Finding(Level.RISK, "memory", risk)


def _commands(client: redis.Redis) -> Finding:
    try:
        try_commands(client)
    except redis.ResponseError as error:
        text = f"Redis answers, but refuses what calls and jobs need ({described(error)})"
        return Finding(Level.WRONG, "commands", text)
    return Finding(Level.OK, "commands", "Redis takes what calls and jobs need")


def _clock(client: redis.Redis, max_age: int) -> Finding:
    before = time.time()
    server = redis_time(client) / 1e6
    offset = server - (before + time.time()) / 2
    difference = f"ours and that of Redis differ by {abs(offset):.1f} s"
    if abs(offset) > max_age:
        return Finding(Level.WRONG, "clock", f"{difference}: genuine calls are refused as too old or too new")
    if abs(offset) > CLOCK_TOLERANCE:
        return Finding(Level.RISK, "clock", f"{difference}: one of them is wrong")
    return Finding(Level.OK, "clock", difference)


def _durability(client: redis.Redis) -> Iterator[Finding]:
    try:
        values = {name: cast(Any, client.config_get(name)).get(name) for name in NEEDED}
    except redis.ResponseError:
        for risk in health.of_redis(cast(Any, client.info())):
            yield Finding(Level.RISK, "redis", risk)
        yield Finding(
            Level.RISK, "redis", "does not show its configuration: see deploy/redis.conf for what it needs"
        )
        return
    for name, (wanted, why) in NEEDED.items():
        if values[name] == wanted:
            yield Finding(Level.OK, "redis", f"{name} {wanted}")
        else:
            yield Finding(Level.RISK, "redis", f"{name} is {values[name]}, not {wanted}: {why}")


def _spool(settings: Settings) -> Iterator[Finding]:
    folder = settings.spool_dir
    found = [Finding(Level.RISK, "spool", risk) for risk in health.of_spool(folder, settings.spool_max)]
    if folder is not None:
        try:
            if trouble := spool.require(folder):
                found.append(Finding(Level.WRONG, "spool", str(trouble)))
            figures = spool.look(folder)
        except IngestError as error:
            yield Finding(Level.WRONG, "spool", str(error))
            return
        if figures.bad_files:
            damaged = counted(figures.bad_files, "damaged stretch is", "damaged stretches are")
            found.append(Finding(Level.RISK, "spool", f"{damaged} in {folder} as *.bad"))
        yield Finding(Level.OK, "spool", f"{folder} holds {counted(figures.events, 'event')}")
    yield from found


def _files(settings: Settings) -> Iterator[Finding]:
    for path, mode in islice(open_to_others(settings), MAX_FILES):
        wanted = FOLDER_MODE if path.is_dir() else FILE_MODE
        yield Finding(Level.RISK, "files", f"others may use {path} (mode {mode:o}): chmod {wanted:o} it")


def _handlers(settings: Settings) -> Finding:
    try:
        names = ", ".join(all_handlers(settings))
    except IngestError as error:
        return Finding(Level.WRONG, "handlers", str(error))
    if settings.forward_url and not settings.forward_secret:
        return Finding(
            Level.RISK, "handlers", f"{names}; INGEST_FORWARD_SECRET is not set: targets cannot tell your calls"
        )
    return Finding(Level.OK, "handlers", names or "none (INGEST_HANDLERS, INGEST_FORWARD_URL)")


def _copernica(settings: Settings) -> Finding:
    """The token for log files, which are needed to recover missed events."""
    if settings.copernica_token is None:
        return Finding(
            Level.RISK,
            "log files",
            "COPERNICA_TOKEN is not set: what is missed while the endpoint is away stays missing",
        )
    try:
        account = asyncio.run(_identity(settings))
    except IngestError as error:
        return Finding(Level.WRONG, "log files", str(error))
    when = "never by itself" if settings.reconcile_at == "off" else f"daily at {settings.reconcile_at} UTC"
    return Finding(
        Level.OK, "log files", f"those of {account.get('name') or account.get('id')}, reconciled {when}"
    )


async def _identity(settings: Settings) -> dict[str, Any]:
    policy = RetryPolicy(attempts=2)
    urls = settings.copernica_api_url, settings.copernica_auth_url
    async with Copernica(settings.token, *urls, policy=policy) as copernica:
        return await copernica.identity()


def _database(settings: Settings) -> Iterator[Finding]:
    try:
        with Store.open(settings.database) as store:
            yield Finding(Level.OK, "database", f"{store.shown} holds {counted(store.stored(), 'event')}")
            for fault in dict.fromkeys(trial.faults(store)):
                yield Finding(Level.WRONG, "database", fault)
            for weakness in store.weaknesses():
                yield Finding(Level.RISK, "database", weakness)
    except IngestError as error:
        yield Finding(Level.WRONG, "database", str(error))
        return
    if settings.retention_days:
        yield Finding(Level.OK, "retention", f"events are deleted after {counted(settings.retention_days, 'day')}")
    else:
        yield Finding(Level.RISK, "retention", "INGEST_RETENTION_DAYS is not set: personal data is kept forever")
