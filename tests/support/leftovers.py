"""What tests may not leave behind: a process, a port that listens, a file outside their own temporary folders."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from tests.support.source import ROOT

#: The variable by which processes are known that tests have started, orphans among them: each inherits it.
MARK = "STARTED_BY_TESTS"
#: Seconds that a process which was told to stop may still take.
GRACE = 15.0
#: Folders in the working copy that tools make, not tests.
TOOLS = {"__pycache__", ".peers", ".hypothesis", ".pytest_cache", ".ruff_cache", ".mypy_cache"}
#: What `make coverage` writes while the tests run.
OF_COVERAGE = ".coverage"
#: Where processes keep their data that run in the working copy and are given no folder for it.
DATA = ROOT / "data"
#: multiprocessing removes its own folders when the interpreter ends.
OF_PYTHON = "pymp-"


@contextmanager
def nothing_is_left() -> Iterator[None]:
    """Give everything a temporary folder of its own for as long as the block runs; fail if anything stays."""
    mark = uuid4().hex
    listening, files = _listening(), _files()
    # A short path, because a Unix socket's may not be longer than 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="it-", dir="/tmp"))
    folder.chmod(0o755)  # PostgreSQL runs as another user
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(MARK, mark)
            patch.setenv("TMPDIR", str(folder))
            patch.setattr(tempfile, "tempdir", str(folder))
            yield
    finally:
        left = {
            "processes": _still_running(mark),
            "listening ports and sockets": sorted(_listening() - listening),
            "files in the working copy": sorted(_files() - files),
            "files in the temporary folder": sorted(
                path.name for path in folder.iterdir() if not path.name.startswith(OF_PYTHON)
            ),
        }
        shutil.rmtree(folder, ignore_errors=True)
    assert not any(left.values()), (
        f"tests have left behind: { {what: some for what, some in left.items() if some} }"
    )


def _still_running(mark: str) -> list[str]:
    """The commands that run with a mark, once each had its time to end."""
    ends = time.monotonic() + GRACE
    while (running := _marked(mark)) and time.monotonic() < ends:
        time.sleep(0.05)
    return running


def _marked(mark: str) -> list[str]:
    wanted = f"{MARK}={mark}".encode()
    commands = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if wanted not in (process / "environ").read_bytes().split(b"\0"):
                continue
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it has ended just now, or is not ours
            continue
        if "multiprocessing.resource_tracker" not in command:  # Python's own; it ends with this process
            commands.append(f"{process.name}: {command}")
    return commands


def _listening() -> set[str]:
    """The addresses at which this process listens."""
    inodes = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            target = str(descriptor.readlink())
        except OSError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/self/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                found.add(f"port {int(fields[1].rpartition(':')[2], 16)}")
    return found


def _files() -> set[str]:
    """What lies at the root of the working copy, where commands run that are given no folder, and in `data`."""
    paths = [*ROOT.iterdir(), *DATA.glob("**/*")]
    return {str(path) for path in paths if path.name not in TOOLS and not path.name.startswith(OF_COVERAGE)}
