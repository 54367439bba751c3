"""What `ingest catch-up` prints."""

import sys
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from ingest.cli.render.console import Console, dump, printable
from ingest.cli.streams import reader_may_leave
from ingest.shown import counted

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from workers.catch_up.closing import Outcome

#: Figures of the table: attribute and heading.
FIGURES = {
    "fetched": "results",
    "in_store": "in store before",
    "recovered": "recovered",
    "only_in_store": "without result",
    "unresolved": "unresolved",
    "calls": "API calls",
}
_console = Console(highlight=False)


def outcome(outcome: "Outcome", as_json: bool, zone: "ZoneInfo", dry_run: bool) -> None:
    """One gap or period; with nobody left to read it, the next ones are filled all the same."""
    with reader_may_leave():
        if as_json:
            sys.stdout.write(dump(outcome.as_dict()) + "\n")
            return
        since, until = (f"{each.astimezone(zone):%Y-%m-%d %H:%M:%S}" for each in (outcome.since, outcome.until))
        causes = f"  ({', '.join(outcome.causes)})" if outcome.causes else ""
        _console.print(f"{since} to {until} {zone.key}{causes}", style="bold", soft_wrap=True)
        table = Table(box=None, pad_edge=False, padding=(0, 1))
        for heading in FIGURES.values():
            table.add_column("missing" if dry_run and heading == "recovered" else heading, justify="right")
        table.add_row(*(f"{getattr(outcome.look, name):,}" for name in FIGURES))
        _console.print(table)
        for note in outcome.look.notes:
            _console.print(f"[yellow]! {escape(printable(note))}[/]", soft_wrap=True)
        _console.print(_said(outcome), soft_wrap=True)
        _console.print()


def _said(outcome: "Outcome") -> str:
    if outcome.open:
        return f"[yellow]Not closed: {escape(printable(outcome.open))}[/]"
    return f"[green]{counted(outcome.closed, 'gap is', 'gaps are')} closed.[/]"


def nothing(as_json: bool) -> None:
    """There was no gap to fill."""
    if not as_json:
        _console.print(
            "No gap is due: it is a minute after its end, and `ingest gaps` shows them all. "
            "Name any period with --since and --until.",
            soft_wrap=True,
        )
