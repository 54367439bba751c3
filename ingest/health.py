"""Risks: what is not wrong yet but may cost calls, one sentence each, for `ingest check` and `/readyz`."""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

#: The oldest version of Redis that has all commands that are used.
OLDEST_REDIS = (6, 2)
#: Share of its memory limit from which Redis counts as nearly full.
NEARLY_FULL = 0.8
#: Filesystems whose content is lost with the machine or the container, and why.
EPHEMERAL = {
    "tmpfs": "is memory: a restart of the machine empties it",
    "ramfs": "is memory: a restart of the machine empties it",
    "overlay": "is the container's own layer, which is deleted with the container: mount a volume there",
}


def of_redis(info: Mapping[str, Any]) -> Iterator[str]:
    """The risks that the answer to INFO shows."""
    if is_too_old(info):
        yield f"Redis is version {info['redis_version']}; 6.2 is the oldest that works."
    if not info.get("aof_enabled"):
        yield "Redis does not write to disk (appendonly no): when it restarts, the backlog is lost."
    if info.get("maxmemory_policy") != "noeviction":
        yield f"A full Redis evicts acknowledged calls (maxmemory-policy {info.get('maxmemory_policy')})."
    yield from of_memory(info)


def is_too_old(info: Mapping[str, Any]) -> bool:
    """Whether this Redis lacks commands that are needed."""
    return tuple(int(part) for part in str(info["redis_version"]).split(".")[:2]) < OLDEST_REDIS


def of_memory(info: Mapping[str, Any]) -> Iterator[str]:
    """The risk that Redis runs out of memory."""
    limit, used = info.get("maxmemory", 0), info.get("used_memory", 0)
    if not limit:
        yield "Redis has no memory limit (maxmemory 0): the system kills it when memory runs out."
    elif used > NEARLY_FULL * limit:
        yield f"Redis uses {used / limit:.0%} of the memory it may use."


def of_spool(folder: Path | None, max_bytes: int) -> Iterator[str]:
    """The risks of a spool in this folder, which exists or can be created; `max_bytes` is its limit."""
    if folder is None:
        yield "There is no spool: while Redis is unreachable, calls are answered 503."
        return
    nearest = folder.absolute()
    try:
        while not nearest.exists():
            nearest = nearest.parent
        free = shutil.disk_usage(nearest).free
    except OSError as error:
        yield f"How much room the disk of the spool has cannot be seen ({error.strerror})."
        return
    if free < max_bytes:
        yield f"The disk of the spool has {free >> 20:,} MiB free, but the spool may use {max_bytes >> 20:,} MiB."
    if risk := EPHEMERAL.get(_filesystem(nearest)):
        yield f"The filesystem of the spool {risk}."


def _filesystem(folder: Path) -> str:
    """The type of the filesystem that a folder is on; empty where /proc/mounts does not exist."""
    try:
        mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return ""
    real = folder.resolve()
    under = [(mount[1], mount[2]) for mount in mounts if real.is_relative_to(mount[1])]
    return max(under, key=lambda mount: len(mount[0]), default=("", ""))[1]
