"""The command that shows figures of mailings: `ingest mailings`."""

import sys
from typing import TYPE_CHECKING

import click

from ingest.cli.options import json_lines, settings_with

if TYPE_CHECKING:
    from workers.mailings.figures import Figures

#: Seconds for which the command itself counts what is out of date.
COUNTING = 5.0


@click.command()
@click.argument("number", metavar="[NUMBER]", type=click.IntRange(1, 10**18 - 1), required=False)
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="Mailings in the list."
)
@json_lines("mailing")
def mailings(number: int | None, limit: int, as_json: bool) -> None:
    """Show the figures of the last mailings, or everything about one.

    The exit code is 1 if nothing is known of that mailing.
    """
    from ingest.cli.render import mailings as render
    from workers.mailings.figures import figures_of
    from workers.mailings.listing import mailings as listed
    from workers.mailings.refresh import refresh
    from workers.store.store import Store

    with Store.of(settings_with()) as store:
        refresh(store, COUNTING, first=[] if number is None else [number])
        if number is None:
            render.listing(listed(store, limit=limit), as_json)
            return
        found: Figures | None = figures_of(store, number)
    if found is None:
        click.echo(f"ingest: Nothing is known of mailing {number}.", err=True)
        sys.exit(1)
    render.one(found, as_json)


COMMANDS = (mailings,)
