"""The simulator's log files: what Copernica writes down of each event, whether or not your endpoint took it.

They are those of the Marketing Suite, in CSV with a header row, all in one folder. Bounces and profile events have
no log file there.
"""

import csv
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from ingest.copernica.logfiles.kinds import KINDS
from ingest.errors import Unavailable

#: The file that an event of a type is written to.
PREFIXES: Mapping[str, str] = {
    kind.type: prefix for prefix, kind in KINDS.items() if prefix.startswith("cdm-") and kind.type
}
#: The file of calls that were not answered 200.
ERRORS = "feedback-loop-errors"
#: What columns hold that simulated events say nothing of: where the reader is, and what was sent from where.
ALWAYS: Mapping[str, str] = {
    "countrycode": "NL",
    "countryname": "Netherlands",
    "regioncode": "07",
    "city": "Amsterdam",
    "senderdomain": "example.nl",
    "template": "1207",
    "attempts": "1",
}
#: The field of a webhook that a column tells, where that has another name.
_SAYS: Mapping[str, str] = {
    "email": "recipient",
    "linkinfo": "original",
    "mail": "mime",
    "status": "extended",
    "type": "state",
}


def line_of(kind: str, fields: Mapping[str, Any]) -> tuple[str, dict[str, str]] | None:
    """The prefix of the file that an event is in, and its columns there; None if it is in none.

    `fields` are those of its webhook; `time`, in Unix seconds, must be among them, and `recipient` should, though
    not all webhooks have them. `tags` is a list.
    """
    prefix = PREFIXES.get(kind)
    if prefix is None:
        return None
    line = {name: str(fields.get(_SAYS.get(name, name), ALWAYS.get(name, ""))) for name in KINDS[prefix].columns}
    line["time"] = _written(int(fields["time"]))
    line["tags"] = ";".join(fields.get("tags", ()))
    if "header" in line:
        about = {"User-Agent": fields.get("useragent"), "Referer": fields.get("referer")}
        line["header"] = "\n".join(f"{name}: {value}" for name, value in about.items() if value)
    return prefix, line


def _written(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%d %H:%M:%S")


class LogFolder:
    """A folder of log files, one per kind and day; what is there already is added to."""

    def __init__(self, folder: Path) -> None:
        """Makes the folder, if need be.

        This and all else raises `Unavailable` if it cannot be written to.
        """
        self._folder = folder
        self._files: dict[tuple[str, str], TextIO] = {}
        with self._writable():
            folder.mkdir(parents=True, exist_ok=True)

    def event(self, kind: str, fields: Mapping[str, Any]) -> None:
        """Write an event down in the file of its own day; arguments as for `line_of`."""
        found = line_of(kind, fields)
        if found:
            self._write(*found)

    def failure(self, fields: Mapping[str, Any], response: str, header: str) -> None:
        """Write down that the call of an event was not taken: what came back, and the head that was sent."""
        line = {
            "time": _written(int(fields["time"])),
            "response": response,
            "recipient": str(fields.get("recipient", "")),
            "header": header,
        }
        self._write(ERRORS, line)

    def _write(self, prefix: str, line: Mapping[str, str]) -> None:
        day = line["time"][:10]
        with self._writable():
            file = self._files.get((prefix, day))
            if file is None:
                path = self._folder / f"{prefix}.{day}.log"
                file = self._files[prefix, day] = path.open("a", encoding="utf-8", newline="")
                if not file.tell():
                    csv.writer(file, lineterminator="\n").writerow(line)
            csv.writer(file, lineterminator="\n").writerow(line.values())

    @contextmanager
    def _writable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or error
            raise Unavailable(f"Log files cannot be written to {str(self._folder)!r} ({reason}).") from error

    def close(self) -> None:
        """Have all of it on disk."""
        with self._writable():
            while self._files:
                self._files.popitem()[1].close()

    def __enter__(self) -> "LogFolder":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
