"""What `ingest status` prints."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from ingest.cli.render import streams
from ingest.cli.render.console import Console, local, print_json, printable
from ingest.shown import counted, span

if TYPE_CHECKING:
    from workers.operations.figures import (
        DayFigures,
        HandlerFigures,
        LostFigures,
        ReconciledFigures,
        RedisFigures,
        SpoolFigures,
        StatusFigures,
        StoreFigures,
    )
    from workers.operations.warnings import StatusWarning

#: How warnings begin, by their level: told apart without colours, too.
MARKS = {"alarm": ("ALARM", "bold red"), "warning": ("warning", "yellow")}

#: The zone of times where nobody asked for another.
UTC = ZoneInfo("UTC")

_console = Console(highlight=False)


def status(figures: "StatusFigures", as_json: bool, zone: ZoneInfo = UTC) -> None:
    """Print the figures: a table and the warnings for people, or the JSON that `docs/status.md` describes."""
    if as_json:
        print_json(figures.as_json())
    else:
        _console.print(picture(figures, zone))


def one_line(figures: "StatusFigures") -> None:
    """Print the worst of the warnings, and how many others there are; nothing if there is none."""
    worst_first = sorted(figures.warnings, key=lambda warning: warning.level != "alarm")
    for worst in worst_first[:1]:
        more = f" (and {len(worst_first) - 1:,} more: `ingest status`)" if len(worst_first) > 1 else ""
        _console.print(
            f"{MARKS[worst.level][0]} {worst.code}: {printable(worst.text)}{more}", soft_wrap=True, markup=False
        )


def picture(figures: "StatusFigures", zone: ZoneInfo = UTC) -> RenderableType:
    """The figures as a table, and the warnings below it; times are those of a zone."""
    table = Table.grid(padding=(0, 2))
    table.add_row("time", _moment(time.time(), zone))
    if figures.redis is not None:
        _redis_rows(table, figures.redis, zone)
    if figures.spool is not None:
        _spool_rows(table, figures.spool, zone)
    if figures.store is not None:
        _store_rows(table, figures.store, zone)
    for worker in figures.redis.workers if figures.redis else ():
        table.add_row(
            "worker", escape(printable(f"{worker.name[:8]} on {','.join(worker.queues)}: {worker.state}"))
        )
    return Group(table, *map(_warning, sorted(figures.warnings, key=lambda warning: warning.level != "alarm")))


def _moment(at: float, zone: ZoneInfo) -> str:
    return local(int(at * 1_000_000), zone)


def _warning(warning: "StatusWarning") -> RenderableType:
    mark, style = MARKS[warning.level]
    row = Table.grid(padding=(0, 1))
    row.add_row(f"[{style}]{mark}[/]", f"[{style}]{escape(printable(warning.text))}[/] ({warning.code})")
    return row


def _ago(at: float, zone: ZoneInfo) -> str:
    return f"{_moment(at, zone)}, {span(max(0.0, time.time() - at))} ago"


def _redis_rows(table: Table, figures: "RedisFigures", zone: ZoneInfo) -> None:
    waiting = _amount(figures.backlog, figures.oldest_age_seconds)
    if figures.pending_batches:
        waiting += f" ({figures.pending_batches:,} of {counted(figures.batches, 'batch', 'batches')} in progress)"
    table.add_row("backlog", waiting)
    if figures.last_call_at is not None:
        table.add_row("last call", _ago(figures.last_call_at, zone))
    rates = f"{figures.accepted_per_second:,.0f} events/s in, {figures.drained_per_second:,.0f} events/s out"
    table.add_row("rates", rates)
    if figures.refused:
        refused = ", ".join(f"{number:,} {reason}" for reason, number in sorted(figures.refused.items()))
        table.add_row("refused", f"{refused} (calls, since the endpoint started)")
    if figures.lost is not None:
        table.add_row("lost", _lost(figures.lost, zone))
    if figures.dead_batches:
        table.add_row("dead", counted(figures.dead_batches, "batch", "batches"))
    limit = figures.memory_limit_bytes
    of_limit = f" of {limit / 2**20:,.0f} MiB" if limit else ""
    for stream in figures.streams if len(figures.streams) > 1 else ():
        table.add_row("stream", escape(printable(f"{stream.name}: {streams.standing(stream)}")))
    table.add_row("redis", f"{figures.memory_bytes / 2**20:,.1f} MiB{of_limit} of memory")
    for paused in figures.paused:
        until = "until it is resumed" if paused.ends_at is None else f"until {_moment(paused.ends_at, zone)}"
        table.add_row("paused", escape(printable(f"{paused.name.replace(':', ' ', 1)}, {until}")))
    table.add_row("endpoint", counted(len(figures.endpoints), "process", "processes"))


def _lost(lost: "LostFigures", zone: ZoneInfo) -> str:
    since = f"{counted(lost.calls, 'call')} answered 503 since {_moment(lost.first_at, zone)}"
    return since + (f", the last {span(max(0.0, time.time() - lost.last_at))} ago" if lost.last_at else "")


def _spool_rows(table: Table, figures: "SpoolFigures", zone: ZoneInfo) -> None:
    if figures.events:
        since = figures.oldest_age_seconds
        began = "" if since is None else f", since {_moment(time.time() - since, zone)}"
        table.add_row("spool", f"{counted(figures.events, 'event')}, {figures.size_bytes / 2**20:,.1f} MiB{began}")


def _store_rows(table: Table, figures: "StoreFigures", zone: ZoneInfo) -> None:
    table.add_row("stored", counted(figures.stored, "event"))
    if figures.reconciled is not None:
        table.add_row("log files", _reconciled(figures.reconciled))
    for day in figures.days:
        table.add_row(f"{day.day}", escape(printable(_day(day))))
    if figures.gaps.unfilled or figures.gaps.cannot_be_closed:
        left = f"; {figures.gaps.cannot_be_closed:,} cannot be closed" if figures.gaps.cannot_be_closed else ""
        table.add_row("gaps", f"{figures.gaps.unfilled:,} not filled yet{left}: see `ingest gaps`")
    if figures.unverified:
        table.add_row("unverified", counted(figures.unverified, "call waits for a key", "calls wait for a key"))
    table.add_row("quarantine", counted(figures.quarantined, "call"))
    for name, handler in figures.handlers.items():
        shown = escape(printable(name)) or "(not handed on yet)"
        table.add_row("handler", f"{shown}: {', '.join(_handler(handler, zone))}")
        if handler.last_error is not None:
            table.add_row("", escape(printable(f"the last error: {handler.last_error}")))


def _day(day: "DayFigures") -> str:
    sources = f"{day.webhook:,} webhook, {day.logfile:,} log file, {day.rest:,} REST"
    if day.complete:
        return f"{sources}; complete" + ("" if day.totals else " by its log files")
    if day.complete is None:
        return sources
    return f"{sources}; not complete" + (": totals differ" if day.log_files else "")


def _handler(figures: "HandlerFigures", zone: ZoneInfo) -> Iterator[str]:
    yield f"{figures.waiting:,} waiting"
    if figures.retries:
        due = "" if figures.retry_at is None else f", the next at {_moment(figures.retry_at, zone)}"
        yield f"{figures.retries:,} of them {'is' if figures.retries == 1 else 'are'} tried again{due}"
    yield f"{figures.failed:,} failed"


def _amount(events: int, age_seconds: float | None) -> str:
    return counted(events, "event") + (f", the oldest {span(age_seconds)} old" if age_seconds is not None else "")


def _reconciled(days: "ReconciledFigures") -> str:
    again = len(set(days.incomplete) - set(days.gone))
    owed = f"; {again:,} to be tried again" if again else ""
    if days.complete_through is None:
        return f"no day is complete yet{owed}"
    since = f" (every day since {days.since})" if days.since != days.complete_through else ""
    return f"complete through {days.complete_through}{since}{owed}; days are those of UTC"
