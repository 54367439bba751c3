"""The simulator's log files: what Copernica records of each event, whether or not your endpoint took it.

They are those of the Marketing Suite and of the Publisher, or of SMTPeter, in CSV with a header row, all in one
folder. Bounces have no log file in the first two, and those who unsubscribe none in SMTPeter; profile events have
none at all. The columns come from Copernica's articles, by way of `ingest.copernica.logfiles.kinds`.
"""

import csv
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from ingest.copernica.logfiles.kinds import FAILED_CALLS, KINDS
from ingest.errors import Unavailable
from ingest.simulation.calls import MARKETING_SUITE, PUBLISHER

#: The product that no call names.
SMTPETER = "smtpeter"
#: The file in which Copernica records each type of event, by product; SMTPeter's are not named after it.
PREFIXES: Mapping[str, Mapping[str, str]] = {
    **{
        product: {
            kind.type: prefix
            for prefix, kind in KINDS.items()
            if prefix.startswith(start) and kind.type and not prefix.endswith("-old")
        }
        for product, start in ((MARKETING_SUITE, "cdm-"), (PUBLISHER, "pom-"))
    },
    SMTPETER: {
        kind.type: prefix for prefix, kind in KINDS.items() if kind.type and kind.twin and "-" not in prefix
    },
}
#: The values of columns about which simulated events say nothing: where the reader is, where mail is sent from.
ALWAYS: Mapping[str, str] = {
    "countrycode": "NL",
    "countryname": "Netherlands",
    "regioncode": "07",
    "city": "Amsterdam",
    "senderdomain": "example.nl",
    "template": "1207",
    "templateid": "1207",
    "attempts": "1",
    "groupid": "31",
    "document": "88",
    "attempt": "1",
    "protocol": "http",
}
#: The field of a webhook for a column, where their names differ.
_FIELDS: Mapping[str, str] = {
    "email": "recipient",
    "linkinfo": "original",
    "url": "original",
    "destination": "original",
    "mail": "mime",
    "status": "extended",
    "type": "state",
}


class Clock(NamedTuple):
    """The clock by which log files are written: its time zone, and by how many seconds it is ahead."""

    zone: tzinfo = UTC
    offset: int = 0

    def written(self, second: int) -> str:
        """A moment, in Unix seconds, as this clock shows it."""
        shown = datetime.fromtimestamp(second, self.zone) + timedelta(seconds=self.offset)
        return shown.strftime("%Y-%m-%d %H:%M:%S")


#: The clock of Copernica's log files, as far as is known.
UTC_CLOCK = Clock()


def line_of(
    kind: str, fields: Mapping[str, Any], clock: Clock = UTC_CLOCK, product: str | None = None
) -> tuple[str, dict[str, str]] | None:
    """The prefix of the file that records an event, and its columns there; None if none does.

    `fields` are those of its webhook; `time`, in Unix seconds, must be among them, and `recipient` should, though
    not all webhooks have them. `tags` is a list; `product` is that of the call, by default `ms`.
    """
    prefix = PREFIXES[product or fields.get("product", MARKETING_SUITE)].get(kind)
    if prefix is None:
        return None
    line = {name: str(fields.get(_FIELDS.get(name, name), ALWAYS.get(name, ""))) for name in KINDS[prefix].columns}
    line["time"] = clock.written(int(fields["time"]))
    line["tags"] = ";".join(fields.get("tags", ()))
    for header in {"header", "headers"} & set(line):
        about = {"User-Agent": fields.get("useragent"), "Referer": fields.get("referer")}
        line[header] = "\n".join(f"{name}: {value}" for name, value in about.items() if value)
    return prefix, line


class LogFolder:
    """A folder of log files, one per kind and day; existing files are added to."""

    def __init__(self, folder: Path, clock: Clock = UTC_CLOCK, product: str | None = None) -> None:
        """Creates the folder, if need be. Days are days in UTC, by whatever clock lines are written.

        `product` is that of all events; by default each call says it.

        Raises:
            Unavailable: it cannot be written to; every other method raises this, too.
        """
        self._folder = folder
        self._clock = clock
        self._product = product
        self._files: dict[tuple[str, str], TextIO] = {}
        with self._writable():
            folder.mkdir(parents=True, exist_ok=True)

    def event(self, kind: str, fields: Mapping[str, Any]) -> None:
        """Record an event in the file of its day; arguments as for `line_of`."""
        record = line_of(kind, fields, self._clock, self._product)
        if record:
            self._write(*record, int(fields["time"]))

    def failure(self, fields: Mapping[str, Any], response: str, header: str) -> None:
        """Record that the call of an event was not taken: what came back, and the header that was sent."""
        line = {
            "time": self._clock.written(int(fields["time"])),
            "response": response,
            "recipient": str(fields.get("recipient", "")),
            "header": header,
        }
        self._write(FAILED_CALLS, line, int(fields["time"]))

    def _write(self, prefix: str, line: Mapping[str, str], second: int) -> None:
        day = UTC_CLOCK.written(second)[:10]
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
            raise Unavailable(
                f"Log files cannot be written to {str(self._folder)!r} ({reason}): name another folder."
            ) from error

    def close(self) -> None:
        """Close the files, and with that write all of them."""
        with self._writable():
            while self._files:
                self._files.popitem()[1].close()

    def __enter__(self) -> "LogFolder":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
