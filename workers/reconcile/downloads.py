"""The folder in which downloaded log files lie while a day is reconciled, and those that a killed process left.

Log files are full of personal data, so nothing may be left of them: whoever comes next removes what no process
holds a lock on any more.
"""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from ingest.errors import Unavailable

#: How the names of these folders begin.
PREFIX = "ingest-logfiles-"
#: The file in each of them that its process has locked.
LOCK = "lock"
#: Seconds after which a folder without that file is no longer one that is just being made.
BEING_MADE = 3600


@contextmanager
def folder() -> Iterator[Path]:
    """A folder for as long as the block runs, which nobody else can read.

    Raises:
        Unavailable: it cannot be made, or its disk became full within the block.
    """
    try:
        remove_leftovers()
        with tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as name, ExitStack() as stack:
            new = Path(name) / f"{LOCK}.new"
            fcntl.flock(stack.enter_context(new.open("w")), fcntl.LOCK_EX)
            new.rename(new.with_name(LOCK))  # nobody sees it without our lock on it
            yield Path(name)
    except OSError as error:
        raise Unavailable(
            f"{tempfile.gettempdir()} cannot be used ({error.strerror}): log files of a day need room there, "
            "some 300 MB per million events; TMPDIR names another place."
        ) from None


def remove_leftovers() -> int:
    """Remove the folders of processes that were killed; returns how many."""
    removed = 0
    for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):  # another process removes it, or it is not ours to remove
            if left.is_symlink() or not left.is_dir() or left.stat().st_uid != os.getuid() or _is_in_use(left):
                continue
            shutil.rmtree(left)
            removed += 1
    return removed


def _is_in_use(left: Path) -> bool:
    try:
        with (left / LOCK).open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return time.time() - left.stat().st_mtime < BEING_MADE
    except BlockingIOError:
        return True
    return False
