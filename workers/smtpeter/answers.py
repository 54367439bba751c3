"""What SMTPeter answers to its events calls, as log files of one kind and day each, which reconcile can read.

    months of the period ─▶ an answer each ─▶ its entries, by kind and day ─▶ files that are read like log files

An entry that two answers have, because the days meet, counts once, as in two downloads of a log file.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

import orjson

from ingest.copernica.events import LOGGED_ONLY, EventType
from ingest.copernica.logfiles.kinds import KINDS
from ingest.copernica.logfiles.reader import clock
from ingest.copernica.logfiles.rows import Damage
from ingest.copernica.logfiles.text import Encoding
from ingest.copernica.smtpeter.client import By, Criterion, SMTPeter
from ingest.copernica.smtpeter.events import Told, read
from workers.reconcile import overlap
from workers.reconcile.logfile import LogFile, Watch

#: Days of one call: of more than a month SMTPeter silently tells a part, and the shortest month has 28.
MONTH = timedelta(days=28)
#: Notes that are kept of what cannot be read.
MAX_NOTES = 20
#: Files that are open at once: a period of a month has some 200 kinds and days, a process may have 1024 open.
MAX_OPEN = 256


class Asked(NamedTuple):
    """The days that one call asked for, in UTC; `end` is not included."""

    first: date
    end: date


def months(since: datetime, until: datetime) -> list[Asked]:
    """The calls that a period takes."""
    first = since.astimezone(UTC).date()
    last = (until.astimezone(UTC) - timedelta(microseconds=1)).date()
    asked = []
    while first <= last:
        end = min(first + MONTH, last + timedelta(days=1))
        asked.append(Asked(first, end))
        first = end
    return asked


class Answers:
    """The answers to one question, in a folder."""

    def __init__(self, folder: Path, criterion: Criterion, period: range, zone: tzinfo, everything: bool) -> None:
        """`period` are the Unix seconds of which events count, `zone` is that of their times.

        `everything` is whether kinds count that no webhook brings.
        """
        self._folder = folder
        self._criterion = criterion
        self._period = period
        self._second_of = clock(zone)
        self._everything = everything
        self._open: dict[Path, BinaryIO] = {}
        self._files: defaultdict[date, defaultdict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))
        #: How many entries cannot be read, and what is wrong with the first of them.
        self.unread = 0
        self.notes: list[str] = []
        #: Entries of kinds that do not count, by type.
        self.left_out: defaultdict[EventType, int] = defaultdict(int)

    async def fetch(self, smtpeter: SMTPeter, asked: Sequence[Asked], watch: Watch) -> None:
        """Ask for one month after the other.

        Raises:
            RestError: one of them failed.
            Unavailable: the disk is full.
        """
        path = self._folder / "answer"
        async with smtpeter:
            for number, (first, end) in enumerate(asked):
                progress = partial(watch, f"downloading events of {first} to {end - timedelta(days=1)}")
                await smtpeter.events(self._criterion, first, end, path, progress)
                self._take(path, number)
                path.unlink()

    def _take(self, path: Path, number: int) -> None:
        try:
            with path.open("rb") as stream:
                for entry in read(stream):
                    damage = entry if isinstance(entry, Damage) else self._shelve(entry, number)
                    if damage is not None:
                        self.unread += 1
                        if len(self.notes) < MAX_NOTES:
                            self.notes.append(f"Entry {damage.number} of an answer: {damage.reason}.")
        finally:
            self._close()

    def _shelve(self, told: Told, number: int) -> Damage | None:
        """Put an entry into the file of its kind and day."""
        time = told.data.get("time")
        second = self._second_of(time) if isinstance(time, str) else None
        if second is None:
            return Damage(told.number, f"{time!r:.30} is no time")
        if second not in self._period:
            return None
        if told.type in LOGGED_ONLY and not self._everything:
            self.left_out[told.type] += 1
            return None
        data = dict(told.data)
        asked = {By.MESSAGE: "id", By.RECIPIENT: "recipient"}.get(self._criterion.by)
        if asked and not data.get(asked):
            data[asked] = self._criterion.value.strip()  # what was asked for need not be repeated
        day = datetime.fromtimestamp(second, UTC).date()
        path = self._folder / f"{told.kind.prefix}.{day}.{number}"
        self._stream(path, day, told.kind.prefix).write(orjson.dumps(data) + b"\n")
        return None

    def _stream(self, path: Path, day: date, prefix: str) -> BinaryIO:
        stream = self._open.get(path)
        if stream is None:
            if len(self._open) >= MAX_OPEN:
                self._close()
            if path not in (known := self._files[day][prefix]):
                known.append(path)
            stream = self._open[path] = path.open("ab")
        return stream

    def _close(self) -> None:
        while self._open:
            self._open.popitem()[1].close()

    def days(self) -> Iterator[tuple[date, list[LogFile]]]:
        """What the answers have of each day, in order."""
        for day in sorted(self._files):
            files: list[LogFile] = []
            for prefix, paths in self._files[day].items():
                same = [_log_file(path, prefix, day) for path in paths]
                files += overlap.merged(same) if len(same) > 1 else same
            yield day, files


def _log_file(path: Path, prefix: str, day: date) -> LogFile:
    size = path.stat().st_size
    return LogFile(f"{prefix} of {day}", KINDS[prefix], day, partial(_opened, path), size, True, Encoding.UTF_8)


def _opened(path: Path) -> BinaryIO:
    return path.open("rb")
