"""What `ingest check` and `/readyz` can find wrong or risky: its codes, and the risks of Redis and of the spool.

Each code has its heading in docs/runbook.md, with the sentence that is shown, what it means and what to do.
"""

import os
import shutil
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from ingest import disks

#: The oldest version of Redis that has all commands that are used.
OLDEST_REDIS = (6, 2)
#: Share of its memory limit from which Redis counts as nearly full.
NEARLY_FULL = 0.8
#: What is said of a server that is part of a Cluster.
CLUSTER = "runs as a Redis Cluster, which rq's jobs cannot be spread over: use one without (cluster-enabled no)."
#: What is said of a stream server that is for another database than the server of the queues.
FOREIGN = (
    "It is another database's, whose workers take what is there; endpoints write nothing to it until "
    "`ingest db adopt` makes it this one's."
)
#: Seconds that our clock may differ from another before it is reported.
CLOCK_TOLERANCE = 5.0


class RiskCode(StrEnum):
    """The name of a finding: it stays the same whatever its sentence says, for monitoring and for the runbook."""

    # Whose calls are taken, and how that is known.
    SIGNATURES_OFF = "signatures-off"
    ACCOUNTS_MISSING = "accounts-missing"
    HOSTS_ANY = "hosts-any"
    KEYS_UNREADABLE = "keys-unreadable"
    KEY_UNUSABLE = "key-unusable"
    KEY_TESTING = "key-testing"
    DNS_SILENT = "dns-silent"
    # Redis: whether it is there and the right one, …
    REDIS_NOT_SET = "redis-not-set"
    REDIS_URL_OPTIONS = "redis-url-options"
    REDIS_UNREACHABLE = "redis-unreachable"
    REDIS_REFUSES = "redis-refuses"
    REDIS_TOO_OLD = "redis-too-old"
    REDIS_CLUSTER = "redis-cluster"
    REDIS_REPLICA = "redis-replica"
    # … whether it takes what we write, …
    REDIS_RIGHTS = "redis-rights"
    REDIS_LACKS_COMMANDS = "redis-lacks-commands"
    REDIS_FULL = "redis-full"
    REDIS_NO_REPLICAS = "redis-no-replicas"
    REDIS_DISK = "redis-disk"
    REDIS_REFUSES_WRITES = "redis-refuses-writes"
    # … whether it keeps it, and whether workers take it.
    REDIS_NO_AOF = "redis-no-aof"
    REDIS_FSYNC = "redis-fsync"
    REDIS_LONE_PRIMARY = "redis-lone-primary"
    REDIS_EVICTS = "redis-evicts"
    REDIS_EVICTS_EXPIRING = "redis-evicts-expiring"
    REDIS_CONFIG_HIDDEN = "redis-config-hidden"
    REDIS_NO_LIMIT = "redis-no-limit"
    REDIS_NEARLY_FULL = "redis-nearly-full"
    WORKERS_SUSPENDED = "workers-suspended"
    # Several stream servers.
    STREAM_SAME = "stream-same"
    STREAM_CLOSED = "stream-closed"
    STREAM_LEFT = "stream-left"
    OTHER_DATABASE = "other-database"
    # Clocks.
    CLOCK_REDIS = "clock-redis"
    CLOCK_DATABASE = "clock-database"
    CLOCK_COPERNICA = "clock-copernica"
    # The spool, and files.
    SPOOL_OFF = "spool-off"
    SPOOL_UNUSABLE = "spool-unusable"
    SPOOL_TAKES_NOTHING = "spool-takes-nothing"
    SPOOL_DAMAGED = "spool-damaged"
    SPOOL_ROOM = "spool-room"
    SPOOL_ROOM_UNKNOWN = "spool-room-unknown"
    SPOOL_EPHEMERAL = "spool-ephemeral"
    SPOOL_NETWORK = "spool-network"
    SPOOL_PASSING = "spool-passing"
    FILES_OPEN = "files-open"
    # The database.
    DATABASE_UNREACHABLE = "database-unreachable"
    NO_TABLES = "no-tables"
    DATABASE_OTHER_RELEASE = "database-other-release"
    DATABASE_READ_ONLY = "database-read-only"
    DATABASE_STANDBY = "database-standby"
    DATABASE_REFUSES = "database-refuses"
    DATABASE_CHANGES = "database-changes"
    DATABASE_TOO_OLD = "database-too-old"
    DATABASE_UNSAFE = "database-unsafe"
    DATABASE_NO_DDL = "database-no-ddl"
    DATABASE_PARTITIONS = "database-partitions"
    DATABASE_OTHER_PARTITION = "database-other-partition"
    DATABASE_LOG = "database-log"
    DATABASE_EPHEMERAL = "database-ephemeral"
    DATABASE_NETWORK = "database-network"
    DATABASE_PACKET = "database-packet"
    DATABASE_ENGINE = "database-engine"
    RETENTION_OFF = "retention-off"
    PSEUDONYM_KEY = "pseudonym-key"
    PSEUDONYMS_PARTIAL = "pseudonyms-partial"
    # Your code, and Copernica's API.
    HANDLERS_BROKEN = "handlers-broken"
    FORWARD_UNSIGNED = "forward-unsigned"
    TOKEN_MISSING = "token-missing"  # noqa: S105  # the name of a finding
    TOKEN_REFUSED = "token-refused"  # noqa: S105
    TOKEN_NO_LOGFILES = "token-no-logfiles"  # noqa: S105
    TOKEN_NO_WEBHOOKS = "token-no-webhooks"  # noqa: S105
    API_FAILS = "api-fails"
    # Where events go on to.
    EXPORT_FAILS = "export-fails"
    SINK_FAILS = "sink-fails"
    # What others can read on its way.
    PLAIN_REDIS = "plain-redis"
    UNVERIFIED_REDIS = "unverified-redis"
    PLAIN_DATABASE = "plain-database"
    PLAIN_API = "plain-api"
    PLAIN_FORWARD = "plain-forward"
    PLAIN_SINK = "plain-sink"


