"""How processes that share a spool's folder see whose files are whose: locks, which end with their process."""

import errno
import fcntl
import logging
import os
from contextlib import suppress
from pathlib import Path

from ingest.spool import segment

log = logging.getLogger(__name__)

#: How files are called by which a process shows that it is alive.
LOCK = ".lock"


def unique_name() -> str:
    """A name that no other process takes."""
    return f"{os.getpid()}-{os.urandom(4).hex()}"


class OwnerLock:
    """A name for this process in the folder, and the lock by which others see that it is alive."""

    def __init__(self, folder: Path) -> None:
        """Take it.

        Raises:
            OSError: no file can be created in the folder.
        """
        self._folder = folder
        self.owner, self._file = self._acquire()

    def _acquire(self) -> tuple[str, int]:
        while True:
            owner = unique_name()
            if (file := self._locked(owner)) is not None:
                return owner, file

    def _locked(self, owner: str) -> int | None:
        """The lock of that name, made and held; None if a sibling looked at it in between, and deleted it."""
        file = os.open(self._folder / (owner + LOCK), os.O_RDWR | os.O_CREAT | os.O_EXCL, segment.MODE)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(file).st_nlink:
                return file
        except BlockingIOError:  # a sibling is testing it, and will take it for a dead process's
            log.debug("a sibling looked at our lock before we had it")
        os.close(file)
        return None

    def ensure(self) -> None:
        """See to it that others still see it: somebody may have deleted it, or have put another folder there.

        Raises:
            OSError: it cannot be made again.
        """
        path = self._folder / (self.owner + LOCK)
        with suppress(FileNotFoundError):
            if os.path.samestat(path.stat(), os.fstat(self._file)):
                return
        path.unlink(missing_ok=True)  # one that we made and could not hold
        if (file := self._locked(self.owner)) is None:
            raise BlockingIOError(errno.EAGAIN, "another process looks at the lock")
        os.close(self._file)
        self._file = file

    def release(self) -> None:
        """Give up the name: this process looks after nothing here any more."""
        with suppress(OSError):  # others find it free all the same
            (self._folder / (self.owner + LOCK)).unlink(missing_ok=True)
        os.close(self._file)


class FolderLock:
    """Held by the one process that replays what is in a folder in which nothing can be written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: int | None = None

    def take(self) -> bool:
        """Whether this process holds it (now)."""
        if self._file is None:
            file = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(file)
                return False
            self._file = file
        return True

    def release(self) -> None:
        """Let another process have it."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def is_held(path: Path, remove: bool = False) -> bool:
    """Whether the process that made a lock is alive; the lock of a dead one is removed if asked to.

    It is removed while it is held here: a process that has made it and is about to take it sees that, and makes
    another.
    """
    try:
        file = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if remove:
            with suppress(OSError):  # where nothing can be written it stays, and is free
                path.unlink(missing_ok=True)
    except OSError:
        return True
    finally:
        os.close(file)
    return False
