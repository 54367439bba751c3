"""The commands that look at the set-up and at what is going on: status, check."""

import sys
from functools import partial
from typing import TYPE_CHECKING

import click

from ingest import shown
from ingest.cli.amount import Finite
from ingest.cli.interruption import interrupted_code
from ingest.cli.options import json_document, settings_with
from ingest.cli.times import with_zone

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

#: Seconds between two looks of `--watch`, unless others are given.
WATCH_EVERY = 2.0


@click.command()
@json_document()
@click.option("--quiet", is_flag=True, help="Print one line if anything is wrong, else nothing: for cron, Nagios.")
@click.option(
    "--watch",
    is_flag=False,
    flag_value=WATCH_EVERY,
    type=Finite(min=0.5),
    metavar="[SECONDS]",
    help="Show them again every so many seconds (2 if none are given), until q or Ctrl-C.",
)
@with_zone
def status(as_json: bool, quiet: bool, watch: float | None, zone: "ZoneInfo") -> None:
    """Show the backlog, its age, rates, workers, and what is in the store.

    The exit code is 0 if all is well, 1 if there is a warning, and 2 if there is an alarm, such as a database that
    cannot be reached; also 2 if a setting is missing or wrong.
    """
    from ingest.cli.render import status as render
    from workers.operations.status import gather
    from workers.operations.warnings import UNREACHABLE, exit_code

    if sum((as_json, quiet, watch is not None)) > 1:
        raise click.UsageError("Choose one of --json, --quiet and --watch.")
    settings = settings_with()
    if watch is not None:
        from ingest.cli.render.watch import watching

        try:
            figures = watching(lambda: gather(settings), partial(render.picture, zone=zone), watch)
        except KeyboardInterrupt:
            raise click.exceptions.Exit(interrupted_code()) from None
    else:
        figures = gather(settings)
        if quiet:
            render.one_line(figures)
        else:
            render.status(figures, as_json, zone)
            if troubles := [warning.text for warning in figures.warnings if warning.code in UNREACHABLE]:
                click.echo(f"ingest: {shown.escaped(shown.without_secrets(' '.join(troubles)))}", err=True)
    sys.exit(exit_code(figures.warnings))


@click.command()
@click.option("--key-id", help="A key id to look up, as in a Signature header.")
@json_document()
def check(key_id: str | None, as_json: bool) -> None:
    """Check the whole set-up and report what is wrong or risky.

    The exit code is 1 if something is wrong; risks alone leave it at 0.
    """
    from ingest.cli.render import check as render
    from workers.operations.check import Level, check

    worst = render.findings(check(settings_with(), key_id), as_json)
    sys.exit(1 if worst == Level.WRONG else 0)


COMMANDS = (status, check)
