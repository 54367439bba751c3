"""The commands about what is in the store: events, stats, erase."""

from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from ingest.cli import asking
from ingest.cli.amount import Whole
from ingest.cli.audit import noted
from ingest.cli.choices import OneOf
from ingest.cli.chosen import filter_of, which_events
from ingest.cli.interruption import interruptible
from ingest.cli.options import WORDS, json_document, settings_with
from ingest.cli.paging import no_pager, paged

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from ingest.settings import Settings
    from workers.store.store import Store

#: How far back `stats` looks without --since.
LOOK_BACK = {"hour": timedelta(days=1), "day": timedelta(days=30)}


@click.command()
@which_events
@click.option("--limit", type=Whole(1), help="Only so many, the first to arrive.  [default: all]")
@click.option(
    "--follow", is_flag=True, help="Print events as they come in, until Ctrl-C; stored ones only with --since."
)
@click.option(
    "--format",
    "form",
    type=OneOf(["table", "jsonl", "csv"]),
    default="table",
    show_default=True,
    help="How they are printed.",
)
@no_pager
def events(limit: int | None, follow: bool, form: str, no_pager: bool, zone: "ZoneInfo", **chosen: Any) -> None:
    """Print the events in the store, however many there are."""
    from ingest.cli.render import events as render
    from workers.store.store import Store

    settings, wanted = settings_with(), filter_of(chosen)
    with Store.of(settings) as store, _ended_by_ctrl_c(follow), paged(not (no_pager or follow)):
        if not follow:
            render.events(islice(store.find(wanted), limit), form, zone)
            return
        from workers.operations.follow import followed  # and with it the client of Redis

        render.events(islice(followed(settings, store, wanted), limit), form, zone, live=True)


def _ended_by_ctrl_c(follow: bool) -> AbstractContextManager[None]:
    """Whoever follows ends that by Ctrl-C, so it is no failure."""
    return suppress(KeyboardInterrupt) if follow else nullcontext()


@click.command()
@which_events
@click.option(
    "--by", type=OneOf(["hour", "day"]), default="hour", show_default=True, help="What each line of it is."
)
@json_document()
def stats(by: str, as_json: bool, zone: "ZoneInfo", **chosen: Any) -> None:
    """Show a chart of events per hour or day; by default for the last 24 hours or 30 days."""
    from ingest.cli.render import chart
    from workers.store.store import Store

    if chosen["since"] is None:
        with suppress(OverflowError):  # --until in the year 1: there is nothing before it
            # From a whole period on, which is known without counting, and not a part of one.
            begin = ((chosen["until"] or datetime.now(UTC)) - LOOK_BACK[by]).astimezone(zone)
            hour = begin.hour if by == "hour" else 0
            chosen["since"] = begin.replace(hour=hour, minute=0, second=0, microsecond=0).astimezone(UTC)
    # Hours are counted in UTC, and days of another zone are made of them.
    with Store.of(settings_with()) as store:
        counts = store.counts(filter_of(chosen), by if as_json or zone.key == "UTC" else "hour")
    chart.show(counts, by, zone, as_json)


@click.command()
@click.option("--recipient", required=True, type=WORDS, help="The person's address; case does not matter.")
@click.option("--dry-run", is_flag=True, help="Only show what would be erased.")
@click.option("--thorough", is_flag=True, help="With --dry-run: read every event, however many there are.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_document("; with --yes or --dry-run")
def erase(recipient: str, dry_run: bool, thorough: bool, yes: bool, as_json: bool) -> None:
    """Erase a person for good: events, profile changes, and calls that could not be read.

    Shows first how much that is, and asks.
    """
    from workers.store.store import Store

    if "@" not in recipient.strip("@ "):
        raise click.BadParameter("it should be a whole e-mail address", param_hint="--recipient")
    asks = not (yes or dry_run)
    if asks:
        if as_json:
            raise click.UsageError("--json asks nothing: add --yes, or --dry-run.")
        asking.require_somebody()
    settings = settings_with()
    with Store.of(settings) as store:
        if asks:
            _erase(settings, store, recipient, dry_run=True, thorough=False, as_json=False)
            asking.agreed("Erase all of this for good?")
        if dry_run:
            _erase(settings, store, recipient, dry_run, thorough, as_json)
            return
        with noted(settings, "erase", {}) as noting:
            noting.set(_erase(settings, store, recipient, dry_run, thorough, as_json, noting.what))


def _erase(
    settings: "Settings",
    store: "Store",
    recipient: str,
    dry_run: bool,
    thorough: bool,
    as_json: bool,
    noted: dict[str, object] | None = None,
) -> int:
    """Search, delete unless it is a dry run, and show how much that was; returns how many events that are.

    What the audit is to keep of it is put into `noted`.
    """
    from ingest.cli.render import console
    from ingest.cli.render import events as render
    from workers.operations.erase import Erased, elsewhere
    from workers.operations.erase import erase as run

    erased = Erased()

    def so_far() -> str:
        if dry_run:
            return "Nothing was erased."
        if erased.committed:
            return "The rows are deleted, but their bytes may be left in the files: type the same again."
        return (
            "Nothing older than this moment is stored of this person any more, but what was there is: type the "
            "same again."
        )

    with interruptible(so_far), console.advancing("reading all events", as_json) as progress:
        try:
            run(store, recipient, dry_run, thorough, progress, erased)
        finally:
            if noted is not None:
                noted.update(erased.noted())
    render.erased(erased, dry_run, elsewhere(settings), as_json)
    return len(erased.deleted) + len(erased.blanked)


COMMANDS = (events, stats, erase)
