"""The command that says on paper what a rate of events takes: plan."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ingest.cli.amount import Amount
from ingest.cli.choices import OneOf
from ingest.cli.options import json_document, settings_with

if TYPE_CHECKING:
    from ingest.capacity.figures import Figures


@click.command()
@click.option("--rate", type=Amount("rate"), required=True, help="Events per second: 5000, 100k, 2.5M, 50M/day.")
@click.option(
    "--outage",
    type=Amount("time"),
    default="1h",
    show_default=True,
    help="How long the database may be away while all calls are kept: 15m, 1h, 2d; 0 for none.",
)
@click.option("--per-day", type=Amount("rate"), help="Events of a day: 20M.  [default: the rate, all day]")
@click.option(
    "--database",
    type=OneOf(["sqlite", "postgresql", "mariadb"]),
    help="Where they go.  [default: SQLite or PostgreSQL, whichever fits]",
)
@click.option("--handlers", type=click.IntRange(0, 1000), default=0, help="Handlers that each event is given to.")
@click.option(
    "--memory",
    type=Amount("size"),
    default="64GB",
    show_default=True,
    help="Memory of one Redis server (maxmemory).",
)
@click.option("--disk", type=Amount("size"), help="Disk of each server; says how long it lasts.")
@click.option(
    "--figures",
    type=click.Path(path_type=Path),
    help="What was measured: JSON of `ingest plan --measure --json` or of `make bench`.",
)
@click.option("--measure", is_flag=True, help="Measure this machine first, in under a minute.")
@json_document(", with the figures")
def plan(
    rate: float,
    outage: float,
    per_day: float | None,
    database: str | None,
    handlers: int,
    memory: float,
    disk: float | None,
    figures: Path | None,
    measure: bool,
    as_json: bool,
) -> None:
    """Say how many endpoints, servers and workers a rate of events takes, and what breaks first.

    The arithmetic is shown line by line. It asks no server, and changes nothing.
    """
    from ingest.capacity.demand import Demand
    from ingest.capacity.planning import plan as planned
    from ingest.cli.render import plan as render

    if figures is not None and measure:
        raise click.UsageError("Choose one of --figures and --measure.")
    known = _figures(figures, measure, as_json)
    demand = Demand(
        rate=rate,
        outage=outage,
        per_day=per_day,
        database=database,
        handlers=handlers,
        memory=memory,
        disk=disk,
    )
    render.plan(planned(demand, known), as_json)


def _figures(path: Path | None, measure: bool, quietly: bool) -> "Figures":
    from ingest.capacity.figures import PACKAGED, Figures

    if path is not None:
        return Figures.read(path)
    if not measure:
        return PACKAGED
    from ingest.cli.render import console
    from ingest.dev.measuring import measured

    settings_with()
    with console.advancing("measuring this machine", quietly) as progress:
        return measured(progress)


COMMANDS = (plan,)
