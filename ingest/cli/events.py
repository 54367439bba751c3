"""The commands about what is in the store: events, stats, erase, db."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from ingest.cli.options import settings_with, which_events

if TYPE_CHECKING:
    from workers.store.store import Filter

#: How far back `stats` looks if it is not told.
LOOK_BACK = {"hour": timedelta(days=1), "day": timedelta(days=30)}


def filter_of(chosen: dict[str, Any]) -> "Filter":
    """Which events the options of `which_events` mean."""
    from workers.store.store import Filter

    return Filter(chosen["types"], chosen["recipient"], chosen["message"], chosen["since"], chosen["until"])


@click.command()
@which_events
@click.option(
    "--follow", is_flag=True, help="Go on with what comes in, until Ctrl-C; what is there only with --since."
)
@click.option("--format", "form", type=click.Choice(["table", "jsonl", "csv"]), default="table", show_default=True)
def events(follow: bool, form: str, **chosen: Any) -> None:
    """Show what is in the store; any number of events."""
    from ingest.cli.render import console
    from workers.operations.follow import followed
    from workers.store.store import Store

    settings, wanted = settings_with(), filter_of(chosen)
    store = Store.open(settings.database)
    try:
        console.events(followed(settings, store, wanted) if follow else store.find(wanted), form, live=follow)
    except KeyboardInterrupt:
        if not follow:
            raise
    finally:
        store.close()


@click.command()
@which_events
@click.option("--by", type=click.Choice(["hour", "day"]), default="hour", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="For a script.")
def stats(by: str, as_json: bool, **chosen: Any) -> None:
    """Show a chart of events per hour or day; by default of the last 24 hours or 30 days."""
    from ingest.cli.render import chart
    from workers.store.store import Store

    if chosen["since"] is None:
        with suppress(OverflowError):  # until the year 1: there is nothing before it
            chosen["since"] = (chosen["until"] or datetime.now(UTC)) - LOOK_BACK[by]
    store = Store.open(settings_with().database)
    try:
        counted = store.counted(filter_of(chosen), by)
    finally:
        store.close()
    chart.show(counted, by, as_json)


@click.command()
@click.option("--recipient", required=True, help="The address of the person, in upper or lower case.")
@click.option("--dry-run", is_flag=True, help="Only say what would be erased.")
@click.option("--json", "as_json", is_flag=True, help="For a script.")
def erase(recipient: str, dry_run: bool, as_json: bool) -> None:
    """Erase a person for good: events, profile changes, and calls that could not be read."""
    from ingest.cli.render import console
    from workers.operations.erase import erase as run
    from workers.operations.erase import waiting
    from workers.store.store import Store

    if "@" not in recipient.strip("@ "):
        raise click.BadParameter("it should be a whole e-mail address", param_hint="--recipient")
    settings = settings_with()
    store = Store.open(settings.database)
    try:
        with console.looking("looking through the store", as_json) as step:
            erased = run(store, recipient, dry_run, step)
    finally:
        store.close()
    console.erased(erased.as_dict(), dry_run, waiting(settings), as_json)


@click.group()
def db() -> None:
    """Look after the database."""


@db.command()
def upgrade() -> None:
    """Make the tables, or bring those of an older release up to date; to be run before every new release."""
    from workers.store.store import upgrade as run

    before, after = run(settings_with().database)
    click.echo(f"The schema is at {after} already." if before == after else f"The schema is at {after} now.")


COMMANDS = (events, stats, erase, db)