class Risk(NamedTuple):
    """Something that may cost calls: its code, and the sentence that people are shown."""

    code: RiskCode
    text: str


def version_of(info: Mapping[str, Any]) -> str:
    """A server by its own name and version, from its answer to INFO: `Valkey 9.1.2`."""
    name = str(info.get("server_name", "redis"))
    own = info.get(f"{name}_version") or info.get("redis_version", "of an unknown version")
    return f"{name.capitalize()} {own}"


def of_redis(info: Mapping[str, Any]) -> Iterator[Risk]:
    """The risks that the answer to INFO shows."""
    yield from of_server(info)
    if not info.get("aof_enabled"):
        text = "Redis does not write to disk (appendonly no): when it restarts, the backlog is lost."
        yield Risk(RiskCode.REDIS_NO_AOF, text)
    yield from of_replication(info)
    yield from of_eviction(str(info.get("maxmemory_policy")))
    yield from of_memory(info)


def of_server(info: Mapping[str, Any]) -> Iterator[Risk]:
    """Why this is not a server to be used at all, whatever its settings are."""
    version = version_of(info)
    if is_too_old(info):
        yield Risk(RiskCode.REDIS_TOO_OLD, f"{version} is too old: 6.2 is the oldest Redis that works.")
    if info.get("cluster_enabled"):
        yield Risk(
            RiskCode.REDIS_CLUSTER,
            f"{version} {CLUSTER}",
        )
    if info.get("role") == "slave":
        primary = f"{info.get('master_host')}:{info.get('master_port')}"
        yield Risk(
            RiskCode.REDIS_REPLICA,
            f"{version} is a replica of {primary}, where calls are refused or lost: name the primary.",
        )


def of_replication(info: Mapping[str, Any]) -> Iterator[Risk]:
    """Whether a primary goes on taking calls when it has been replaced: nothing but its replicas tells it."""
    # INFO counts the good replicas only where some are asked for.
    if info.get("connected_slaves") and "min_slaves_good_slaves" not in info:
        yield Risk(
            RiskCode.REDIS_LONE_PRIMARY,
            "Redis takes calls also while no replica follows it (min-replicas-to-write 0): those that it takes "
            "after it has been replaced are lost.",
        )


