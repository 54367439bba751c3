"""What `ingest message` prints."""

import sys
from collections.abc import Mapping
from datetime import datetime
from zoneinfo import ZoneInfo

from ingest.cli import streams
from ingest.cli.render import console
from workers.store.rows import micros


def message(found: Mapping[str, str | int | datetime | None], as_json: bool, zone: ZoneInfo) -> None:
    """A line for each column; what has never happened has a dash."""
    with streams.reader_may_leave():
        if as_json:
            console.print_json({name: _plain(value) for name, value in found.items()})
            return
        room = max(map(len, found))
        for name, value in found.items():
            sys.stdout.write(f"{name:<{room}}  {_shown(value, zone)}\n")


def _plain(value: str | int | datetime | None) -> str | int | None:
    return console.moment(micros(value)) if isinstance(value, datetime) else value


def _shown(value: str | int | datetime | None, zone: ZoneInfo) -> str:
    if isinstance(value, datetime):
        return console.local(micros(value), zone)
    if isinstance(value, str):
        return console.printable(value)
    return "-" if value is None else str(value)
