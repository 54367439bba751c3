"""The folder in which downloaded log files lie while a day is reconciled, and those that a killed process left.

Log files are full of personal data, so nothing may be left of them: whoever comes next removes what no process
holds a lock on any more.
"""

import errno
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
#: Errors of a disk that is full, or full for us: within the block, only this folder and its disk are written to.
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@contextmanager
def folder() -> Iterator[Path]:
    """A folder for as long as the block runs, which nobody else can read.

    Raises:
        Unavailable: it cannot be made, its disk became full within the block, or another file failed there.
    """
    with ExitStack() as stack:
        try:
            made = _made(stack)
        except OSError as error:
            raise _no_room("cannot be used", error) from None
        try:
            yield made
        except OSError as error:
            if error.errno in NO_ROOM:
                raise _no_room("has no room left", error) from None
            named = isinstance(error.filename, str | bytes | os.PathLike)
            what = os.fsdecode(error.filename) if named else "A file"
            raise Unavailable(f"{what} cannot be used: {error.strerror or error}.") from error


def _made(stack: ExitStack) -> Path:
    remove_leftovers()
    name = stack.enter_context(tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True))
    new = Path(name) / f"{LOCK}.new"
    fcntl.flock(stack.enter_context(new.open("w")), fcntl.LOCK_EX)
    new.rename(new.with_name(LOCK))  # nobody sees it without our lock on it
    return Path(name)


def _no_room(what: str, error: OSError) -> Unavailable:
    try:
        where = tempfile.gettempdir()
    except FileNotFoundError:  # there is none that can be written to
        where = os.environ.get("TMPDIR") or "/tmp"  # noqa: S108  # only named
    return Unavailable(
        f"{where} {what} ({error.strerror}): log files of a day need room there, some 300 MB per "
        "million events; TMPDIR names another place."
    )


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
