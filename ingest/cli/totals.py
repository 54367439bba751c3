"""The command that holds Copernica's totals against the store: audit-mailings."""

import sys
from datetime import date

import click

from ingest.cli.audit import noted
from ingest.cli.interruption import interruptible
from ingest.cli.options import json_lines, settings_with
from ingest.cli.times import Day
from ingest.shown import counted


@click.command("audit-mailings")
@click.argument("days", metavar="[DAY]…", type=Day(), nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Show every total, also where thousands agree.")
@json_lines("day")
def audit_mailings(days: tuple[date, ...], everything: bool, as_json: bool) -> None:
    """Hold Copernica's totals of each mailing on some days, or yesterday, against the events of the store.

    The exit code is 1 if anything differs that is not accounted for, or if not all could be compared.
    """
    from ingest.cli.render import reconcile, totals
    from workers.totals.audit import audit, days_of

    settings = settings_with()
    asked = days_of(days)
    ok, done = True, 0

    def so_far() -> str:
        return f"{counted(done, 'day is', 'days are')} done, and kept."

    said = {"days": [str(day) for day in asked]}
    with (
        interruptible(so_far),
        noted(settings, "audit-mailings", said) as noting,
        reconcile.working(as_json) as watch,
    ):
        for found in audit(settings, asked, watch):
            totals.day(found, as_json, everything)
            done += 1
            noting.set(done)
            ok = ok and not found.differing and found.error is None
    sys.exit(0 if ok else 1)


COMMANDS = (audit_mailings,)
