"""What `ingest reconcile` and `ingest import` print: progress, and the report of each day."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

from ingest.cli.render.console import Console, dump, printable
from ingest.cli.streams import reader_may_leave
from ingest.shown import counted

if TYPE_CHECKING:
    from workers.reconcile.archives import LeftOut
    from workers.reconcile.report import DayReport, KindReport

#: Figures of the table: attribute and heading.
FIGURES = {
    "in_log": "in log file",
    "in_store": "in store before",
    "recovered": "recovered",
    "only_in_store": "only in store",
    "unmatched": "unmatched",
}
#: How what is measured in bytes begins.
IN_BYTES = ("downloading", "reading", "recovering")
#: Outages that are listed; the rest is counted.
MAX_OUTAGES = 12
#: The same for files that are left out, and for litter.
MAX_LEFT_OUT, MAX_LITTER = 20, 5

_BLOCKS = "▁▂▃▄▅▆▇█"
_console = Console(highlight=False)


class _Amount(ProgressColumn):
    """Bytes with their rate, or a plain count."""

    _bytes, _speed, _count = DownloadColumn(), TransferSpeedColumn(), MofNCompleteColumn()

    def render(self, task: Task) -> Text:
        """The column of one task."""
        if task.description.startswith(IN_BYTES):
            return Text.assemble(self._bytes.render(task), "  ", self._speed.render(task))
        return self._count.render(task) if task.total is not None else Text(f"{task.completed:,.0f}")


@contextmanager
def working(quiet: bool) -> Iterator[Callable[[str, int, int | None], None]]:
    """A progress bar for each step in progress; the block calls the yielded function with how far each is."""
    columns = TextColumn("{task.description}", markup=False), BarColumn(), _Amount(), TimeElapsedColumn()
    console = Console(stderr=True)
    quiet = quiet or not console.is_terminal
    progress = Progress(*columns, console=console, disable=quiet, transient=True)
    tasks: dict[str, TaskID] = {}

    def watch(what: str, done: int, total: int | None) -> None:
        if what not in tasks:
            tasks[what] = progress.add_task(escape(printable(what)), total=total)
        progress.update(tasks[what], completed=done, total=total)
        if total is not None and done >= total:
            progress.update(tasks.pop(what), visible=False)

    with progress:
        yield watch


def left_out(found: "Sequence[LeftOut]") -> None:
    """What was given and is not imported, on standard error: what matters, line by line, and litter in one."""
    others = [left for left in found if not left.litter]
    for left in others[:MAX_LEFT_OUT]:
        sys.stderr.write(f"left out: {printable(f'{left.shown} {left.reason}')}\n")
    if len(others) > MAX_LEFT_OUT:
        sys.stderr.write(f"left out: … and {len(others) - MAX_LEFT_OUT:,} more\n")
    litter = [printable(left.shown) for left in found if left.litter]
    if litter:
        more = f" and {len(litter) - MAX_LITTER:,} more" if len(litter) > MAX_LITTER else ""
        sys.stderr.write(f"no log files: {', '.join(litter[:MAX_LITTER])}{more}\n")


def day(report: "DayReport", as_json: bool) -> None:
    """One day; with nobody left to read it, the next ones are worked at all the same."""
    with reader_may_leave():
        _day(report, as_json)


def _day(report: "DayReport", as_json: bool) -> None:
    if as_json:
        sys.stdout.write(dump(report.as_dict()) + "\n")
        return
    _console.print(_headline(report))
    if report.kinds:
        _console.print(_table(report.kinds))
        for line in _hours(report.kinds):
            _console.print(line, soft_wrap=True)
    for outage in report.outages[:MAX_OUTAGES]:
        figures = outage.as_dict()
        said = ", ".join(f"{number:,} of {response}" for response, number in outage.responses.items())
        _console.print(
            f"[yellow]! {figures['since']} to {figures['until']}: {counted(outage.calls, 'call')} did not reach "
            f"the endpoint ({escape(printable(said))})[/]",
            soft_wrap=True,
        )
    if len(report.outages) > MAX_OUTAGES:
        _console.print(f"[yellow]! … and {counted(len(report.outages) - MAX_OUTAGES, 'more outage')}[/]")
    for text in _remarks(report):
        _console.print(f"[yellow]! {escape(printable(text))}[/]", soft_wrap=True)
    _console.print()


def _headline(report: "DayReport") -> Text:
    if report.agrees:
        totals = "log files and totals" if report.totals and report.totals.agree else "its log files"
        return Text(f"{report.day}  complete ({totals})", style="bold green")
    return Text(
        f"{report.day}  not complete: {printable(report.why or '')}",
        style="bold yellow" if report.ok else "bold red",
    )


def _table(kinds: "list[KindReport]") -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1))  # with the longest kind, it fits in 80 columns
    table.add_column("kind")
    for heading in FIGURES.values():
        table.add_column(heading, justify="right")
    for kind in sorted(kinds, key=lambda one: -one.in_log):
        table.add_row(kind.kind, *(_figure(name, getattr(kind, name)) for name in FIGURES))
    return table


def _figure(name: str, number: int) -> str:
    colour = {"recovered": "green", "unmatched": "red"}.get(name) if number else None
    return f"[{colour}]{number:,}[/]" if colour else f"{number:,}"


def _hours(kinds: "list[KindReport]") -> Iterator[Text]:
    """The day as 24 bars, with marks below those hours of which some or most had to be recovered."""
    total = [sum(numbers) for numbers in zip(*(kind.hours for kind in kinds), strict=True)]
    recovered = [sum(numbers) for numbers in zip(*(kind.recovered_hours for kind in kinds), strict=True)]
    bars, marks = Text("00 "), Text("   ")
    for events, missed in zip(total, recovered, strict=True):
        height = -(-events * len(_BLOCKS) // max(*total, 1))
        mark, colour = (" ", "green") if not missed else ("!", "red") if missed * 2 > events else ("~", "yellow")
        bars.append((_BLOCKS[height - 1] if height else " ") * 2, style=colour)
        marks.append(mark * 2, style=colour)
    yield bars.append(" 24 h UTC")
    if any(recovered):
        marks.append(" ~ partly", style="yellow").append("  ! mostly", style="red")
        yield marks.append(" recovered")


def _remarks(report: "DayReport") -> Iterator[str]:
    yield from report.notes[:MAX_OUTAGES]
    for kind in report.kinds:
        yield from (f"{kind.kind}: {note}" for note in kind.notes)
    if erased := report.total("erased"):
        yield counted(
            erased,
            "event of somebody who was erased was left out.",
            "events of people who were erased were left out.",
        )
    if suspected := report.total("suspected"):
        clicks = counted(suspected, "click of the store is", "clicks of the store are")
        yield (
            f"{clicks} in Copernica's list of suspected clicks, which programs make rather than people; what is "
            "there stays."
        )
    if superseded := report.total("superseded"):
        events = counted(
            superseded,
            "event that an earlier run had recovered was removed: its own call",
            "events that an earlier run had recovered were removed: their own calls",
        )
        yield f"{events} came in after all. Handlers got both."
    if filled := report.total("filled"):
        yield (
            counted(filled, "event was filled in with", "events were filled in with") + " what the log files tell."
        )
    if report.in_flight is None:
        yield "Redis does not answer: calls that wait there are of events that may have been recovered just now."
    elif report.in_flight:
        calls = counted(report.in_flight, "call was", "calls were")
        yield (
            f"{calls} still on the way to the store; what of that is of events that were recovered just now will "
            "upgrade them."
        )
