"""The folder that processes share: whether it can be used, whose segments are whose, and what lies in it."""

import fcntl
import logging
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ingest.errors import Unavailable
from ingest.spool import segment
from ingest.spool.reader import BAD, WaitingSegment, events_in
from ingest.spool.segment import SegmentName

log = logging.getLogger(__name__)

#: How files are called by which a process shows that it is alive.
LOCK = ".lock"


def prepare(folder: Path) -> None:
    """Create the folder and see that files can be created in it, for this user only.

    Raises:
        Unavailable: they cannot; the message says what to do.
    """
    probe = folder / f"{_unique_name()}.probe"
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


def _unique_name() -> str:
    return f"{os.getpid()}-{os.urandom(4).hex()}"


class OwnerLock:
    """A name for this process in the folder, and the lock by which others see that it is alive."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.owner, self._file = self._acquire()

    def _acquire(self) -> tuple[str, int]:
        while True:
            owner = _unique_name()
            file = os.open(self._folder / (owner + LOCK), os.O_RDWR | os.O_CREAT | os.O_EXCL, segment.MODE)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(file).st_nlink:
                    return owner, file
            except BlockingIOError:  # a sibling is testing it, and will take it for a dead process's
                log.debug("a sibling looked at our lock before we had it")
            os.close(file)

    def release(self) -> None:
        """Give up the name: this process looks after nothing here any more."""
        (self._folder / (self.owner + LOCK)).unlink(missing_ok=True)
        os.close(self._file)


def is_held(path: Path, remove: bool = False) -> bool:
    """Whether the process that made a lock is alive; the lock of a dead one is removed if asked to.

    It is removed while it is held here: a process that has made it and is about to take it sees that, and makes
    another.
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


class Adoption(NamedTuple):
    """What a look through the folder brought."""

    #: Segments of dead processes that are ours now; their events are not counted yet.
    segments: list[WaitingSegment]
    #: Bytes of segments whose owners are alive.
    others_bytes: int
    #: Files that hold what could not be read.
    bad_files: int


def adopt(folder: Path, owner: str) -> Adoption:
    """Take over, in the name of `owner`, the segments whose processes are dead.

    Raises:
        OSError: the folder cannot be read.
    """
    adopted = []
    others_bytes = bad_files = 0
    alive = {owner: True}
    for path in sorted(folder.iterdir()):
        bad_files += path.suffix == BAD
        if path.suffix == LOCK and path.stem != owner:
            alive[path.stem] = is_held(path, remove=True)
        if (name := SegmentName.parse(path.name)) is None or name.owner == owner:
            continue
        if name.owner not in alive:
            alive[name.owner] = is_held(folder / (name.owner + LOCK), remove=True)
        try:
            if alive[name.owner]:
                others_bytes += path.stat().st_size
            else:
                adopted.append(_take_over(path, name._replace(owner=owner)))
        except FileNotFoundError:
            continue  # another process took it over, or its owner has finished it
        except OSError as error:  # those that were taken over must be looked after
            log.error("the segment %s cannot be taken over: %s", path, error)
    return Adoption(adopted, others_bytes, bad_files)


def _take_over(path: Path, name: SegmentName) -> WaitingSegment:
    size = path.stat().st_size
    ours = path.rename(path.with_name(str(name)))
    log.info("took over %s", path.name)
    try:
        segment.sync_folder(path.parent)
    except OSError as error:  # after a crash it has its old name again, and is taken over again
        log.warning("that %s was taken over may not be on disk: %s", path.name, error)
    return WaitingSegment(ours, name, size, 0)


@dataclass(frozen=True, slots=True)
class FolderFigures:
    """What lies in a folder, whoever wrote it."""

    events: int
    size_bytes: int
    oldest_age_seconds: float | None
    #: Files that hold what could not be read.
    bad_files: int
    #: Living processes that keep calls there.
    owners: int


def look(folder: Path) -> FolderFigures:
    """Look into a folder, which need not exist, without changing anything.

    Raises:
        Unavailable: it cannot be read.
    """
    try:
        paths = list(folder.iterdir()) if folder.exists() else []
        names = [(path, name) for path in paths if (name := SegmentName.parse(path.name))]
        segments = [(path.read_bytes(), name) for path, name in names]
    except OSError as error:
        raise Unavailable(f"The spool folder {folder} cannot be read ({error.strerror}).") from None
    oldest_ns = min((name.created_ns for _, name in segments), default=None)
    return FolderFigures(
        events=sum(events_in(data, name) for data, name in segments),
        size_bytes=sum(len(data) for data, _ in segments),
        oldest_age_seconds=None if oldest_ns is None else max(0.0, time.time() - oldest_ns / 1e9),
        bad_files=sum(path.suffix == BAD for path in paths),
        owners=sum(path.suffix == LOCK and is_held(path) for path in paths),
    )
