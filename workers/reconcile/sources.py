"""Where log files come from: over REST into a folder, or from this machine as they were downloaded by hand."""

import asyncio
import gzip
import zipfile
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

from ingest.copernica.api.client import Copernica
from ingest.copernica.events import SUSPECTED
from ingest.copernica.logfiles.kinds import KINDS, LogKind, named
from ingest.errors import LogFileError, LogFilesGone, NotFound
from ingest.settings import Settings
from workers.reconcile.logfile import LogFile, Watch

#: Largest size of what is in a .zip, as a multiple of its packed size: logs shrink to a tenth, bombs to nothing.
MAX_RATIO = 2000
#: Suffixes of packed files.
PACKED = (".gz", ".zip")


def client(settings: Settings) -> Copernica:
    """The REST client of these settings.

    Raises:
        SettingsError: COPERNICA_TOKEN is not set.
    """
    return Copernica(settings.token, settings.copernica_api_url, settings.copernica_auth_url)


def wanted_kinds(everything: bool) -> list[LogKind]:
    """The kinds to fetch: what webhooks bring, too, what explains some of it, and failed calls; or everything."""
    return [
        kind for kind in KINDS.values() if everything or kind.twin or kind.type is None or kind.type in SUSPECTED
    ]


async def fetch(copernica: Copernica, day: date, everything: bool, folder: Path, watch: Watch) -> list[LogFile]:
    """Download the log files of a day into a folder.

    A day without any event has no files, but lies between days that have some; other days are not known.

    Raises:
        RestError: Copernica did not provide them all; then none of them counts.
        LogFilesGone: Copernica no longer has log files of that day.
        NotFound: it does not have them yet.
    """
    kinds = {kind.prefix: kind for kind in wanted_kinds(everything)}
    names = await copernica.logfiles(day, kinds)
    if not names:
        days = await copernica.dates()
        if not days or not days[0] <= day <= days[-1]:
            reach = f"it has {days[0]} to {days[-1]}" if days else "it has none at all"
            kind_of_error = LogFilesGone if days and day < days[0] else NotFound
            raise kind_of_error(f"Copernica has no log files of {day}: {reach}.")
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_download(copernica, name, folder / name, watch)) for name in names]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [
        LogFile(name, kinds[named(name)[0].prefix], day, partial(_open, folder / name), task.result(), whole=True)
        for name, task in zip(names, tasks, strict=True)
    ]


async def _download(copernica: Copernica, name: str, path: Path, watch: Watch) -> int:
    return await copernica.download(name, path, partial(watch, f"downloading {name}"))


def _open(path: Path) -> BinaryIO:
    return path.open("rb")


def by_hand(paths: Sequence[Path], prefix: str | None, day: date | None, whole: bool = False) -> list[LogFile]:
    """Files that were downloaded by hand: plain, .gz, or .zip with one or more in it.

    Their kind and day are in their names, or given; `whole` says that none was cut off.

    Raises:
        LogFileError: a file cannot be read, or its kind or day is unknown.
    """
    files: list[LogFile] = []
    for path in paths:
        packed = path.suffix.lower() in PACKED  # and has a checksum of its own
        files += [file._replace(whole=whole or packed) for file in _by_hand(path, prefix, day)]
    return files


def _by_hand(path: Path, prefix: str | None, day: date | None) -> Iterator[LogFile]:
    try:
        size = path.stat().st_size
        if path.suffix.lower() == ".zip":
            with zipfile.ZipFile(path) as archive:
                members = [member for member in archive.infolist() if not member.is_dir()]
            for member in members:
                inside, unpacked = member.filename, member.file_size
                if unpacked > MAX_RATIO * max(member.compress_size, 1):
                    raise LogFileError(f"{path}: {inside} unpacks to more than any log file would.")
                yield _file(f"{path.name}:{inside}", inside, prefix, day, partial(_unzip, path, inside), unpacked)
        elif path.suffix.lower() == ".gz":
            yield _file(path.name, path.name, prefix, day, partial(_gunzip, path), None)
        else:
            yield _file(path.name, path.name, prefix, day, partial(_open, path), size)
    except OSError as error:
        raise LogFileError(f"{path} cannot be read: {error.strerror or error}.") from None
    except zipfile.BadZipFile:
        raise LogFileError(f"{path} is not a zip archive, or it is damaged: download it again.") from None


def _file(
    shown: str, name: str, prefix: str | None, day: date | None, opener: Callable[[], BinaryIO], size: int | None
) -> LogFile:
    if prefix is not None and day is not None:
        return LogFile(shown, KINDS[prefix], day, opener, size)
    try:
        kind, when = named(Path(name).name)
    except LogFileError as error:
        raise LogFileError(f"{str(error).rstrip('.')}; or say what it is with --kind and --day.") from None
    return LogFile(shown, KINDS[prefix] if prefix else kind, day or when, opener, size)


def _gunzip(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path, "rb"))


def _unzip(path: Path, member: str) -> BinaryIO:
    return cast(BinaryIO, zipfile.ZipFile(path).open(member))
