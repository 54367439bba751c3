"""What `ingest mailings` prints: a table of mailings, or everything about one."""

import sys
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from ingest.cli.render.console import Console, dump, printable
from ingest.cli.streams import reader_may_leave

if TYPE_CHECKING:
    from workers.mailings.figures import Figures
    from workers.mailings.listing import Listed, Listing

#: What the columns of the list are called, by type of event.
HEADINGS = {
    "delivery": "delivered",
    "open": "opened",
    "click": "clicked",
    "unsubscribe": "unsubscr.",
    "abuse": "complained",
    "failure": "failed",
}
#: Entries of each list about one mailing, and characters of one.
FEW, LONGEST = 10, 90

_console = Console(highlight=False)


def listing(found: "Listing", as_json: bool) -> None:
    """The last mailings, the newest first."""
    with reader_may_leave():
        if as_json:
            for one in found.mailings:
                sys.stdout.write(dump(one.as_dict()) + "\n")
            return
        if not found.mailings:
            _console.print("No event in the store names a mailing.")
            return
        table = Table(box=None, pad_edge=False, padding=(0, 1))
        table.add_column("mailing")
        table.add_column("since (UTC)")
        for heading in HEADINGS.values():
            table.add_column(heading, justify="right")
        for one in found.mailings:
            table.add_row(str(one.mailing), f"{one.first_hour}:00", *(_number(one, kind) for kind in HEADINGS))
        _console.print(table)
        _console.print("[dim]Numbers are messages, each once.[/]" + _waiting(found.waiting))


def _number(one: "Listed", kind: str) -> str:
    numbers = one.of(kind)
    return f"{numbers.total if numbers.unique is None else numbers.unique:,}"


def _waiting(number: int) -> str:
    return f" Figures of {number:,} more are being made." if number else ""


def one(found: "Figures", as_json: bool) -> None:
    """Everything about a mailing."""
    with reader_may_leave():
        if as_json:
            sys.stdout.write(dump(found.as_dict()) + "\n")
            return
        _console.print(f"Mailing {found.mailing}", style="bold")
        for name in found.names:
            sent = f", sent to {name.destinations:,}" if name.destinations is not None else ""
            _console.print(escape(printable(f"{name.subject or 'without a subject'} ({name.product}{sent})")))
        _console.print(_table(found))
        for title, entries in found.tops.items():
            _console.print(f"\n{title}", style="bold")
            for entry, number in list(entries.items())[:FEW]:
                _console.print(f"{number:>10,}  {escape(printable(entry)[:LONGEST])}", soft_wrap=True)
        if not found.is_fresh:
            _console.print("\n[yellow]! Messages are as of some time ago: newer events are being counted.[/]")


def _table(found: "Figures") -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    table.add_column("")
    for heading in ("events", "messages", "of delivered"):
        table.add_column(heading, justify="right")
    for kind, numbers in found.kinds.items():
        if numbers.total:
            rate = found.rate(kind)
            unique = "?" if numbers.unique is None else f"{numbers.unique:,}"
            table.add_row(kind, f"{numbers.total:,}", unique, "" if rate is None else f"{rate:.1%}")
    return table
