"""What `ingest audit` prints."""

import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ingest.cli import streams
from ingest.cli.render import console
from ingest.cli.render.console import Column

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from workers.operations.audit import Entry

#: Columns of the table behind the time, as many as fit.
COLUMNS = (
    Column("who", 8, 24),
    Column("action", 8, 18),
    Column("number", 8, 12),
    Column("what", 12, 1000),
    Column("place", 10, 24),
)


def entries(found: Iterable["Entry"], zone: "ZoneInfo", as_json: bool) -> None:
    """A line for each, the newest first."""
    time = f"time {zone.key}"
    room = console.time_width(zone)
    widths = console.fitted([Column(time, room, room), *COLUMNS], console.width(), first="what")
    with streams.reader_may_leave():
        if not as_json:
            sys.stdout.write(console.line({name: name for name in widths}, widths))
        for entry in found:
            if as_json:
                sys.stdout.write(console.dump(_as_json(entry)) + "\n")
            else:
                row = {"who": entry.who, "action": entry.action, "place": f"{entry.via} {entry.place}".strip()}
                row |= {"number": _number(entry), "what": _what(entry), time: console.local(entry.began_at, zone)}
                sys.stdout.write(console.line(row, widths))


def _as_json(entry: "Entry") -> Mapping[str, Any]:
    return {
        "number": entry.number,
        "began_at": console.moment(entry.began_at),
        "ended_at": None if entry.ended_at is None else console.moment(entry.ended_at),
        "who": entry.who,
        "via": entry.via,
        "place": entry.place,
        "action": entry.action,
        "what": entry.what,
        "affected": entry.affected,
        "error": entry.error,
    }


def _number(entry: "Entry") -> str:
    if entry.error is not None:
        return "failed"
    if entry.ended_at is None:
        return "not ended"
    return "" if entry.affected is None else f"{entry.affected:,}"


def _what(entry: "Entry") -> str:
    said = ", ".join(f"{name}={value}" for name, value in entry.what.items())
    return f"{said}: {entry.error}".removeprefix(": ") if entry.error else said
