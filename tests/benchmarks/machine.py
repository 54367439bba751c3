"""What it was measured on: a figure without it says nothing."""

import os
import platform
import sqlite3
import subprocess
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median

from ingest.dev.embedded_redis import binary
from tests.benchmarks.servers import scratch
from tests.support import postgres


def machine() -> dict[str, object]:
    """The hardware and the system, and what a commit has to wait for."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return {
        "cpu": _value(Path("/proc/cpuinfo"), "model name", ":"),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory, 1),
        "os": _value(Path("/etc/os-release"), "PRETTY_NAME", "=").strip('"'),
        "kernel": platform.release(),
        "fsync_ms": _fsync_ms(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def versions() -> dict[str, str]:
    """Everything whose version matters to a figure."""
    said = subprocess.run([str(binary()), "--version"], capture_output=True, text=True, check=True).stdout
    return {
        "python": platform.python_version(),
        **{
            name: version(name) for name in ("aiohttp", "uvloop", "redis", "hiredis", "rq", "zstandard", "psycopg")
        },
        "valkey-server": said.partition("v=")[2].split()[0],
        "sqlite": sqlite3.sqlite_version,
        "postgresql": _first_number([str(postgres.binaries() / "postgres"), "--version"]),
    }


def peak_memory() -> int:
    """The most memory of this process in bytes; `getrusage` also counts what its parent had when it began."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def _first_number(command: list[str]) -> str:
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return next(word for word in said.split() if word[0].isdigit())


def _value(path: Path, name: str, separator: str) -> str:
    for line in path.read_text().splitlines():
        if line.startswith(name):
            return line.partition(separator)[2].strip()
    return "unknown"


def _fsync_ms() -> float:
    """How long it takes until 4 KiB more are on disk, in ms."""
    with scratch() as folder, (folder / "file").open("wb", buffering=0) as file:
        taken = []
        for _ in range(200):
            file.write(bytes(4096))
            began = time.perf_counter()
            os.fsync(file.fileno())
            taken.append(time.perf_counter() - began)
    return round(median(taken) * 1000, 3)
