"""The command that shows in which periods calls may be missing: gaps."""

from datetime import datetime
from typing import TYPE_CHECKING

import click

from ingest.cli.options import json_document, settings_with
from ingest.cli.times import MOMENT, SINCE_HELP, with_zone

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo


@click.command()
@click.option("--since", type=MOMENT, help="Those that end later. " + SINCE_HELP)
@click.option("--unclosed", is_flag=True, help="Only those that are not closed.")
@json_document()
@with_zone
def gaps(since: datetime | None, unclosed: bool, as_json: bool, zone: "ZoneInfo") -> None:
    """Show in which periods calls may be missing, why, and what became of it."""
    from ingest.cli.render import gaps as render
    from workers.gaps.listing import listing

    render.gaps(listing(settings_with(), since, unclosed), as_json, zone)


COMMANDS = (gaps,)