def of_work(suspended: bool, ahead: float) -> Iterator[Risk]:
    """What Redis shows of workers and clocks: whether rq is suspended, and seconds by which its clock is ahead."""
    if suspended:
        text = "rq is suspended: workers start no jobs, and the backlog only grows; `ingest resume` ends that."
        yield Risk(RiskCode.WORKERS_SUSPENDED, text)
    if abs(ahead) > CLOCK_TOLERANCE:
        text = f"Our clock and that of Redis differ by {abs(ahead):.1f} s: one of them is wrong."
        yield Risk(RiskCode.CLOCK_REDIS, text)


def of_foreign(name: str) -> Risk:
    """That a stream server is another database's than that of the queues."""
    return Risk(RiskCode.OTHER_DATABASE, f"The stream server {name} is wrong: {FOREIGN}")


def of_eviction(policy: str) -> Iterator[Risk]:
    """What a full Redis does: nothing of ours but wake-ups ever expires."""
    if policy.startswith("allkeys-"):
        yield Risk(RiskCode.REDIS_EVICTS, f"A full Redis evicts acknowledged calls (maxmemory-policy {policy}).")
    elif policy != "noeviction":
        yield Risk(
            RiskCode.REDIS_EVICTS_EXPIRING,
            f"A full Redis evicts wake-ups and what rq keeps for a time (maxmemory-policy {policy}).",
        )


def is_too_old(info: Mapping[str, Any]) -> bool:
    """Whether this Redis lacks commands that are needed."""
    return tuple(int(part) for part in str(info["redis_version"]).split(".")[:2]) < OLDEST_REDIS


def of_memory(info: Mapping[str, Any]) -> Iterator[Risk]:
    """The risk that Redis runs out of memory."""
    limit, used = info.get("maxmemory", 0), info.get("used_memory", 0)
    if not limit:
        text = "Redis has no memory limit (maxmemory 0): the system kills it when memory runs out."
        yield Risk(RiskCode.REDIS_NO_LIMIT, text)
    elif used > NEARLY_FULL * limit:
        yield Risk(RiskCode.REDIS_NEARLY_FULL, f"Redis uses {used / limit:.0%} of the memory it may use.")


def of_spool(folder: Path | None, max_bytes: int, enough_for: float | None = None) -> Iterator[Risk]:
    """The risks of a spool in this folder, which exists or can be created.

    `max_bytes` is its limit; `enough_for`, if its disk goes with the process, for how many seconds it is enough.
    """
    if folder is None:
        yield Risk(RiskCode.SPOOL_OFF, "There is no spool: while Redis is unreachable, calls are answered 503.")
        return
    if enough_for is not None:
        yield Risk(
            RiskCode.SPOOL_PASSING,
            "The disk of the spool goes with its process (INGEST_SPOOL_DURABLE=no): once Redis has not taken "
            f"calls for {enough_for:.0f} s, they are answered 503.",
        )
    try:
        nearest = disks.nearest(folder)
        free = shutil.disk_usage(nearest).free
        files = os.statvfs(nearest)
    except OSError as error:
        yield Risk(
            RiskCode.SPOOL_ROOM_UNKNOWN,
            f"How much room the disk of the spool has cannot be seen ({error.strerror}).",
        )
        return
    if free < max_bytes:
        yield Risk(
            RiskCode.SPOOL_ROOM,
            f"The disk of the spool has {free >> 20:,} MiB free, but the spool may use {max_bytes >> 20:,} MiB.",
        )
    elif files.f_files and not files.f_favail:  # some filesystems count no files
        yield Risk(RiskCode.SPOOL_ROOM, "The disk of the spool has room, but takes no more files (inodes).")
    kind = disks.filesystem(nearest)
    if why := disks.EPHEMERAL.get(kind):
        yield Risk(RiskCode.SPOOL_EPHEMERAL, f"The filesystem of the spool {why}.")
    if disks.is_network(kind):
        yield Risk(
            RiskCode.SPOOL_NETWORK,
            f"The spool is on a network filesystem ({kind}): calls wait for the network, and are refused when it "
            "is away; name a folder on a local disk in INGEST_SPOOL_DIR.",
        )
