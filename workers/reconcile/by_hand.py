"""Log files that were downloaded by hand: found in what people give, each once, and the rest named.

paths ─▶ taken apart (`archives`) ─▶ kind and day by name ─▶ the same twice? parts? (`overlap`) ─▶ files to read
                └─▶ no log file: left out ◀─┘
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import BinaryIO

from ingest.copernica.logfiles.kinds import FAILED_CALLS, KINDS, LogKind, named
from ingest.copernica.logfiles.reader import Lines, Portion, unusable
from ingest.copernica.logfiles.rows import Unreadable
from ingest.copernica.logfiles.spreadsheets import without_seconds
from ingest.copernica.logfiles.text import Encoding, encoding_of
from ingest.errors import LogFileError
from workers.reconcile import overlap
from workers.reconcile.archives import Archives, Content, LeftOut
from workers.reconcile.logfile import LogFile, Unpackable

#: What macOS, Windows and file servers leave beside files; names that begin with a dot are such, too.
LITTER = frozenset({"desktop.ini", "thumbs.db", "ehthumbs.db", "__macosx", "$recycle.bin", "@eadir"})
#: Ends of names of downloads that are under way, and of what stands beside a file.
UNFINISHED = (".part", ".crdownload", ".download", ".filepart", ".partial", ".tmp")
BESIDE = (".md5", ".sha1", ".sha256", ".sha512", ".asc", ".sig")
#: Minutes in which something happened, always in their first second, from which on that is no chance.
ROUNDED_MINUTES = 10
#: The name of a log file, whether or not we know its kind.
_OF_SOME_KIND = re.compile(r"([a-z][a-z-]*)[._ -]\d{4}-\d\d-\d\d")


@dataclass(frozen=True, slots=True)
class Given:
    """What was found in what was given."""

    files: tuple[LogFile, ...]
    left_out: tuple[LeftOut, ...]

    @property
    def all_taken(self) -> bool:
        """Whether nothing was left out that could matter."""
        return all(left.litter for left in self.left_out)


@contextmanager
def by_hand(paths: Sequence[Path], prefix: str | None, day: date | None, whole: bool = False) -> Iterator[Given]:
    """Files that were downloaded by hand: plain or packed, in folders or archives; they can be read in the block.

    Their kind and day are in their names, or given; `whole` says that none was cut off.

    Raises:
        LogFileError: there are too many, only one and it is no log file, or one can no longer be read.
    """
    files: list[LogFile] = []
    left_out: list[LeftOut] = []
    with Archives(_unwanted) as archives:
        for path in paths:
            for content in archives.contents(path):
                found = content if isinstance(content, LeftOut) else _log_file(content, prefix, day, whole)
                if isinstance(found, LeftOut):
                    left_out.append(found)
                else:
                    files.append(found)
        if not files and len(left_out) == 1:
            raise LogFileError(f"{left_out[0].shown} {left_out[0].reason.rstrip('.')}.")
        try:
            once = tuple(_each_once(files))
        except OSError as error:
            raise LogFileError(
                f"{error.filename or 'A file'} cannot be read: {error.strerror or error}."
            ) from None
        yield Given(once, tuple(left_out))


def _unwanted(shown: str) -> LeftOut | None:
    """Why a file is passed over for its name alone."""
    parts = re.split(r"[/\\:]", shown.lower())
    if any(part in LITTER for part in parts) or parts[-1].startswith(".") or parts[-1].startswith("~$"):
        return LeftOut(shown, "is no log file", litter=True)
    if parts[-1].endswith(UNFINISHED):
        return LeftOut(shown, "is a download that was not finished: download it again")
    if parts[-1].endswith(BESIDE):
        return LeftOut(shown, "is no log file", litter=True)
    return None


def _log_file(content: Content, prefix: str | None, day: date | None, whole: bool) -> LogFile | LeftOut:
    shown = content.shown
    by_name = _by_name(content.names)
    if by_name and ((prefix and by_name[0].prefix != prefix) or (day and by_name[1] != day)):
        kind, when = by_name
        return LeftOut(shown, f"is {kind.prefix} of {when} by its name, which is not what --kind and --day say")
    if not by_name and not (prefix and day):
        return LeftOut(shown, _nameless(content.names[0], prefix, day))
    kind = KINDS[prefix] if prefix else by_name[0]  # type: ignore[index]
    file = LogFile(shown, kind, day or by_name[1], content.open, content.size, whole or content.packed)  # type: ignore[index]
    return _looked_at(file)


def _by_name(names: Sequence[str]) -> tuple[LogKind, date] | None:
    """Kind and day by the name of a file, or of what it is in."""
    for name in names:
        try:
            return named(name)
        except LogFileError:
            continue
    return None


def _nameless(name: str, prefix: str | None, day: date | None) -> str:
    if prefix:
        return f"is said to be {prefix}, but neither its name nor --day says of which day: add --day"
    if day:
        return f"is said to be of {day}, but neither its name nor --kind says what is in it: add --kind"
    base = re.split(r"[/\\]", name)[-1]
    if (match := _OF_SOME_KIND.match(base.lower())) and match[1] not in KINDS:
        return f"is of a kind that we do not know ({match[1]}): if it is one of ours, say so with --kind and --day"
    return (
        "does not name a kind of log file and a day, as cdm-impression.2026-11-04.log does: rename it, or say "
        "what it is with --kind and --day"
    )


def _looked_at(file: LogFile) -> LogFile | LeftOut:
    """A file with the encoding in which it is written."""
    try:
        with file.open() as stream:
            encoding = encoding_of(stream)
            why = unusable(stream, file.kind, file.whole, encoding)
            if not why and file.kind.twin:
                why = _rounded(stream, file, encoding)
    except Unpackable:
        return file._replace(encoding=Encoding.MIXED)  # what can be unpacked is read
    except Unreadable as error:
        return LeftOut(file.name, f"is {error}")
    except OSError as error:
        return LeftOut(file.name, f"cannot be read: {error.strerror or error}")
    return LeftOut(file.name, f"cannot be used: {why}") if why else with_encoding(file, encoding)


def _rounded(stream: BinaryIO, file: LogFile, encoding: Encoding) -> str:
    """Why a file cannot be used, if a program has taken the seconds away from all its times; else empty.

    None of its lines would be of the second of its event in the store, and so each would become one more.
    """
    stream.seek(0)
    minutes: set[int] = set()
    for part in Lines(stream, file.kind, whole=file.whole, encoding=encoding).portions():
        if isinstance(part, Portion):
            if any(second % 60 for second in part.seconds):
                return ""
            minutes.update(part.seconds)
            if len(minutes) >= ROUNDED_MINUTES:
                return without_seconds()
    return ""


def with_encoding(file: LogFile, encoding: Encoding) -> LogFile:
    """A file whose encoding is known, with a note if that is not what Copernica writes."""
    if encoding is Encoding.UTF_8:
        return file._replace(encoding=encoding)
    note = f"{file.name} is not UTF-8, as log files are: it was read as {encoding}."
    return file._replace(encoding=encoding, notes=(*file.notes, note))


def _each_once(files: Sequence[LogFile]) -> Iterator[LogFile]:
    """The same files without those that say what another does already."""
    groups: dict[tuple[str, date], list[LogFile]] = defaultdict(list)
    for file in files:
        groups[file.kind.prefix, file.day].append(file)
    for group in groups.values():
        unequal = _unequal(group) if len(group) > 1 else group
        if len(unequal) > 1 and unequal[0].kind.prefix != FAILED_CALLS:
            yield from overlap.merged(unequal)
        else:
            yield from unequal


def _unequal(files: Sequence[LogFile]) -> list[LogFile]:
    first: dict[bytes, LogFile] = {}
    for file in files:
        content = overlap.content_hash(file)
        if content in first:
            known = first[content]
            note = f"{file.name} has the same content as {known.name}: it was taken once."
            first[content] = known._replace(notes=(*known.notes, note))
        else:
            first[content] = file
    return list(first.values())
