"""Log files over REST: downloaded into a folder. Those that people give are in `workers.reconcile.by_hand`."""

import asyncio
import logging
from datetime import date
from functools import partial
from pathlib import Path
from typing import BinaryIO

from ingest import unencrypted
from ingest.copernica.api.client import Copernica
from ingest.copernica.events import SUSPECTED
from ingest.copernica.logfiles.kinds import KINDS, LogKind, named
from ingest.copernica.logfiles.rows import Unreadable
from ingest.copernica.logfiles.text import encoding_of
from ingest.errors import LogFilesGone, NotFound
from ingest.settings import Settings
from workers.reconcile.by_hand import with_encoding
from workers.reconcile.logfile import LogFile, Watch

log = logging.getLogger(__name__)


def client(settings: Settings) -> Copernica:
    """The REST client of these settings.

    Raises:
        SettingsError: COPERNICA_TOKEN is not set.
    """
    for risk in unencrypted.of_api(settings):
        log.warning("%s", risk.text, extra={"event": "api-unencrypted"})
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
        await asyncio.to_thread(_looked_at, name, kinds[named(name)[0].prefix], day, folder / name, task.result())
        for name, task in zip(names, tasks, strict=True)
    ]


async def _download(copernica: Copernica, name: str, path: Path, watch: Watch) -> int:
    return await copernica.download(name, path, partial(watch, f"downloading {name}"))


def _open(path: Path) -> BinaryIO:
    return path.open("rb")


def _looked_at(name: str, kind: LogKind, day: date, path: Path, size: int) -> LogFile:
    """A file with the encoding in which it is written; if it is no text, reading it will say so."""
    file = LogFile(name, kind, day, partial(_open, path), size, whole=True)
    try:
        with path.open("rb") as stream:
            return with_encoding(file, encoding_of(stream))
    except Unreadable:
        return file
