"""The command that fills gaps from Copernica's results: catch-up."""

import sys
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from ingest.cli.audit import Counted, noted
from ingest.cli.interruption import interruptible
from ingest.cli.options import json_lines, settings_with
from ingest.cli.times import MOMENT, SINCE_HELP, in_order, with_zone

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo


@click.command("catch-up")
@click.option("--since", type=MOMENT, help=SINCE_HELP + "  [default: the gaps that are due]")
@click.option("--until", type=MOMENT, help="Up to: a time as for --since.  [default: now]")
@click.option("--dry-run", is_flag=True, help="Only show what is missing; store nothing.")
@click.option("--no-handlers", is_flag=True, help="Do not call handlers with what is recovered.")
@json_lines("gap or period")
@with_zone
def catch_up(
    since: datetime | None,
    until: datetime | None,
    dry_run: bool,
    no_handlers: bool,
    as_json: bool,
    zone: "ZoneInfo",
) -> None:
    """Ask Copernica for the results of gaps, or of any period, and insert what is missing.

    The exit code is 1 if a gap stays open.
    """
    from ingest.cli.render import catch_up as render
    from ingest.cli.render.reconcile import working
    from workers.catch_up.by_hand import gaps_or_period

    settings = settings_with()
    if until is not None and since is None:
        raise click.BadParameter("it needs --since as well", param_hint="--until")
    now = datetime.now(UTC)
    if until is not None and until > now:
        raise click.BadParameter("it is still to come", param_hint="--until")
    if since is not None and since >= now:
        raise click.BadParameter("it is still to come", param_hint="--since")
    in_order(since, until)
    period = None if since is None else (since, until or now)
    done = 0

    def so_far() -> str:
        stays = "Nothing was stored" if dry_run else "What was recovered of the next stays in the store"
        return f"{done} done. {stays}, and the same command does the rest."

    ok = True
    said = {} if period is None else dict(zip(("since", "until"), map(str, period), strict=True))
    book = nullcontext(Counted()) if dry_run else noted(settings, "catch-up", said)
    with interruptible(so_far), book as noting, working(as_json) as watch:
        for outcome in gaps_or_period(settings, period, dry_run, not no_handlers, watch):
            render.outcome(outcome, as_json, zone, dry_run)
            done += 1
            noting.set(done)
            ok = ok and not outcome.open
    if not done:
        render.nothing(as_json)
    sys.exit(0 if ok else 1)


COMMANDS = (catch_up,)
