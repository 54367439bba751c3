"""The commands for what watches and scales an installation: metrics, scale."""

from functools import partial
from typing import TYPE_CHECKING

import click

from ingest.cli.choices import OneOf
from ingest.cli.options import settings_with

if TYPE_CHECKING:
    from ingest.settings import Settings

#: The port of `ingest metrics` unless one is set.
PORT = 9464
FORMATS = ("text", "json", "hirefire", "judoscale")


@click.command()
@click.option("--host", help="Address to listen at.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(1, 65535), help=f"Port to listen at.  [default: {PORT}]")
@click.option("--board", type=int, hidden=True)
@click.option("--part", default="metrics", hidden=True)
def metrics(host: str | None, port: int | None, board: int | None, part: str) -> None:
    """Show what Redis and the database know, for Prometheus and for what scales workers."""
    settings = settings_with(metrics_host=host, metrics_port=port)
    from ingest.metrics.board import Board
    from ingest.metrics.exporter import Behind, Sources, export
    from workers.operations import shared_figures

    _ = settings.redis  # which has to be known, be it away
    export(
        Behind(part, None if board is None else Board(board)),
        Sources(partial(shared_figures.gather, settings), partial(_scale, settings)),
        (settings.metrics_host, settings.metrics_port or PORT),
        settings.metrics_token,
        avoid=settings.port if part == "serve" else None,
    )


def _scale(settings: "Settings") -> tuple[object, object]:
    from workers.operations.scale import gather

    known = gather(settings)
    return known.as_json(), known.for_hirefire()


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For a script: one JSON document, as with --format json.")
@click.option("--format", "form", type=OneOf(FORMATS), default="text", show_default=True, help="Whom it is for.")
def scale(as_json: bool, form: str) -> None:
    """Show how far behind the workers are, and how many there should be."""
    from ingest.cli.render import scale
    from ingest.cli.render.console import print_json
    from workers.operations.scale import gather

    known = gather(settings_with())
    if as_json or form == "json":
        print_json(known.as_json())
    elif form == "hirefire":
        print_json(known.for_hirefire())
    elif form == "judoscale":
        print_json(known.for_judoscale())
    else:
        scale.text(known)


COMMANDS = (metrics, scale)
