"""What `ingest streams` prints."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from ingest.cli.render.console import Console, print_json, printable
from ingest.shown import counted, span

if TYPE_CHECKING:
    from workers.operations.figures import StreamFigures

#: What the states of a server mean to people.
STATES = {
    "takes": "takes calls",
    "closed": "drained by hand, takes no calls",
    "only-drained": "not named: only drained",
    "foreign": "another database's, takes no calls",
    "away": "does not answer",
    "left": "named no more",
}

_console = Console(highlight=False)


def streams(figures: "Sequence[StreamFigures]", as_json: bool) -> None:
    """Print the servers: a table for people, or an array of objects."""
    if as_json:
        print_json(list(figures))
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("", "server", "state", "events", "claimed", "oldest", "memory", "endpoints"):
        is_text = heading in ("server", "state", "endpoints")
        table.add_column(heading, justify="left" if is_text else "right", no_wrap=not is_text, overflow="fold")
    for number, one in enumerate(figures, 1):
        table.add_row(str(number), *(escape(printable(cell)) for cell in _cells(one)))
    _console.print(table)
    for one in figures:
        if one.error is not None:
            _console.print(f"{printable(one.name)}: {printable(one.error)}", markup=False, soft_wrap=True)


def _cells(one: "StreamFigures") -> tuple[str, ...]:
    memory = "" if one.memory_bytes is None else f"{one.memory_bytes / 2**20:,.1f} MiB"
    events, had = one.backlog, "" if one.batches is None else counted(one.batches, "batch", "batches")
    return (
        f"{one.name} (queues)" if one.has_queues else one.name,
        STATES[one.state],
        had if events is None else f"{events:,}",
        had if one.pending_batches is None else f"{one.pending_batches:,} of {one.batches or 0:,}",
        "" if one.oldest_age_seconds is None else span(one.oldest_age_seconds),
        memory,
        ", ".join(f"{number:,} {_found(state)}" for state, number in sorted(one.endpoints.items())),
    )


def _found(state: str) -> str:
    """What endpoint processes find of a server, by the state of their breaker."""
    return {"closed": "write", "open": "leave it out", "half-open": "try it"}.get(state, state)


def standing(one: "StreamFigures") -> str:
    """How a server stands, in a line."""
    if one.state == "left":
        ago = "" if one.seen_at is None else f" {span(max(0.0, time.time() - one.seen_at))} ago"
        had = "" if one.batches is None else f", had {counted(one.batches, 'batch', 'batches')}{ago}"
        return f"{STATES[one.state]}{had}"
    if one.backlog is None:
        return STATES[one.state]
    age = "" if one.oldest_age_seconds is None else f", the oldest {span(one.oldest_age_seconds)} old"
    return f"{STATES[one.state]}, {counted(one.backlog, 'event')}{age}"
