"""Files that only their owner can read: calls, events and keys lie in them.

Everything a process of ours creates is private from the first moment, by its umask (`ingest.cli.main`): the
database with what SQLite puts beside it, the spool, the files of the private Redis server, keys, and what handlers
write. What an earlier release, a copy or a backup has left open is closed at the start; `ingest check` names it.
"""

import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ingest.setting_sources import DEV_FILE
from ingest.settings import KEYS_FILE, REDIS_URL_FILE, SIGNER_FILE, Settings

#: The rights that nobody but the owner may have.
OTHERS = 0o077
#: The modes that files and folders are given.
FILE_MODE, FOLDER_MODE = 0o600, 0o700
#: Beginnings of the names of what is in the data folder.
DATA_FILES = (KEYS_FILE, REDIS_URL_FILE, SIGNER_FILE, "call.curl", "dev.lock", DEV_FILE, "ingest.db")
#: Folders in it.
DATA_FOLDERS = ("redis", "spool")
#: Ends of the names of what is in the spool.
SPOOL_ENDS = (".spool", ".bad", ".lock", ".probe")
#: What SQLite puts beside a database.
SQLITE_ENDS = ("", "-wal", "-shm", "-journal")


def open_to_others(settings: Settings) -> Iterator[tuple[Path, int]]:
    """Files of these settings that others may read or write, and folders in which nothing but such files lies.

    Each with its mode.
    """
    for path in dict.fromkeys(_ours(settings)):
        with suppress(OSError):  # gone meanwhile, or in a folder that is closed to us
            mode = stat.S_IMODE(path.lstat().st_mode)
            if mode & OTHERS and not path.is_symlink():
                yield path, mode


def close_to_others(settings: Settings) -> None:
    """Take all rights of others from these files, as far as they are ours to change."""
    for path, _ in open_to_others(settings):
        with suppress(OSError):
            path.chmod(FOLDER_MODE if path.is_dir() else FILE_MODE)


def _ours(settings: Settings) -> Iterator[Path]:
    yield from _data(settings.data_dir)
    if (file := settings.sqlite_file) is not None:
        yield from (file.with_name(file.name + end) for end in SQLITE_ENDS)
    if settings.spool_dir is not None:
        found = _entries(settings.spool_dir)
        ours = [path for path in found if path.name.endswith(SPOOL_ENDS)]
        yield from ours
        if len(ours) == len(found):
            yield settings.spool_dir


def _data(folder: Path) -> Iterator[Path]:
    found = _entries(folder)
    files = [path for path in found if path.name.startswith(DATA_FILES)]
    folders = [path for path in found if path.name in DATA_FOLDERS and path.is_dir()]
    yield from files
    redis = folder / "redis"
    if redis in folders:
        yield redis
        yield from (inside for inside in redis.rglob("*") if not inside.is_socket())
    # A folder that holds other things as well may be open on purpose; what is ours in it is closed.
    if files and len(files) + len(folders) == len(found):
        yield folder


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []
