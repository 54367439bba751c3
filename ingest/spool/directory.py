"""The folder that processes share: whether it can be used, whose segments are whose, and what lies in it."""

import fcntl
import logging
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ingest.errors import Unavailable
from ingest.spool import segment
from ingest.spool.reader import events_in
from ingest.spool.segment import Name

log = logging.getLogger(__name__)

#: How the files are called by which a process shows that it lives, and those that hold what could not be read.
LOCK, BAD = ".lock", ".bad"


def prepare(folder: Path) -> None:
    """Make the folder and see that files can be made in it, for this user only.

    Raises:
        Unavailable: they cannot; the message says what to do.
    """
    probe = folder / f"{os.getpid()}-{os.urandom(4).hex()}.probe"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with probe.open("xb") as file:
            file.write(segment.TITLE)
            file.flush()
            os.fsync(file.fileno())
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        probe.unlink()
    except OSError as error:
        with suppress(OSError):
            probe.unlink(missing_ok=True)
        raise Unavailable(
            f"The spool folder {folder} cannot be used ({error.strerror}): name another with INGEST_SPOOL_DIR, "
            "or do without a spool by INGEST_SPOOL_DIR=off."
        ) from None


def own(folder: Path) -> tuple[str, int]:
    """A name for this process, and the lock that says that it lives."""
    while True:
        owner = f"{os.getpid()}-{os.urandom(4).hex()}"
        file = os.open(folder / (owner + LOCK), os.O_RDWR | os.O_CREAT | os.O_EXCL, segment.MODE)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(file).st_nlink:
                return owner, file
        except BlockingIOError:  # a sibling looked whether it was free, and will take it for a dead process's
            log.debug("another name, then")
        os.close(file)


def is_held(path: Path, remove: bool = False) -> bool:
    """Whether the process that made a lock runs; that of a dead one may be removed.

    Removed while it is held here: its maker, if it is only about to take it, sees that and makes another.
    """
    try:
        file = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if remove:
            path.unlink(missing_ok=True)
    except OSError:
        return True
    finally:
        os.close(file)
    return False


class Figures(NamedTuple):
    """What lies in a folder, whosever it is."""

    events: int
    size: int
    oldest_age: float | None
    bad: int
    #: Living processes that keep calls there.
    owners: int


def look(folder: Path) -> Figures:
    """Look into a folder, which need not exist, without touching anything.

    Raises:
        Unavailable: it cannot be read.
    """
    try:
        paths = list(folder.iterdir()) if folder.exists() else []
        segments = [(path, name) for path in paths if (name := Name.of(path.name))]
        data = [(path.read_bytes(), name) for path, name in segments]
    except OSError as error:
        raise Unavailable(f"The spool folder {folder} cannot be read ({error.strerror}).") from None
    oldest = min((name.created_ns for _, name in segments), default=None)
    return Figures(
        sum(events_in(*one) for one in data),
        sum(len(one) for one, _ in data),
        None if oldest is None else max(0.0, time.time() - oldest / 1e9),
        sum(path.suffix == BAD for path in paths),
        sum(path.suffix == LOCK and is_held(path) for path in paths),
    )
