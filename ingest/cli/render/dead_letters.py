"""What `ingest failed` and `ingest replay` print."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ingest.cli.render import console
from ingest.cli.render.events import as_row

if TYPE_CHECKING:
    from workers.handlers.dead_letters import DeadLetter

#: Columns of the table, with the room each gets; the error has the rest of the line.
COLUMNS = {"failed_at": 20, "handler": 20, "type": 18, "delivery_id": 24, "attempts": 8}


def letters(found: Iterable["DeadLetter"], as_json: bool) -> None:
    """`ingest failed list`: a line each, as they come."""
    with console.broken_pipe_is_no_error():
        if not as_json:
            heads = [f"{name:<{width}}" for name, width in COLUMNS.items()]
            sys.stdout.write("  ".join([*heads, "error"]) + "\n")
        for letter in found:
            row = letter.as_dict() | {
                "occurred_at": console.moment(letter.occurred_at),
                "failed_at": console.moment(letter.failed_at // 1_000_000 * 1_000_000),
            }
            if as_json:
                sys.stdout.write(console.dump(row) + "\n")
                continue
            cells = [console.cell(str(row[name]), width) for name, width in COLUMNS.items()]
            sys.stdout.write("  ".join([*cells, console.printable(letter.error)]).rstrip() + "\n")


def letter(one: "DeadLetter") -> None:
    """`ingest failed show`."""
    out = Console(highlight=False, soft_wrap=True, markup=False)
    out.print(f"{one.delivery_id.hex()}, given up by {one.handler} at {console.moment(one.failed_at)}")
    out.print(f"after {one.attempts} attempts: {console.printable(one.error)}\n")
    event = one.event
    if event is None:
        out.print(
            "the body, which cannot be read:\n"
            + console.printable(one.record.body.decode("utf-8", "replace")[:5000])
        )
    else:
        out.print(console.dump(as_row(event)))
    if one.traceback:
        out.print("\n" + "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in one.traceback))


@contextmanager
def progress(what: str, total: int, done: int = 0) -> Iterator[Callable[[int], object]]:
    """A progress bar while the block tells how many more are done."""
    columns = TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total, completed=done)
        yield lambda more: bar.advance(task, more)
