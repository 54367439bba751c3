"""What `ingest db size` prints."""

from typing import TYPE_CHECKING

import click
from rich.table import Table

from ingest.capacity.amounts import shown_size, shown_span
from ingest.cli.render.console import Console, print_json, printable
from ingest.shown import counted

if TYPE_CHECKING:
    from workers.operations.growth import Growth

#: Seconds of a day.
DAY = 86400
#: Relations that are shown: the others are next to nothing.
MOST = 12

_console = Console(highlight=False)


def growth(found: "Growth", as_json: bool) -> None:
    """For people, or as JSON."""
    if as_json:
        print_json(found.as_dict())
        return
    events = counted(found.events, "event")
    click.echo(f"{printable(found.database)}: {shown_size(found.size)}, {events}")
    _relations(found)
    _days(found)
    click.echo(f"disk       {_disk(found)}")
    click.echo(f"retention  {_retention(found)}")


def _relations(found: "Growth") -> None:
    if found.relations is None:
        click.echo("How much of it each table takes, the database does not tell, or not within a minute.")
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    table.add_column("table, index")
    table.add_column("size", justify="right")
    table.add_column("bytes per event", justify="right")
    for one in found.relations[:MOST]:
        per = f"{one.size / found.events:,.1f}" if found.events else ""
        table.add_row(f"  {one.index}" if one.index else one.table, shown_size(one.size), per)
    _console.print(table)


def _days(found: "Growth") -> None:
    assumed = ", as was measured elsewhere: there are too few to tell here" if found.assumed else ""
    click.echo(f"each       {found.per_event:,.0f} bytes per event, everything included{assumed}")
    if not found.daily:
        click.echo("growth     no event of the last seven days: it does not grow")
        return
    kinds = ", ".join(f"{kind} {number:,.0f}" for kind, number in found.per_day.items())
    click.echo(
        f"growth     {found.daily:,.0f} events a day ({kinds}) in the last {shown_span(found.days * DAY)}: "
        f"{shown_size(found.grows)} a day, {shown_size(found.grows * 30)} in 30 days"
    )


def _disk(found: "Growth") -> str:
    if found.disk is None:
        return "how much the server has is not known here: name it with --disk 500GB"
    free = f"{shown_size(found.disk.free)} free of {shown_size(found.disk.total)}"
    if found.full_in is not None:
        return f"{free}: full in {shown_span(found.full_in * DAY)} at this rate"
    return f"{free}: at this rate it is never full" + (" with this retention" if found.grows else "")


def _retention(found: "Growth") -> str:
    now = (
        f"INGEST_RETENTION_DAYS={found.retention}"
        if found.retention
        else "INGEST_RETENTION_DAYS is not set, so events are kept for ever"
    )
    if found.types:
        now += f", and INGEST_RETENTION_TYPES={','.join(f'{kind}={days}' for kind, days in found.types.items())}"
    if not found.grows:
        return now
    would = ", ".join(f"{days} days {shown_size(found.would_hold(days))}" for days in found.ages)
    return f"{now}; at this rate it would hold: {would}"
