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
from ingest.copernica.logfiles.kinds import KINDS, LogKind, named
from ingest.errors import LogFileError, NotFound
from ingest.settings import Settings
from workers.reconcile.recovery import LogFile, Watch

#: Bytes that a .gz or .zip may unpack to, as a multiple of its own size: logs shrink to a tenth, bombs to nothing.
MAX_RATIO = 2000
#: How names of packed files end.
PACKED = (".gz", ".zip")


def client(settings: Settings) -> Copernica:
    """The REST client of these settings.

    Raises:
        SettingsError: there is no token.
    """
    return Copernica(settings.token, settings.copernica_api_url, settings.copernica_auth_url)


def wanted_kinds(everything: bool) -> list[LogKind]:
    """Kinds to fetch: those that webhooks bring, too, and the errors of the endpoint; or all."""
    return [kind for kind in KINDS.values() if everything or kind.twin or kind.type is None]


async def fetch(copernica: Copernica, day: date, everything: bool, folder: Path, watch: Watch) -> list[LogFile]:
    """Download the log files of a day into a folder.

    A day without any event has no files; it lies between days that have some. Of others nothing can be said.

    Raises:
        RestError: Copernica did not give them; none of them counts then.
        NotFound: Copernica has no log files of that day any more, or not yet.
    """
    kinds = {kind.prefix: kind for kind in wanted_kinds(everything)}
    names = await copernica.logfiles(day, kinds)
    if not names:
        days = await copernica.dates()
        if not days or not days[0] <= day <= days[-1]:
            reach = f"it has {days[0]} to {days[-1]}" if days else "it has none at all"
            raise NotFound(f"Copernica has no log files of {day}: {reach}.")
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
    """Files that somebody downloaded: plain, .gz, or .zip with one or more in it.

    What they are is in their names, or what the caller says; `whole` says that none was cut off.

    Raises:
        LogFileError: a file cannot be read, or nobody says what it is.
    """
    found = []
    for path in paths:
        packed = path.suffix.lower() in PACKED  # and has a checksum of its own
        found += [file._replace(whole=whole or packed) for file in _by_hand(path, prefix, day)]
    return found


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
        raise LogFileError(f"{path} is no zip archive, or a damaged one: download it again.") from None


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
