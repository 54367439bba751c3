"""The commands about what is in the store: events, stats, erase, db."""

from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from ingest.cli.options import WORDS, settings_with, which_events

if TYPE_CHECKING:
    from workers.store.filters import Filter

#: How far back `stats` looks without --since.
LOOK_BACK = {"hour": timedelta(days=1), "day": timedelta(days=30)}


def filter_of(chosen: dict[str, Any]) -> "Filter":
    """The filter that the options of `which_events` describe."""
    from workers.store.filters import Filter

    return Filter(chosen["types"], chosen["recipient"], chosen["message"], chosen["since"], chosen["until"])


@click.command()
@which_events
@click.option(
    "--follow", is_flag=True, help="Print events as they come in, until Ctrl-C; stored ones only with --since."
)
@click.option("--format", "form", type=click.Choice(["table", "jsonl", "csv"]), default="table", show_default=True)
def events(follow: bool, form: str, **chosen: Any) -> None:
    """Print the events in the store, however many there are."""
    from ingest.cli.render import events as render
    from workers.store.store import Store

    settings, wanted = settings_with(), filter_of(chosen)
    with Store.open(settings.database) as store, _ended_by_ctrl_c(follow):
        if not follow:
            render.events(store.find(wanted), form)
            return
        from workers.operations.follow import followed  # and with it the client of Redis

        render.events(followed(settings, store, wanted), form, live=True)


def _ended_by_ctrl_c(follow: bool) -> AbstractContextManager[None]:
    """Whoever follows ends that by Ctrl-C, so it is no failure."""
    return suppress(KeyboardInterrupt) if follow else nullcontext()


@click.command()
@which_events
@click.option("--by", type=click.Choice(["hour", "day"]), default="hour", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for a script.")
def stats(by: str, as_json: bool, **chosen: Any) -> None:
    """Show a chart of events per hour or day; by default for the last 24 hours or 30 days."""
    from ingest.cli.render import chart
    from workers.store.store import Store

    if chosen["since"] is None:
        with suppress(OverflowError):  # --until in the year 1: there is nothing before it
            # From a whole period on, which is known without counting, and not a part of one.
            begin = (chosen["until"] or datetime.now(UTC)) - LOOK_BACK[by]
            hour = begin.hour if by == "hour" else 0
            chosen["since"] = begin.replace(hour=hour, minute=0, second=0, microsecond=0)
    with Store.open(settings_with().database) as store:
        counts = store.counts(filter_of(chosen), by)
    chart.show(counts, by, as_json)


@click.command()
@click.option("--recipient", required=True, type=WORDS, help="The person's address; case does not matter.")
@click.option("--dry-run", is_flag=True, help="Only show what would be erased.")
@click.option("--thorough", is_flag=True, help="With --dry-run: read every event, however many there are.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for a script.")
def erase(recipient: str, dry_run: bool, thorough: bool, as_json: bool) -> None:
    """Erase a person for good: events, profile changes, and calls that could not be read."""
    from ingest.cli.render import console
    from ingest.cli.render import events as render
    from workers.operations.erase import elsewhere
    from workers.operations.erase import erase as run
    from workers.store.store import Store

    if "@" not in recipient.strip("@ "):
        raise click.BadParameter("it should be a whole e-mail address", param_hint="--recipient")
    settings = settings_with()
    with Store.open(settings.database) as store, console.advancing("reading all events", as_json) as progress:
        erased = run(store, recipient, dry_run, thorough, progress)
    render.erased(erased, dry_run, elsewhere(settings), as_json)


@click.group()
def db() -> None:
    """Look after the database."""


@db.command()
@click.option("--recount", is_flag=True, help="Count all events anew, after somebody changed the table by hand.")
def upgrade(recount: bool) -> None:
    """Create the tables, or update those of an older release; run this before each new release."""
    from ingest.cli.render import console
    from workers.store.filling import fill
    from workers.store.schema import upgrade as run
    from workers.store.store import Store

    url = settings_with().database
    before, after = run(url)
    click.echo(f"The schema is {'already' if before == after else 'now'} at {after}.")
    with Store.open(url) as store:
        if recount:
            store.count_anew()
        if not store.is_counted:
            with console.advancing("counting the events that were there before") as progress:
                fill(store, progress)
            click.echo(f"{store.stored():,} events are counted.")


COMMANDS = (events, stats, erase, db)
