"""The commands that look at the set-up and at what is going on: status, check."""

import sys

import click

from ingest.cli.options import settings_with
from ingest.errors import Unavailable


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def status(as_json: bool) -> None:
    """Show the backlog, its age, rates, workers, and what is in the store."""
    from ingest.cli.render.status import status
    from workers.operations.status import gather

    figures = gather(settings_with())
    status(figures, as_json)
    if figures.troubles:
        raise Unavailable(" ".join(figures.troubles))


@click.command()
@click.option("--key-id", help="A key id to look up, as in a Signature header.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def check(key_id: str | None, as_json: bool) -> None:
    """Check the whole set-up and report what is wrong or risky."""
    from ingest.cli.render import check as render
    from workers.operations.check import Level, check

    worst = render.findings(check(settings_with(), key_id), as_json)
    sys.exit(1 if worst == Level.WRONG else 0)


COMMANDS = (status, check)
