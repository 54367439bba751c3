"""What is not wrong yet but can cost calls: said by `ingest check` and `/readyz`, each in a sentence."""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

#: The oldest version of Redis that has all the commands.
OLDEST_REDIS = (6, 2)
#: The part of its memory limit from which Redis counts as nearly full.
NEARLY_FULL = 0.8
#: Filesystems that do not outlive the machine, or the container.
FLEETING = {
    "tmpfs": "is memory: a restart of the machine empties it",
    "ramfs": "is memory: a restart of the machine empties it",
    "overlay": "is the container's own layer, which goes when the container goes: mount a volume there",
}


def of_redis(info: Mapping[str, Any]) -> Iterator[str]:
    """What can be told from the answer to INFO."""
    if is_too_old(info):
        yield f"Redis speaks version {info['redis_version']}; at least 6.2 is needed."
    if not info.get("aof_enabled"):
        yield "Redis keeps no file of its writes (appendonly no): a restart of it loses the backlog."
    if info.get("maxmemory_policy") != "noeviction":
        yield f"A full Redis throws acknowledged calls away (maxmemory-policy {info.get('maxmemory_policy')})."
    yield from of_memory(info)


def is_too_old(info: Mapping[str, Any]) -> bool:
    """Whether a command that is needed does not exist there."""
    return tuple(int(part) for part in str(info["redis_version"]).split(".")[:2]) < OLDEST_REDIS


def of_memory(info: Mapping[str, Any]) -> Iterator[str]:
    """How near Redis is to the end of its memory."""
    limit, used = info.get("maxmemory", 0), info.get("used_memory", 0)
    if not limit:
        yield "Redis has no memory limit (maxmemory 0): the system ends it when there is no more."
    elif used > NEARLY_FULL * limit:
        yield f"Redis uses {used / limit:.0%} of the memory that it may use."


def of_spool(folder: Path | None, max_bytes: int) -> Iterator[str]:
    """What can be told of the folder; it is there, or can be made."""
    if folder is None:
        yield "There is no spool: while Redis is away, calls are answered 503."
        return
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < max_bytes:
        yield f"The disk of the spool has {free >> 20:,} MiB free, fewer than the {max_bytes >> 20:,} it may hold."
    if why := FLEETING.get(_filesystem(place)):
        yield f"The filesystem of the spool {why}."


def _filesystem(place: Path) -> str:
    """The kind of filesystem a folder is on; empty where the system does not say."""
    try:
        mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return ""
    real = place.resolve()
    under = [(mount[1], mount[2]) for mount in mounts if real.is_relative_to(mount[1])]
    return max(under, key=lambda mount: len(mount[0]), default=("", ""))[1]
