"""What `ingest audit-mailings` prints: a table of both sides for each day, and what is likely to be the cause."""

import sys
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from ingest.cli.render.console import Console, dump, printable
from ingest.cli.streams import reader_may_leave
from ingest.shown import counted

if TYPE_CHECKING:
    from workers.totals.report import DayTotals, Line

#: Lines of a day's table: those that differ come first, and the rest is counted.
MAX_LINES = 40
#: Totals that are named beside a cause.
MAX_NAMED = 3

_console = Console(highlight=False)


def day(found: "DayTotals", as_json: bool, everything: bool) -> None:
    """One day; with nobody left to read it, the next ones are compared all the same."""
    with reader_may_leave():
        if as_json:
            sys.stdout.write(dump(found.as_dict()) + "\n")
        else:
            _day(found, everything)


def _day(found: "DayTotals", everything: bool) -> None:
    _console.print(_headline(found), soft_wrap=True)
    lines = sorted(found.lines, key=_rank)
    shown = lines if everything else lines[:MAX_LINES]
    if shown:
        _console.print(_table(shown))
    if len(shown) < len(lines):
        _console.print(f"… and {counted(len(lines) - len(shown), 'more total')}: --all shows them.")
    for text in (*_causes(lines), *found.notes):
        _console.print(f"[yellow]! {escape(printable(text))}[/]", soft_wrap=True)
    _console.print()


def _rank(line: "Line") -> tuple[bool, bool, int]:
    """What differs first, then what is accounted for or unknown, then the rest; the largest mailings first."""
    return line.agrees is not False, not line.causes, -(line.theirs.total or line.ours.total or 0)


def _headline(found: "DayTotals") -> Text:
    asked = f"{counted(found.mailings, 'mailing')}, {counted(found.requests, 'request')}"
    if found.agrees:
        return Text(f"{found.day}  all totals agree ({asked})", style="bold green")
    if found.agrees is False or found.differing:
        from workers.totals.report import what_differs

        text = what_differs(found.differing)
        more = "" if found.agrees is False else f"; {printable(found.why)}"
        return Text(f"{found.day}  {text}{more} ({asked})", style="bold red")
    return Text(f"{found.day}  not decided: {printable(found.why)} ({asked})", style="bold yellow")


def _table(lines: "Iterable[Line]") -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1))  # fits in 80 columns
    table.add_column("mailing")
    table.add_column("kind")
    for heading in ("Copernica", "unique", "store", "unique", "missing"):
        table.add_column(heading, justify="right")
    for line in lines:
        numbers = (*line.theirs, *line.ours)
        table.add_row(_name(line), line.kind.value, *map(_number, numbers), _difference(line))
    return table


def _name(line: "Line") -> str:
    return f"{line.product} {line.mailing}".strip()


def _number(number: int | None) -> str:
    return "?" if number is None else f"{number:,}"


def _difference(line: "Line") -> str:
    if line.difference is None:
        return "?"
    text = f"{line.difference:,}" if line.difference else ""
    return f"[red]{text}[/]" if line.agrees is False else f"[yellow]{text}[/]" if text else ""


def _causes(lines: "Iterable[Line]") -> "Iterator[str]":
    """What is likely behind the differences: those with the same causes in one sentence."""
    different = sorted(
        (line for line in lines if line.causes or line.agrees is False), key=lambda line: tuple(line.causes)
    )
    for causes, group in groupby(different, key=lambda line: tuple(line.causes)):
        of_them = list(group)
        named = ", ".join(f"{_name(line)} {line.kind}" for line in of_them[:MAX_NAMED])
        more = f" and {len(of_them) - MAX_NAMED:,} more" if len(of_them) > MAX_NAMED else ""
        likely = "; ".join(cause.text for cause in causes) or "no cause is known"
        yield f"{named}{more}: {likely}."
