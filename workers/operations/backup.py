"""Backups of SQLite: a consistent copy while everything runs, and one put in the database's place.

To copy the file by hand is wrong twice: beside a running program it lacks what is in the write-ahead log, and what
is put in its place meets the log of the other, which SQLite then writes into it.

What is being written has a lock beside it, in a file of its own: SQLite locks its files itself. If nobody has that
lock any more, a backup or a restore was killed: the next one in that folder deletes what it left.
"""

import fcntl
import os
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from ingest.errors import Unavailable
from workers.store import schema
from workers.store.dialects import backend_for
from workers.store.sqlite import LOCK_TIMEOUT, SQLite

#: Pages (4 KiB each) copied between two looks at Ctrl-C and at how far it is: 16 MiB.
PAGES = 4096
#: What SQLite puts beside a database while it is open.
ENDS = ("-wal", "-shm", "-journal")
#: What stands before the drawn digits in the name of a file that is being written, and what ends that of its lock.
PART, LOCK = ".part-", "-lock"
#: Seconds for which such a lock is left alone though nobody has it: it may be about to be locked.
YOUNG = 60.0


def back_up(url: str, to: Path, progress: Callable[[float], object] = lambda part: None) -> int:
    """Copy the database as it is at this moment to a new file that only its owner can read; returns its events.

    Others go on writing meanwhile; the write-ahead log grows until it is done. The copy is looked through, and has
    its name only when it is whole and on disk.

    Raises:
        Unavailable: it is not SQLite, there is such a file already, or something cannot be read or written.
    """
    source = _file(url, "pg_dump --format=custom --file=FILE")
    if not source.exists():
        raise Unavailable(f"There is no database at {source} to make a backup of: see what DATABASE_URL names.")
    _require_new(to)
    with _new(to) as part:
        with closing(_connected(source)) as original, closing(sqlite3.connect(part)) as copy:
            original.execute("BEGIN")
            original.execute("SELECT count(*) FROM sqlite_master").fetchone()  # what is seen from now on stays so
            told = _Told(progress)
            original.backup(copy, pages=PAGES, progress=told, sleep=0.0)
            copy.execute("PRAGMA journal_mode=DELETE")  # one file, with nothing beside it
        events = verify(part)
        _put(part, to)
    return events


def restore(url: str, backup: Path) -> Path | None:
    """Put a copy of a backup in the place of the database, which nothing may use meanwhile.

    Returns where the database that was there is now, with what was beside it; None if there was none.

    Raises:
        Unavailable: the database is not SQLite, it is in use, or something cannot be read or written.
    """
    place = _file(url, "pg_restore --dbname=DATABASE_URL FILE")
    if place.is_symlink():  # to a disk with more room: it stays, and SQLite has its own files there
        place = place.resolve()
    if not backup.exists():
        raise Unavailable(f"There is no file {backup}: name one that `ingest db backup` has made.")
    if place.exists() and backup.samefile(place):
        raise Unavailable(f"{backup} is the database itself: name a backup of it.")
    verify(backup)
    place.absolute().parent.mkdir(parents=True, exist_ok=True)
    with _new(place) as part:
        with closing(_connected(backup)) as original, closing(sqlite3.connect(part)) as copy:
            original.backup(copy, pages=PAGES)
            copy.execute("PRAGMA journal_mode=DELETE")
        verify(part)
        _give_to_owner(part, place)
        _on_disk(part)
        aside = _put_aside(place)
        try:
            if aside is None:
                _require_new(place)
            part.replace(place)
        except BaseException:
            if aside is not None:
                _take_back(aside, place)
            raise
        _on_disk(place.absolute().parent)
    return aside


def verify(file: Path) -> int:
    """Look a backup through; returns how many events it has.

    Raises:
        Unavailable: it is damaged, or no database of ours, or of a newer release.
    """
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise Unavailable(f"{file} is damaged: {found}.")
            version = connection.execute("SELECT version_num FROM alembic_version").fetchone()[0]
            events = int(connection.execute("SELECT count(*) FROM events").fetchone()[0])
    except (sqlite3.Error, TypeError) as error:
        raise Unavailable(
            f"{file} is no backup of a database of ours ({error}): name one that `ingest db backup` has made."
        ) from None
    if version > schema.VERSION:
        raise Unavailable(
            f"{file} has schema {version}, newer than this program's {schema.VERSION}: install the release that "
            "made it."
        )
    return events


def _file(url: str, instead: str) -> Path:
    backend = backend_for(url)
    if url.startswith("mysql:"):
        raise Unavailable(
            "This is for SQLite; MariaDB has its own: `mariadb-dump --single-transaction` (docs/mariadb.md)."
        )
    if not isinstance(backend, SQLite) or backend.path is None:
        raise Unavailable(f"This is for SQLite; PostgreSQL has its own: `{instead}` (docs/operations.md).")
    return backend.path


