"""Where files go to, and the kind of target that is a folder."""

import errno
import fcntl
import os
import re
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, Protocol

from ingest.errors import SettingsError, Unavailable

#: How the name of a file begins and ends that is being written. Other programs pass over what begins with a point.
UNFINISHED = ".ingest-", ".tmp"
#: The file that whoever writes to a folder has locked.
LOCK = ".ingest-export.lock"
#: Modes where a group may read what is exported: what we make is private otherwise, see `ingest.private_files`.
SHARED_FILE, SHARED_FOLDER = 0o640, 0o2750
#: In which URLs of object stores begin.
S3 = "s3://"
#: How a URL begins, which is no folder: also with a slash too few.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/")


class Stored(NamedTuple):
    """A file at a target: its size, and what it is called by in this version, if the target says so."""

    size: int
    etag: str | None = None


class Target(Protocol):
    """Somewhere files are put, each of them as a whole or not at all. Names have `/` between their parts."""

    @property
    def shown(self) -> str:
        """The target for messages: without anything secret."""

    def alone(self) -> AbstractContextManager[None]:
        """Have nobody else write to it in the block, where that can be had.

        Raises:
            Unavailable: somebody else does.
        """

    def scratch(self) -> AbstractContextManager[Path]:
        """A file of no name that others know, gone at the end of the block unless it was `put`."""

    def folders(self) -> Sequence[str]:
        """The folders in it, by their names."""

    def listed(self, folder: str) -> Mapping[str, Stored]:
        """The files in a folder, by their names in it."""

    def read(self, name: str) -> bytes | None:
        """What is in a small file; None if it is not there."""

    def put(self, name: str, path: Path) -> Stored:
        """Put a file from `scratch` in place of the one with this name, in one step."""

    def write(self, name: str, data: bytes) -> None:
        """The same with what is in memory; what was put into that folder before is on disk before this is."""

    def delete(self, name: str) -> None:
        """Delete a file, if it is there."""


class Folder:
    """A target on disk: private, or readable by a group if the folder hands its group on."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def shown(self) -> str:
        """The path."""
        return str(self._path)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """By a lock, which ends with the process; what one that was killed has left unfinished is deleted."""
        with self._explained():
            self._path.mkdir(parents=True, exist_ok=True)
            lock = (self._path / LOCK).open("a")
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Unavailable(f"Another export is writing to {self.shown}: wait until it is done.") from None
            with self._explained():
                for left in self._path.glob(f"{UNFINISHED[0]}*{UNFINISHED[1]}"):
                    left.unlink(missing_ok=True)
            yield

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """On the same disk, since only there can it take the place of another in one step."""
        with self._explained():
            handle, name = tempfile.mkstemp(UNFINISHED[1], UNFINISHED[0], self._path)
            os.close(handle)
            try:
                yield Path(name)
            finally:
                Path(name).unlink(missing_ok=True)

    def folders(self) -> Sequence[str]:
        """Those below the path."""
        with self._explained():
            return [one.name for one in self._path.iterdir() if one.is_dir()]

    def listed(self, folder: str) -> Mapping[str, Stored]:
        """By their sizes."""
        with self._explained(), suppress(FileNotFoundError):
            return {
                one.name: Stored(one.stat().st_size) for one in (self._path / folder).iterdir() if one.is_file()
            }
        return {}

    def read(self, name: str) -> bytes | None:
        """What is in a file."""
        with self._explained(), suppress(FileNotFoundError):
            return (self._path / name).read_bytes()
        return None

    def put(self, name: str, path: Path) -> Stored:
        """By renaming it, once it is on disk."""
        target = self._path / name
        with self._explained():
            target.parent.mkdir(parents=True, exist_ok=True)
            if self._is_shared():
                if not target.parent.stat().st_mode & stat.S_IRGRP:
                    target.parent.chmod(SHARED_FOLDER)
                path.chmod(SHARED_FILE)
            with path.open("rb") as file:
                os.fsync(file.fileno())
                size = os.fstat(file.fileno()).st_size
            path.replace(target)
        return Stored(size)

    def write(self, name: str, data: bytes) -> None:
        """The same by way of a file."""
        folder = (self._path / name).parent
        with self.scratch() as path:
            path.write_bytes(data)
            if folder.exists():
                _sync(folder)
            self.put(name, path)
        with self._explained():
            _sync(folder)
            _sync(self._path)

    def delete(self, name: str) -> None:
        """Delete a file."""
        with self._explained():
            (self._path / name).unlink(missing_ok=True)

    def _is_shared(self) -> bool:
        """Whether the folder hands its group on, as `chmod g+s` has it do, and that may read it."""
        wanted = stat.S_ISGID | stat.S_IRGRP
        return self._path.stat().st_mode & wanted == wanted

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise Unavailable(
                    f"There is no room left at {self.shown}: make some, and run the same again to do the rest."
                ) from error
            raise Unavailable(
                f"{self.shown} cannot be written to: {error.strerror or error}; let this user write there, or "
                "name another place."
            ) from error


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def target_of(to: str) -> Target:
    """The target that a person, or a setting, has named.

    Raises:
        SettingsError: it is no folder and no bucket.
    """
    if to.lower().startswith(S3):
        from workers.export.objects import Bucket  # noqa: PLC0415  # needs an extra

        return Bucket.of(to)
    if _URL.match(to):
        raise SettingsError("Exports go to a folder or to s3://bucket/prefix, not to a URL of another kind.")
    return Folder(Path(to))
