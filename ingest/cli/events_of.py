"""The command that asks SMTPeter what happened: `ingest events-of`."""

import sys
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from ingest.cli.amount import Finite
from ingest.cli.audit import Counted, noted
from ingest.cli.interruption import interruptible
from ingest.cli.options import WORDS, json_lines, settings_with
from ingest.cli.times import MOMENT, SINCE_HELP, in_order, with_zone

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from ingest.copernica.smtpeter.client import Criterion

#: How far back to ask without --since, and at most: a call for each month.
LOOK_BACK, FARTHEST = timedelta(days=28), timedelta(days=400)


@click.command("events-of")
@click.option("--message", type=WORDS, help="What happened to the message with this id.")
@click.option("--recipient", type=WORDS, help="To those that were sent to this address.")
@click.option("--template", type=WORDS, help="To those that were made from this template.")
@click.option("--tags", type=WORDS, help="To those with all of these tags: T1;T2. Also beside one of the others.")
@click.option("--since", type=MOMENT, help=f"{SINCE_HELP}  [default: 28 days before --until]")
@click.option("--until", type=MOMENT, help="Before this time; written like --since.  [default: now]")
@with_zone
@click.option("--all", "everything", is_flag=True, help="Also what no webhook brings: attempts and responses.")
@click.option("--store", is_flag=True, help="Insert what is missing.")
@click.option("--no-handlers", is_flag=True, help="Do not call handlers with what is inserted.")
@click.option(
    "--wait",
    type=Finite(0),
    default=30.0,
    show_default=True,
    help="With --store: seconds to wait for calls that are still on their way to the store.",
)
@json_lines("event", "; and a last one that sums up")
def events_of(
    message: str | None,
    recipient: str | None,
    template: str | None,
    tags: str | None,
    since: datetime | None,
    until: datetime | None,
    zone: "ZoneInfo",
    everything: bool,
    store: bool,
    no_handlers: bool,
    wait: float,
    as_json: bool,
) -> None:
    """Show what SMTPeter has of a message, a recipient, a template or tags, beside what the store has.

    The exit code is 1 if something is missing in the store at the end.
    """
    from ingest.cli.render import events_of as render
    from ingest.cli.render.reconcile import working
    from workers.smtpeter.events_of import Comparison, Question
    from workers.smtpeter.events_of import events_of as run

    criterion = _criterion(message, recipient, template, tags)
    since, until = _period(since, until)
    question = Question(criterion, since, until, everything, store, not no_handlers, wait)
    comparison = Comparison()

    def so_far() -> str:
        return "What was stored by then stays; the same command does the rest." if store else ""

    settings = settings_with()
    said = {"since": f"{since}", "until": f"{until}", "template": template, "message": message, "tags": tags}
    book = noted(settings, "events-of", {**said, "recipient": recipient}) if store else nullcontext(Counted())
    with interruptible(so_far), book, working(as_json) as watch:
        found = run(settings, question, comparison, watch)
        render.events(found, question, comparison, zone, as_json)
    sys.exit(0 if comparison.all_there else 1)


def _criterion(message: str | None, recipient: str | None, template: str | None, tags: str | None) -> "Criterion":
    """What to ask for.

    Raises:
        click.UsageError: it is nothing, or more than one of the three.
    """
    from ingest.copernica.smtpeter.client import By, Criterion

    given = {By.MESSAGE: message, By.RECIPIENT: recipient, By.TEMPLATE: template}
    named = [(by, value) for by, value in given.items() if value is not None]
    if len(named) > 1 or not (named or tags is not None):
        raise click.UsageError("Name one of --message, --recipient and --template, or --tags.")
    if not named:
        return Criterion(By.TAGS, tags or "")
    (by, value) = named[0]
    return Criterion(by, value, tags or "")


def _period(since: datetime | None, until: datetime | None) -> tuple[datetime, datetime]:
    """From when to when to ask.

    Raises:
        click.BadParameter: the period is empty, too long, or to come.
    """
    now = datetime.now(UTC)
    in_order(since, until)
    if since is not None and since >= now:
        raise click.BadParameter("it is to come, so nothing has happened since", param_hint="--since")
    until = min(until or now, now) + timedelta(seconds=1 if until is None else 0)
    since = since or until - LOOK_BACK
    if until - since > FARTHEST:
        raise click.BadParameter(f"it is more than {FARTHEST.days} days before --until", param_hint="--since")
    return since, until


COMMANDS = (events_of,)