def _connected(file: Path) -> sqlite3.Connection:
    return sqlite3.connect(file, timeout=LOCK_TIMEOUT, isolation_level=None)


def _require_new(file: Path) -> None:
    if file.exists() or file.is_symlink():
        raise Unavailable(f"There is a file {file} already, and nothing is overwritten: name another.")


class _Told:
    """How far a copy has come, as `sqlite3` tells it."""

    def __init__(self, progress: Callable[[float], object]) -> None:
        self._progress = progress

    def __call__(self, _status: int, left: int, total: int) -> None:
        self._progress(1 - left / max(total, 1))


@contextmanager
def _new(file: Path) -> Iterator[Path]:
    """A file beside it that only its owner can read, gone at the end of the block."""
    # Drawn: in containers, process ids are alike.
    part = file.with_name(f"{file.name}{PART}{secrets.token_hex(4)}")
    try:
        _tidy(file.parent)
        with _locked(part):
            try:
                os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
                yield part
            finally:
                _delete(str(part))
    except OSError as error:
        raise Unavailable(
            f"{error.filename or part} cannot be written ({error.strerror}): make room, or name another file."
        ) from None
    except sqlite3.Error as error:
        raise Unavailable(
            f"The database cannot be copied to {file} ({error}): nothing was changed, so try again."
        ) from None


@contextmanager
def _locked(part: Path) -> Iterator[None]:
    """In this block, others see that somebody writes this file."""
    name = Path(f"{part}{LOCK}")
    lock = os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with suppress(OSError):  # where there are no locks, nobody can have one, and nothing is deleted
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        name.unlink(missing_ok=True)
        os.close(lock)


def _tidy(folder: Path) -> None:
    """Delete what those have left in a folder that were killed."""
    for name in folder.glob(f"*{PART}{'[0-9a-f]' * 8}{LOCK}"):
        with suppress(OSError), open(name, "rb", opener=_open_at_once) as lock:  # another user's, say
            found = os.fstat(lock.fileno())
            if found.st_uid == os.geteuid() and found.st_mtime < time.time() - YOUNG:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _delete(str(name).removesuffix(LOCK))
                name.unlink()


def _delete(part: str) -> None:
    """Delete a file that is not whole, and what SQLite has put beside it."""
    for end in ("", *ENDS):
        Path(f"{part}{end}").unlink(missing_ok=True)


def _open_at_once(name: str, flags: int) -> int:
    """What anybody may have put there: a named pipe would be waited for, and a link may lead anywhere."""
    return os.open(name, flags | os.O_NONBLOCK | os.O_NOFOLLOW)


def _put(part: Path, to: Path) -> None:
    """Give a file its name, once it is on disk."""
    _on_disk(part)
    _require_new(to)
    part.rename(to)
    _on_disk(to.absolute().parent)


def _on_disk(path: Path) -> None:
    """Wait until a file, or the names in a folder, would outlive a loss of power."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _give_to_owner(part: Path, place: Path) -> None:
    """Have what root restores belong to whom the database, or else its folder, belongs: they have to open it."""
    if os.geteuid() == 0:
        owner = (place if place.exists() else place.absolute().parent).stat()
        os.chown(part, owner.st_uid, owner.st_gid)


def _put_aside(place: Path) -> Path | None:
    if not place.exists():
        for end in ENDS:  # of a database that somebody has deleted: SQLite would write it into the one that comes
            Path(f"{place}{end}").unlink(missing_ok=True)
        return None
    with suppress(sqlite3.DatabaseError), closing(_connected(place)) as connection:
        connection.execute("PRAGMA busy_timeout=1000")
        try:  # takes in the write-ahead log, and needs to be alone
            connection.execute("PRAGMA journal_mode=DELETE")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            raise Unavailable(f"{place} is in use: stop all endpoints, workers and consoles first.") from None
    aside = place.with_name(f"{place.name}.before-{datetime.now(UTC):%Y%m%dT%H%M%S}")
    _require_new(aside)
    _move_ends(place, aside)
    try:  # by a second name: who is killed from now on leaves the one database in its place, or the other
        os.link(place, aside)
    except OSError:  # on a file system without
        place.rename(aside)
    return aside


def _take_back(aside: Path, place: Path) -> None:
    """Have the database be in its place alone again: without one, an empty one would be made there."""
    _move_ends(aside, place)
    aside.replace(place)
    aside.unlink(missing_ok=True)  # the second name of what is there


def _move_ends(place: Path, to: Path) -> None:
    """Move what lies beside a database."""
    for end in ENDS:
        with suppress(FileNotFoundError):
            Path(f"{place}{end}").rename(f"{to}{end}")
