"""What `ingest scale` prints for people."""

from typing import TYPE_CHECKING

from rich.table import Table

from ingest.cli.render.console import Console

if TYPE_CHECKING:
    from workers.operations.scale import Scale

_console = Console(highlight=False)


def text(known: "Scale") -> None:
    """A line for each queue."""
    table = Table.grid(padding=(0, 2))
    table.add_row("queue", "waiting", "behind", "workers", "busy", "recommended")
    for name, queue in known.queues.items():
        table.add_row(
            name, f"{queue.waiting:,}", f"{queue.seconds_behind:,.1f} s", str(queue.workers), str(queue.busy),
            str(queue.recommended_workers),
        )  # fmt: skip
    _console.print(table)
