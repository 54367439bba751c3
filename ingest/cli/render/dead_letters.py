"""What `ingest failed` and `ingest replay` print."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ingest.cli import streams
from ingest.cli.render import console
from ingest.cli.render.console import Column, Console
from ingest.copernica.events import MICROS
from ingest.shown import counted
from workers.operations.exporting import as_row

if TYPE_CHECKING:
    from workers.handlers.dead_letters import DeadLetter

#: Columns of the table behind the time, as many as fit; what is needed to show or retry one comes first.
COLUMNS = (
    Column("delivery_id", 24, 24),
    Column("handler", 8, 20),
    Column("error", 12, 1000),
    Column("type", 11, 18),
    Column("attempts", 8, 8),
)
#: Most characters of a body that is shown because it cannot be read as an event: a few screens full.
SHOWN_BODY = 5000


def print_list(dead_letters: Iterable["DeadLetter"], zone: ZoneInfo, as_json: bool) -> None:
    """`ingest failed list`: a line for each, as they come from the database."""
    time = f"failed {zone.key}"
    room = console.time_width(zone)
    widths = console.fitted([Column(time, room, room), *COLUMNS], console.width(), first="error")
    with streams.reader_may_leave():
        if not as_json:
            sys.stdout.write(console.line({name: name for name in widths}, widths))
        for dead_letter in dead_letters:
            row = dead_letter.as_dict()
            if as_json:
                row["occurred_at"] = console.moment(dead_letter.occurred_at)
                row["failed_at"] = console.moment(dead_letter.failed_at // MICROS * MICROS)  # whole seconds
                sys.stdout.write(console.dump(row) + "\n")
            else:
                sys.stdout.write(console.line({**row, time: console.local(dead_letter.failed_at, zone)}, widths))


def print_one(dead_letter: "DeadLetter", zone: ZoneInfo) -> None:
    """`ingest failed show`: the failure, the event and the traceback."""
    out = Console(highlight=False, soft_wrap=True, markup=False)
    failed_at = console.local(dead_letter.failed_at, zone)
    out.print(
        f"{dead_letter.delivery_id.hex()}, given up by {console.printable(dead_letter.handler)} at {failed_at}"
    )
    out.print(f"after {counted(dead_letter.attempts, 'attempt')}: {console.printable(dead_letter.error)}\n")
    event = dead_letter.event
    if event is None:
        body = dead_letter.record.body.decode("utf-8", "replace")[:SHOWN_BODY]
        out.print("the body, which cannot be read:\n" + console.printable(body))
    else:
        out.print(console.dump(as_row(event)))
    if dead_letter.traceback:
        lines = dead_letter.traceback.split("\n")
        out.print("\n" + "\n".join(map(console.printable, lines)))


@contextmanager
def progress(action: str, total: int, done: int = 0) -> Iterator[Callable[[int], object]]:
    """A progress bar; the block gets a function to call with how many more are done."""
    columns = TextColumn(action), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    terminal = Console(stderr=True)
    with Progress(*columns, console=terminal, disable=not terminal.is_terminal, transient=True) as bar:
        task = bar.add_task(action, total=total, completed=done)
        yield lambda more: bar.advance(task, more)
