"""The commands that make up for what was missed: reconcile, import."""

import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ingest.cli.amount import Finite
from ingest.cli.audit import Counted, noted
from ingest.cli.completion import looked_up
from ingest.cli.interruption import interruptible
from ingest.cli.options import json_lines, settings_with
from ingest.cli.times import Day
from ingest.shown import counted, did_you_mean

if TYPE_CHECKING:
    from workers.reconcile.logfile import Watch
    from workers.reconcile.report import DayReport


def how_to(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that both commands have."""
    options = (
        click.option(
            "--all", "everything", is_flag=True, help="Also what no webhook brings: attempts, retries, …"
        ),
        click.option("--no-handlers", is_flag=True, help="Do not call handlers with what is recovered."),
        click.option(
            "--wait",
            type=Finite(0),
            default=30.0,
            show_default=True,
            help="Seconds to wait for calls that are still on their way to the store.",
        ),
        json_lines("day"),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@click.argument("first", metavar="DAY", type=Day())
@click.argument("last", metavar="[DAY]", type=Day(), required=False)
@click.option("--partial", is_flag=True, help="Also a day that is not over; it does not count as complete.")
@how_to
def reconcile(
    first: date, last: date | None, partial: bool, everything: bool, no_handlers: bool, wait: float, as_json: bool
) -> None:
    """Compare Copernica's log files of a day, or from one to another, with the store; insert what is missing.

    The exit code is 1 if not everything of these days could be read and compared.
    """
    from workers.reconcile.run import ReconcileOptions, days_of
    from workers.reconcile.run import reconcile as run

    settings = settings_with()
    days = days_of(first, last, partial)
    options = ReconcileOptions(partial, everything, not no_handlers, wait)
    said = {"first": f"{first}", "last": f"{last or first}", "partial": partial}
    with noted(settings, "reconcile", said) as noting:
        _run(lambda watch: run(settings, days, options, watch), as_json, noting)


def _kinds() -> Iterable[str]:
    from ingest.copernica.logfiles.kinds import KINDS

    return KINDS


@click.command("import")
@click.argument("files", metavar="FILE…", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--kind",
    shell_complete=looked_up(_kinds),
    help="Kind of the files, if their names do not say it: cdm-click, pom-errors, …",
)
@click.option("--day", type=Day(), help="Day of the files, if their names do not say it.")
@click.option("--complete", is_flag=True, help="The files given are all that exist for their days, and whole.")
@how_to
def import_(
    files: tuple[Path, ...],
    kind: str | None,
    day: date | None,
    complete: bool,
    everything: bool,
    no_handlers: bool,
    wait: float,
    as_json: bool,
) -> None:
    """Reconcile log files that were downloaded by hand: plain or packed, or folders of them.

    What is no log file is passed over and named; the exit code is 1 if anything but litter was.
    """
    from ingest.cli.render import reconcile as render
    from ingest.copernica.logfiles.kinds import KINDS
    from workers.reconcile.by_hand import by_hand
    from workers.reconcile.run import ReconcileOptions, reconcile_files

    kind = kind and kind.strip().lower()
    if kind is not None and kind not in KINDS:
        likely = did_you_mean(kind, KINDS)
        raise click.BadParameter(f"{kind!r} is none of {', '.join(KINDS)}.{likely}", param_hint="--kind")
    settings = settings_with()
    options = ReconcileOptions(False, everything, not no_handlers, wait)
    with by_hand(files, kind, day, whole=complete) as given:
        render.left_out(given.left_out)
        whole = complete and given.all_taken
        work = partial(reconcile_files, settings, given.files, whole, options)
        with noted(settings, "import", {"files": len(given.files), "kind": kind, "day": day}) as noting:
            _run(work, as_json, noting, ok=given.all_taken and bool(given.files))


def _run(work: "Callable[[Watch], Iterator[DayReport]]", as_json: bool, noting: Counted, ok: bool = True) -> None:
    """Show each day's report as it comes; the exit code says whether all of it is in the store now."""
    from ingest.cli.render import reconcile

    days = 0

    def so_far() -> str:
        return (
            f"{counted(days, 'day is', 'days are')} done. What was recovered of the next one, if anything, stays "
            "in the store, and the same command does the rest."
        )

    with interruptible(so_far), reconcile.working(as_json) as watch:
        for report in work(watch):
            reconcile.day(report, as_json)
            days += 1
            noting.set(days)
            ok = ok and report.ok
    sys.exit(0 if ok else 1)


COMMANDS = (reconcile, import_)
