"""What `ingest gaps` prints."""

import sys
import textwrap
from typing import TYPE_CHECKING

import click

from ingest.cli import streams
from ingest.cli.render import console
from ingest.cli.render.console import Column
from ingest.copernica.events import MICROS
from ingest.shown import span

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from workers.gaps.listing import Listing

#: Columns of the table behind the time, as many as fit.
COLUMNS = (
    Column("lasts", 8, 14),
    Column("cause", 13, 13),
    Column("state", 16, 16),
    Column("details", 12, 1000),
)
#: Before what is said of a gap on a line of its own.
INDENT = "  "


def gaps(listing: "Listing", as_json: bool, zone: "ZoneInfo") -> None:
    """A line for each gap, the oldest first; details that do not fit into it follow below."""
    from workers.gaps.listing import explained

    if listing.outdated is not None:
        click.echo(f"ingest: {console.printable(listing.outdated)} What is shown may be outdated.", err=True)
    with streams.reader_may_leave():
        if as_json:
            console.print_json(listing.as_json())
            return
        if not listing.gaps:
            sys.stdout.write(_none(listing, zone))
            return
        time = f"since {zone.key}"
        room = console.time_width(zone)
        widths = console.fitted([Column(time, room, room), *COLUMNS], console.width(), first="details")
        sys.stdout.write(console.line({name: name for name in widths}, widths))
        for gap in listing.gaps:
            lasts = "until now" if gap.until is None else span((gap.until - gap.since) / MICROS)
            details = ", ".join(explained(gap, lambda micros: console.local(micros, zone)))
            row = {time: console.local(gap.since, zone), "lasts": lasts, "cause": gap.cause, "state": gap.state}
            fits = len(details) <= widths.get("details", 0)
            sys.stdout.write(console.line({**row, "details": details if fits else ""}, widths))
            if not fits:
                sys.stdout.write(_below(details))


def _below(details: str) -> str:
    wrapped = textwrap.wrap(console.printable(details), console.width() - len(INDENT), break_on_hyphens=False)
    return "".join(f"{INDENT}{line}\n" for line in wrapped)


def _none(listing: "Listing", zone: "ZoneInfo") -> str:
    if listing.known_since is None:
        return "No gap is known: no endpoint has run yet that tells of them.\n"
    return f"No gap is known since {console.local(listing.known_since, zone)}.\n"
