"""What `ingest simulate` prints: a progress bar while it sends, and the report."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from ingest.cli.render.console import Console, print_json
from ingest.shown import counted
from ingest.simulation.report import Report
from ingest.simulation.sender import Sender

#: Seconds between two updates of the progress bar: often enough to look live, too rarely to cost the sender.
UPDATE_EVERY = 0.25


@contextmanager
def sending(sender: Sender, events: int, quiet: bool) -> Iterator[None]:
    """A progress bar with the current rate while the block runs; it counts calls that got the right answer."""
    columns = (
        TextColumn("sending"),
        BarColumn(),
        MofNCompleteColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rate]:>7,.0f}/s"),
        TimeRemainingColumn(),
    )
    terminal = Console(stderr=True)
    progress = Progress(*columns, console=terminal, disable=quiet or not terminal.is_terminal)
    over = threading.Event()
    task = progress.add_task("sending", total=events, rate=0.0)

    def completed() -> int:
        return sender.report.acknowledged + sender.report.forged_refused

    def follow() -> None:
        before = 0
        while not over.wait(UPDATE_EVERY):
            now = completed()
            progress.update(task, completed=now, rate=(now - before) / UPDATE_EVERY)
            before = now

    follower = threading.Thread(target=follow, daemon=True)
    with progress:
        follower.start()
        try:
            yield
        finally:
            over.set()
            follower.join()
            progress.update(task, completed=completed(), rate=completed() / (sender.report.seconds or 1.0))


def report(result: Report, as_json: bool) -> None:
    """What became of the calls."""
    if as_json:
        print_json(result.as_dict())
        return
    table = Table.grid(padding=(0, 2))
    table.add_row("sent", f"{result.sent:,}")
    table.add_row("acknowledged", f"{result.acknowledged:,}  in {result.seconds:.1f} s, {result.rate:,.0f}/s")
    if result.forged:
        accepted = f", [red]{result.forged_taken:,} ACCEPTED[/]" if result.forged_taken else ""
        table.add_row("forged", f"{result.forged:,}, refused {result.forged_refused:,}{accepted}")
    for status, number in sorted(result.refused.items()):
        table.add_row("refused", f"[red]{number:,} with status {status}[/]")
    if result.lost:
        table.add_row("lost connections", f"[red]{counted(result.lost, 'call')} without an answer[/]")
    p50, p99, longest = (round(seconds * 1000, 2) for seconds in result.latency)
    table.add_row("latency", f"p50 {p50} ms   p99 {p99} ms   max {longest} ms")
    Console(highlight=False).print(table)
