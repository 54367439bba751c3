"""The clock of the machine since its start: it never jumps, and it goes on while a laptop sleeps."""

import time
from pathlib import Path

#: Elsewhere (macOS), the monotonic clock goes on while the machine sleeps.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def up() -> int:
    """µs since this machine started."""
    return time.clock_gettime_ns(_CLOCK) // 1000


def boot() -> str | None:
    """A name for this start of the machine: with the same one, `up` is the same clock. None if none is known."""
    try:
        started = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{started}/{Path('/proc/self/ns/time').stat().st_ino}"  # a container may have a clock of its own
    except OSError:
        return None
