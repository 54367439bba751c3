"""The folder that processes share: whether it can be used, whose segments are whose, and what lies in it."""

import errno
import fcntl
import logging
import os
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ingest.errors import SpoolFailed, Unavailable
from ingest.spool import segment
from ingest.spool.locks import LOCK, is_held, unique_name
from ingest.spool.reader import BAD, WaitingSegment, events_in
from ingest.spool.segment import SegmentName

log = logging.getLogger(__name__)


#: What may be wrong with a disk without any mistake in a setting: it is full, over its quota, read-only, failing,
#: or the system is short of something.
PASSING = frozenset(
    {
        errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ENFILE, errno.EMFILE, errno.ENOMEM, errno.EAGAIN,
        errno.EFBIG, errno.ESTALE,
    }
)  # fmt: skip  # a list to be read across


def prepare(folder: Path) -> None:
    """Create the folder and see that files can be created in it, for this user only.

    Raises:
        OSError: they cannot.
    """
    probe = folder / f"{unique_name()}.probe"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with probe.open("xb") as file:
            file.write(segment.TITLE)
            file.flush()
            os.fsync(file.fileno())
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)


def require(folder: Path) -> SpoolFailed | None:
    """Make sure that the folder is of use; returns why it takes no calls at present, if it does not.

    Nothing needs to be written for calls to be replayed that lie in it, which may be what makes room.

    Raises:
        Unavailable: it cannot be used, which somebody has to mend; the message says how.
    """
    try:
        prepare(folder)
        return None
    except OSError as error:
        trouble = error
    try:
        holds_calls = any(SegmentName.parse(path.name) for path in folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        holds_calls = False
    except OSError as error:
        raise Unavailable(
            f"The spool folder {folder} cannot be read ({error.strerror}), and calls that were acknowledged may "
            "be in it: let this user read and write it; with another INGEST_SPOOL_DIR they would stay there."
        ) from None
    if holds_calls or trouble.errno in PASSING:
        return SpoolFailed(
            f"The spool folder {folder} takes no calls ({trouble.strerror}); those in it are replayed all the "
            "same, by an endpoint that uses this folder."
        )
    raise Unavailable(
        f"The spool folder {folder} cannot be used ({trouble.strerror}): name another with INGEST_SPOOL_DIR, "
        "or do without a spool by INGEST_SPOOL_DIR=off."
    )


class Adoption(NamedTuple):
    """What a look through the folder brought."""

    #: Segments of dead processes that are ours now; their events are not counted yet.
    segments: list[WaitingSegment]
    #: Bytes of segments whose owners are alive.
    others_bytes: int
    #: Files that hold what could not be read.
    bad_files: int


def adopt(folder: Path, owner: str | None, borrowed: Collection[Path], may_borrow: Callable[[], bool]) -> Adoption:
    """Take over, in the name of `owner`, the segments whose processes are dead.

    One that cannot be renamed is borrowed, as it is, unless it is among those that were `borrowed` before; so are
    all without an `owner`.

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
        if (name := SegmentName.parse(path.name)) is None or name.owner == owner or path in borrowed:
            continue
        if name.owner not in alive:
            alive[name.owner] = is_held(folder / (name.owner + LOCK), remove=True)
        try:
            if alive[name.owner]:
                others_bytes += path.stat().st_size
            elif taken := _take_over(path, name, owner, may_borrow):
                adopted.append(taken)
        except FileNotFoundError:
            continue  # another process took it over, or its owner has finished it
    return Adoption(adopted, others_bytes, bad_files)


def holds_only(folder: Path, owner: str) -> bool:
    """Whether `adopt` would find nothing but what is this living owner's; False if that cannot be seen."""
    lock = owner + LOCK
    try:
        names = {path.name for path in folder.iterdir()}
    except OSError:
        return False
    return lock in names and not any(_concerns_others(name, owner) for name in names - {lock})


def _concerns_others(name: str, owner: str) -> bool:
    segment_name = SegmentName.parse(name)
    return name.endswith((LOCK, BAD)) or (segment_name is not None and segment_name.owner != owner)


def _take_over(
    path: Path, name: SegmentName, owner: str | None, may_borrow: Callable[[], bool]
) -> WaitingSegment | None:
    """Make a segment ours; borrow it if it cannot be renamed, and if nobody else does."""
    size = path.stat().st_size
    ours = name._replace(owner=owner or "")
    try:
        if owner is None:
            raise PermissionError("without a name of our own")
        renamed = path.rename(path.with_name(str(ours)))
    except FileNotFoundError:
        raise
    except OSError as error:
        if not may_borrow():
            return None
        log.info("replaying %s as it is, since nothing can be written beside it: %s", path.name, error)
        return WaitingSegment(path, name, size, 0, is_borrowed=True)
    log.info("took over %s", renamed.name)
    try:
        segment.sync_folder(path.parent)
    except OSError as error:  # after a crash it has its old name again, and is taken over again
        log.warning("that %s was taken over may not be on disk: %s", renamed.name, error)
    return WaitingSegment(renamed, ours, size, 0)


@dataclass(frozen=True, slots=True)
class FolderFigures:
    """What lies in a folder, whoever wrote it."""

    events: int
    size_bytes: int
    oldest_age_seconds: float | None
    #: Files that hold what could not be read.
    bad_files: int
    #: Living processes that keep calls there, and have for a while.
    owners: int


def look(folder: Path, owned_for: float = 0.0) -> FolderFigures:
    """Look into a folder, which need not exist, without changing anything.

    Processes count as its owners once they have written to it, or have had it for so many seconds.

    Raises:
        Unavailable: it cannot be read.
    """
    try:
        paths = list(folder.iterdir()) if folder.exists() else []
        names = [(path, name) for path in paths if (name := SegmentName.parse(path.name))]
        segments = [(path.read_bytes(), name) for path, name in names]
    except OSError as error:
        raise Unavailable(
            f"The spool folder {folder} cannot be read ({error.strerror}): let this user read it."
        ) from None
    writers = {name.owner for _, name in segments}
    oldest_ns = min((name.created_ns for _, name in segments), default=None)
    return FolderFigures(
        events=sum(events_in(data, name) for data, name in segments),
        size_bytes=sum(len(data) for data, _ in segments),
        oldest_age_seconds=None if oldest_ns is None else max(0.0, time.time() - oldest_ns / 1e9),
        bad_files=sum(path.suffix == BAD for path in paths),
        owners=sum(
            (path.stem in writers or _is_older(path, owned_for)) and is_held(path)
            for path in paths
            if path.suffix == LOCK
        ),
    )


def _is_older(path: Path, seconds: float) -> bool:
    try:
        return time.time() - path.stat().st_mtime >= seconds
    except OSError:  # it is gone, and its process with it
        return False


def delete_bad(folder: Path, before: float) -> int:
    """Delete files of what could not be read that were written before a Unix time; returns how many."""
    deleted = 0
    for path in folder.glob(f"*{BAD}"):
        with suppress(OSError):  # gone in the meantime, or another user's: then it is not counted
            if path.stat().st_mtime < before:
                path.unlink()
                deleted += 1
    return deleted
