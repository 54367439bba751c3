"""The command that writes days of events for a warehouse."""

from collections import Counter
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import click

from ingest.cli.audit import noted
from ingest.cli.choices import OneOf
from ingest.cli.interruption import interruptible
from ingest.cli.options import json_lines, settings_with
from ingest.cli.times import Day
from ingest.shown import counted

if TYPE_CHECKING:
    from collections.abc import Sequence


@click.command()
@click.option("--day", type=Day(), help="Only this day, or from this one on.  [default: all that are over]")
@click.option("--through", type=Day(), help="With --day: the last day, today at most.")
@click.option("--to", help="A folder, or s3://bucket/prefix.  [default: INGEST_EXPORT_TO]")
@click.option(
    "--format", "form", type=OneOf(["parquet", "jsonl", "csv"]), help="As what.  [default: INGEST_EXPORT_FORMAT]"
)
@click.option("--anew", is_flag=True, help="Write everything again, whatever is there.")
@json_lines("day")
def export(day: date | None, through: date | None, to: str | None, form: Any, anew: bool, as_json: bool) -> None:
    """Write events into files, per day (UTC) and type: only what has changed since it was written."""
    days = _days(day, through)
    settings = settings_with(export_to=to, export_format=form)
    if not settings.export_to:
        raise click.UsageError("Say where to: --to DIR, --to s3://bucket/prefix, or INGEST_EXPORT_TO.")

    from ingest.cli.render import export as render
    from ingest.cli.render.reconcile import working
    from workers.export.run import export as run
    from workers.export.run import files_behind
    from workers.export.targets import target_of

    done = rows = 0
    behind: Counter[str] = Counter()
    target = target_of(settings.export_to)
    said = {"day": day, "through": through, "to": target.shown, "format": settings.export_format, "anew": anew}
    with (
        interruptible(lambda: f"{counted(done, 'day is', 'days are')} done; the same command does the rest."),
        noted(settings, "export", said) as noting,
    ):
        with working(as_json) as watch:
            for one in run(settings, target, settings.export_format, days, anew=anew, watch=watch):
                render.day(one, as_json, shows_all=day is not None)
                done, rows = done + 1, noting.set(rows + one.rows)
                behind.update(one.behind)
        render.total(done, rows, target.shown, as_json)
        for sentence in files_behind(behind, target.shown):
            click.echo(sentence, err=True)


def _days(day: date | None, through: date | None) -> "Sequence[date]":
    """The days that were named, none of which is still to come; none: all that are over.

    Raises:
        BadParameter: they are no days that can be exported.
    """
    from workers.reconcile.report import days_between

    if through is not None and (day is None or through < day):
        raise click.BadParameter("it needs --day, the first day, and is not before that", param_hint="--through")
    if day is None:
        return ()
    today = datetime.now(UTC).date()
    if day > today:
        raise click.BadParameter(f"{day} is still to come: in UTC it is {today}.", param_hint="--day")
    return days_between(day, min(through or day, today))


COMMANDS = (export,)
