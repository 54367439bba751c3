"""What the system allows this program: the processors and the memory of the machine, or of the container it is in.

A container's limits are its control group's and those above it (`memory.max` and `cpu.max`, of Linux' version 2;
`memory.limit_in_bytes` and `cpu.cfs_quota_us` of version 1). systemd's MemoryMax= and CPUQuota= are the same.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

#: Where Linux shows control groups, and in which of them a process is.
GROUPS = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")


def processors(groups: Path = GROUPS, own: Path = OWN) -> float:
    """How many processors this program may use; a part of one, if a container has no more."""
    found = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    for folder in _own(groups, own, "cpu"):
        used, _, period = _read(folder / "cpu.max").partition(" ")
        if not used:
            used, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
        if used.isdecimal() and period.isdecimal() and int(period):  # else "max", or -1: no limit
            found = min(found, int(used) / int(period))
    return found


def memory(groups: Path = GROUPS, own: Path = OWN) -> int | None:
    """Bytes of memory that this program and what it is with may take; None if the system does not say."""
    limits = [limit for folder in _own(groups, own, "memory") for limit in _limits(folder)]
    with suppress(OSError, ValueError, AttributeError):  # on systems that do not say
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return min((limit for limit in limits if limit > 0), default=None)


def _limits(folder: Path) -> Iterator[int]:
    for name in ("memory.max", "memory.high", "memory.limit_in_bytes"):
        if (text := _read(folder / name)).isdecimal():
            yield int(text)


def _own(groups: Path, own: Path, controller: str) -> Iterator[Path]:
    """The folders of the group that this process is in, and of those above it.

    Inside a container, its own group may be shown as the root, whatever path the system names.
    """
    for line in _read(own).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        root = groups / controllers if controllers else groups
        yield root
        folder = root
        for part in Path(path.lstrip("/")).parts:
            folder = folder / part
            yield folder


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, ValueError):
        return ""
