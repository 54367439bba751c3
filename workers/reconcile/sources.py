"""Log files over REST: downloaded into a folder. Those that people give are in `workers.reconcile.by_hand`."""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ingest import unencrypted
from ingest.copernica.api.client import Copernica
from ingest.copernica.api.retry import RetryPolicy
from ingest.copernica.events import SUSPECTED
from ingest.copernica.logfiles.kinds import FAILED_CALLS, KINDS, LogKind, named
from ingest.copernica.logfiles.rows import Unreadable
from ingest.copernica.logfiles.text import encoding_of
from ingest.copernica.smtpeter.client import SMTPeter
from ingest.copernica.smtpeter.events import PREFIXES
from ingest.errors import LogFilesGone, NotFound, RestError
from ingest.settings import Settings
from workers.reconcile.by_hand import with_encoding
from workers.reconcile.logfile import LogFile, Watch

log = logging.getLogger(__name__)

#: Seconds between two calls of `breathe` while files are downloaded.
BREATH = 1.0


class Source(NamedTuple):
    """A service that has log files: what it is called, its client, and the kinds of files to look for there."""

    name: str
    api: Copernica | SMTPeter
    prefixes: Collection[str]

    @property
    def logged(self) -> frozenset[str]:
        """The types that it surely logs: a day without files of theirs had none of them."""
        prefixes = PREFIXES if isinstance(self.api, SMTPeter) else [one for one in KINDS if one.startswith("cdm-")]
        return frozenset(kind.type for one in prefixes if (kind := KINDS[one]).type and kind.twin)


class Fetched(NamedTuple):
    """The files of a day, and what of it failed: the files of a service are all there, or none.

    `today` is the date that it is for all of them; `logged` are the types that they surely log.
    """

    files: Sequence[LogFile]
    today: date
    logged: frozenset[str]
    failures: Sequence[RestError]


def client(settings: Settings, policy: RetryPolicy | None = None) -> Copernica:
    """The REST client of these settings.

    Raises:
        SettingsError: COPERNICA_TOKEN is not set.
    """
    _warn(settings)
    return Copernica.with_settings(settings, policy)


def _warn(settings: Settings) -> None:
    for risk in unencrypted.of_api(settings):
        log.warning("%s", risk.text, extra={"event": "api-unencrypted"})


def sources(settings: Settings, policy: RetryPolicy | None = None) -> list[Source]:
    """Those of these settings: Copernica, SMTPeter, or both.

    Only SMTPeter is asked for the files of SMTPeter, if its token is set; either may list calls that failed.

    Raises:
        SettingsError: neither token is set.
    """
    found: list[Source] = []
    if settings.smtpeter_token is None or settings.copernica_token is not None:
        prefixes = set(KINDS) if settings.smtpeter_token is None else set(KINDS) - set(PREFIXES)
        found.append(Source("Copernica", client(settings, policy), prefixes))
    else:
        _warn(settings)
    if settings.smtpeter_token is not None:
        found.append(Source("SMTPeter", SMTPeter.with_settings(settings, policy), {*PREFIXES, FAILED_CALLS}))
    return found


def wanted_kinds(everything: bool) -> list[LogKind]:
    """The kinds to fetch: what webhooks bring, too, what explains some of it, and failed calls; or everything."""
    return [
        kind for kind in KINDS.values() if everything or kind.twin or kind.type is None or kind.type in SUSPECTED
    ]


async def fetched(
    wanted: Sequence[Source],
    day: date,
    everything: bool,
    folder: Path,
    watch: Watch,
    breathe: Callable[[], object],
) -> Fetched:
    """The files of a day, in a folder; `breathe` is called beside the downloads.

    This machine's clock may be ahead: a day is over when it is for every service, too.

    Raises:
        RestError: no service provided its files.
    """
    files: list[LogFile] = []
    failures: list[RestError] = []
    today = datetime.now(UTC).date()
    logged: frozenset[str] = frozenset()
    for source in wanted:
        async with source.api:
            fetching = asyncio.create_task(fetch(source, day, everything, folder, watch))
            try:
                while not fetching.done():
                    await asyncio.wait([fetching], timeout=BREATH)
                    await asyncio.to_thread(breathe)
                files += fetching.result()
                logged |= source.logged
            except RestError as error:
                failures.append(error)
            finally:
                fetching.cancel()
                await asyncio.wait([fetching])
        today = min(today, source.api.today or date.max)
    if len(failures) == len(wanted):
        raise next((one for one in failures if not isinstance(one, LogFilesGone)), failures[0])
    return Fetched(files, today, logged, failures)


async def fetch(source: Source, day: date, everything: bool, folder: Path, watch: Watch) -> list[LogFile]:
    """Download the log files of a day that a service has into a folder.

    A day without any event has no files, but lies between days that have some; other days are not known.

    Raises:
        RestError: the service did not provide them all; then none of them counts.
        LogFilesGone: it no longer has log files of that day.
        NotFound: it does not have them yet.
    """
    kinds = {kind.prefix: kind for kind in wanted_kinds(everything) if kind.prefix in source.prefixes}
    names = await _names(source, day, kinds)
    below = folder / source.name.lower()  # both may have a file of one name
    below.mkdir()
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_download(source, name, below / name, watch)) for name in names]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [
        await asyncio.to_thread(_looked_at, name, kinds[named(name)[0].prefix], day, below / name, task.result())
        for name, task in zip(names, tasks, strict=True)
    ]


async def _names(source: Source, day: date, kinds: Mapping[str, LogKind]) -> list[str]:
    """The names of a day's files; a day without any has to lie between days that have some."""
    refusal = None
    names: list[str] = []
    try:
        names = await source.api.logfiles(day, kinds)
    except NotFound as error:
        refusal = error  # which is how a service may say that there are none
    if not names:
        days = await source.api.dates()
        if refusal is not None and day in days:
            raise refusal
        if not days or not days[0] <= day <= days[-1]:
            reach = f"it has {days[0]} to {days[-1]}" if days else "it has none at all"
            kind_of_error = LogFilesGone if days and day < days[0] else NotFound
            raise kind_of_error(f"{source.name} has no log files of {day}: {reach}.")
    return names


async def _download(source: Source, name: str, path: Path, watch: Watch) -> int:
    return await source.api.download(name, path, partial(watch, f"downloading {name}"))


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
