"""Small notes beside the spool, which outlive their process: what it would have told Redis, had that been there.

Each process overwrites a file of its own and holds a lock on it; whoever finds the lock of one free tells what is
in it instead. A write reaches the system's memory and so survives a kill; only now and then is it forced to disk.
"""

import fcntl
import logging
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ingest.spool.locks import is_held, unique_name
from ingest.spool.segment import MODE

log = logging.getLogger(__name__)

#: How the files are called.
NOTE = ".coverage"
#: Notes of dead processes that are read at once.
MOST_AT_ONCE = 100
#: Notes in a folder from which on the oldest go: those of an endpoint that has died at every start for an hour.
MOST_NOTES = 1000
#: Seconds after which a note without a word is that of a process that died at its start.
EMPTY_FOR = 60.0


class FoundNote(NamedTuple):
    """What a process has left that is dead by now."""

    path: Path
    text: bytes


class Notes:
    """The notes in the folder of a spool. Without a folder that can be written to, nothing is noted."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path: Path | None = None
        self._file: int | None = None
        self._size = 0

    def write(self, text: bytes, sync: bool = False) -> bool:
        """Replace what this process has noted, on disk as well if that is asked for; whether it was done."""
        try:
            file = self._opened()
            os.pwrite(file, text.ljust(self._size), 0)
            self._size = max(self._size, len(text))
            if sync:
                os.fsync(file)
        except OSError as error:
            log.debug("nothing can be noted in %s: %s", self._folder, error)
            self.close()
            return False
        return True

    def _opened(self) -> int:
        if self._file is None or not os.fstat(self._file).st_nlink:
            self.close()
            path = self._folder / (unique_name() + NOTE)
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, MODE)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:  # a sibling looks at it just now: another one, next time
                os.close(file)
                raise
            self._path, self._file, self._size = path, file, 0
        return self._file

    def close(self, remove: bool = False) -> None:
        """Leave the note to others, or remove it."""
        if self._file is None or self._path is None:
            return
        if remove:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)
        os.close(self._file)
        self._path = self._file = None

    def found(self) -> Iterator[FoundNote]:
        """What dead processes have left, some of it at a time; `remove` each once it is told elsewhere."""
        try:
            paths = sorted(self._folder.glob("*" + NOTE))
        except OSError:
            return
        dead = [path for path in paths if path != self._path and not is_held(path)]
        if len(dead) > MOST_NOTES:
            dead = self._newest(dead)
        for path in dead[:MOST_AT_ONCE]:
            with suppress(OSError):
                if text := path.read_bytes().rstrip():
                    yield FoundNote(path, text)
                elif time.time() - path.stat().st_mtime > EMPTY_FOR:
                    self.remove(path)

    def _newest(self, paths: list[Path]) -> list[Path]:
        by_age = sorted(paths, key=_changed_at)
        for path in by_age[:-MOST_NOTES]:
            self.remove(path)
        return by_age[-MOST_NOTES:]

    def remove(self, path: Path) -> None:
        """What this note says is told elsewhere, or worth nothing."""
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _changed_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
