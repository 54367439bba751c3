"""The command that writes days of events for a warehouse."""

from datetime import date
from typing import Any

import click

from ingest.cli.audit import noted
from ingest.cli.choices import OneOf
from ingest.cli.interruption import interruptible
from ingest.cli.options import settings_with
from ingest.cli.times import Day
from ingest.shown import counted


@click.command()
@click.option("--day", type=Day(), help="Only this day, or from this one on.  [default: all that are over]")
@click.option("--through", type=Day(), help="With --day: the last day.")
@click.option("--to", help="A folder, or s3://bucket/prefix.  [default: INGEST_EXPORT_TO]")
@click.option(
    "--format", "form", type=OneOf(["parquet", "jsonl", "csv"]), help="As what.  [default: INGEST_EXPORT_FORMAT]"
)
@click.option("--anew", is_flag=True, help="Write everything again, whatever is there.")
@click.option("--json", "as_json", is_flag=True, help="For a script: one JSON object per day.")
def export(day: date | None, through: date | None, to: str | None, form: Any, anew: bool, as_json: bool) -> None:
    """Write events into files, per day (UTC) and type: only what has changed since it was written."""
    if through is not None and (day is None or through < day):
        raise click.BadParameter("it needs --day, the first day, and is not before that", param_hint="--through")
    settings = settings_with(export_to=to, export_format=form)
    if not settings.export_to:
        raise click.UsageError("Say where to: --to DIR, --to s3://bucket/prefix, or INGEST_EXPORT_TO.")

    from ingest.cli.render import export as render
    from ingest.cli.render.reconcile import working
    from workers.export.run import export as run
    from workers.export.targets import target_of
    from workers.reconcile.report import days_between

    done = rows = 0
    days = days_between(day, through or day) if day is not None else ()
    target = target_of(settings.export_to)
    with interruptible(lambda: f"{counted(done, 'day is', 'days are')} done; the same command does the rest."):
        with working(as_json) as watch:
            for one in run(settings, target, settings.export_format, list(days), anew=anew, watch=watch):
                render.day(one, as_json, shows_all=day is not None)
                done, rows = done + 1, rows + one.rows
        render.total(done, rows, target.shown, as_json)
    # Not around it: who reads a SQLite file as columns may have it open in no other way.
    said = {"day": day, "through": through, "to": target.shown, "format": settings.export_format, "anew": anew}
    with noted(settings, "export", said) as noting:
        noting.set(rows)


COMMANDS = (export,)
