"""What `ingest status` prints."""

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from ingest.cli.render.console import Console, print_json, printable
from ingest.shown import counted

if TYPE_CHECKING:
    from workers.operations.status import (
        ReconciledFigures,
        RedisFigures,
        SpoolFigures,
        StatusFigures,
        StoreFigures,
    )

_console = Console(highlight=False)


def status(figures: "StatusFigures", as_json: bool) -> None:
    """Print the figures: a table and the warnings for people, or the JSON that `docs/status.md` describes."""
    if as_json:
        print_json(figures.as_json())
        return
    table = Table.grid(padding=(0, 2))
    if figures.redis is not None:
        _redis_rows(table, figures.redis)
    if figures.spool is not None:
        _spool_rows(table, figures.spool)
    if figures.store is not None:
        _store_rows(table, figures.store)
    for worker in figures.redis.workers if figures.redis else ():
        table.add_row(
            "worker", escape(printable(f"{worker.name[:8]} on {','.join(worker.queues)}: {worker.state}"))
        )
    _console.print(table)
    for warning in figures.warnings:
        _console.print(f"[yellow]! {escape(printable(warning))}[/]")


def _redis_rows(table: Table, figures: "RedisFigures") -> None:
    waiting = _amount(figures.backlog, figures.oldest_age_seconds)
    if figures.pending_batches:
        waiting += f" ({figures.pending_batches:,} of {counted(figures.batches, 'batch', 'batches')} in progress)"
    table.add_row("backlog", waiting)
    table.add_row("rates", f"{figures.accepted_per_second:,.0f}/s in, {figures.drained_per_second:,.0f}/s out")
    if figures.refused:
        refused = ", ".join(f"{number:,} {reason}" for reason, number in sorted(figures.refused.items()))
        table.add_row("refused", f"{refused} (since the endpoint started)")
    if figures.dead_batches:
        table.add_row("dead", counted(figures.dead_batches, "batch", "batches"))
    table.add_row("endpoint", counted(len(figures.endpoints), "process", "processes"))


def _spool_rows(table: Table, figures: "SpoolFigures") -> None:
    if figures.events:
        amount = _amount(figures.events, figures.oldest_age_seconds)
        table.add_row("spool", f"{amount}, {figures.size_bytes / 2**20:,.1f} MiB")


def _store_rows(table: Table, figures: "StoreFigures") -> None:
    table.add_row("stored", counted(figures.stored, "event"))
    if figures.reconciled is not None:
        table.add_row("log files", _reconciled(figures.reconciled))
    if figures.unverified:
        table.add_row("unverified", counted(figures.unverified, "call waits for a key", "calls wait for a key"))
    table.add_row("quarantine", counted(figures.quarantined, "call"))
    for name, handler in figures.handlers.items():
        shown = escape(printable(name)) or "(not handed on yet)"
        table.add_row("handler", f"{shown}: {handler.waiting:,} waiting, {handler.failed:,} failed")


def _amount(events: int, age_seconds: float | None) -> str:
    return counted(events, "event") + (f", the oldest {age_seconds:.1f} s old" if age_seconds is not None else "")


def _reconciled(days: "ReconciledFigures") -> str:
    again = len(set(days.incomplete) - set(days.gone))
    owed = f"; {again:,} to be tried again" if again else ""
    if days.complete_through is None:
        return f"no day is complete yet{owed}"
    since = f" (every day since {days.since})" if days.since != days.complete_through else ""
    return f"complete through {days.complete_through}{since}{owed}"
