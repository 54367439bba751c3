"""The spool, and files that others can read."""

import stat
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from ingest import health, spool
from ingest.errors import IngestError
from ingest.health import RiskCode
from ingest.private_files import FILE_MODE, FOLDER_MODE, open_to_others
from ingest.settings import Settings
from ingest.shown import counted
from ingest.stream.aside import PASSING_SPOOL
from workers.operations.check.findings import Finding, ok, risk, risks, wrong

#: Files that are named as open to others; there may be thousands.
MAX_FILES = 5


def check(settings: Settings) -> Iterator[Finding]:
    """Whether the spool can be used, and what lies open."""
    yield from _spool(settings)
    yield from _files(settings)


def _spool(settings: Settings) -> Iterator[Finding]:
    folder = settings.spool_dir
    enough_for = None if settings.spool_lasts else PASSING_SPOOL
    found = list(risks("spool", health.of_spool(folder, settings.spool_max, enough_for)))
    if folder is not None:
        try:
            if trouble := spool.require(folder):
                found.append(wrong("spool", RiskCode.SPOOL_TAKES_NOTHING, str(trouble)))
            figures = spool.look(folder)
        except IngestError as error:
            yield wrong("spool", RiskCode.SPOOL_UNUSABLE, str(error))
            return
        if figures.bad_files:
            damaged = counted(figures.bad_files, "damaged stretch is", "damaged stretches are")
            found.append(risk("spool", RiskCode.SPOOL_DAMAGED, f"{damaged} in {folder} as *.bad"))
        yield ok("spool", f"{folder} holds {counted(figures.events, 'event')}")
    yield from found


def _files(settings: Settings) -> Iterator[Finding]:
    if settings.env_file is not None:
        yield from _settings_file(Path(settings.env_file))
    for path, mode in islice(open_to_others(settings), MAX_FILES):
        wanted = FOLDER_MODE if path.is_dir() else FILE_MODE
        yield risk("files", RiskCode.FILES_OPEN, f"others may use {path} (mode {mode:o}): chmod {wanted:o} it")


def _settings_file(path: Path) -> Iterator[Finding]:
    """It holds passwords; its group may be that of the processes that read it."""
    with suppress(OSError):  # a pipe that is gone, say
        mode = stat.S_IMODE(path.stat().st_mode)
        if path.is_file() and mode & stat.S_IRWXO:
            yield risk(
                "files", RiskCode.FILES_OPEN, f"others may use {path} (mode {mode:o}): chmod {mode & 0o770:o} it"
            )
