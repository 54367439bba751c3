"""What `ingest events` and `ingest erase` print: tables, JSON lines, CSV."""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, TextIO
from zoneinfo import ZoneInfo

from rich.table import Table

from ingest.cli import streams
from ingest.cli.render import console
from ingest.cli.render.console import Column
from ingest.copernica.events import Event
from ingest.shown import counted
from workers.operations.exporting import write_csv, write_header, write_jsonl

if TYPE_CHECKING:
    from workers.operations.erase import Elsewhere, Erased

#: Columns of `ingest events` as a table, behind the time; as many as fit. jsonl and csv have the rest.
TABLE_COLUMNS = (
    Column("type", 11, 18),
    Column("recipient", 24, 40),
    Column("message_id", 12, 24),
    Column("ip", 15, 39),
    Column("url", 20, 1000),
)


def events(stored: Iterable[Event], form: str, zone: ZoneInfo, live: bool = False) -> None:
    """Print one line per event as it comes, so any number of them. A reader that leaves is no error.

    Times in a table are in that zone. With `live` each line is flushed before the next event is waited for.
    """
    out = sys.stdout
    if live:
        stored = _flushing(stored, out)
    with streams.reader_may_leave():
        if form == "table":
            _table(stored, out, zone)
        elif form == "jsonl":
            write_jsonl(stored, out, console.dump)
        else:
            write_header(out)
            write_csv(stored, out, console.dump)


def _flushing(stored: Iterable[Event], out: TextIO) -> Iterator[Event]:
    out.flush()
    for event in stored:
        yield event
        out.flush()


def _table(stored: Iterable[Event], out: TextIO, zone: ZoneInfo) -> None:
    # Not a rich table: that has to see its last row before it can print its first.
    time, room = f"occurred {zone.key}", console.time_width(zone)
    columns = [Column(time, room, room), *TABLE_COLUMNS]
    widths = console.fitted(columns, console.width(), first="recipient")
    out.write(console.line({name: name for name in widths}, widths))
    for event in stored:
        out.write(
            console.line(
                {
                    time: console.local(event.occurred_at, zone),
                    "type": event.type,
                    "recipient": event.recipient or "",
                    "message_id": event.message_id or "",
                    "ip": event.ip or "",
                    "url": event.url or "",
                },
                widths,
            )
        )


def _duration(seconds: float) -> str:
    """Roughly, and rather more than less."""
    return counted(round(seconds / 60), "minute") if seconds > 90 else counted(int(seconds) + 1, "second")


def erased(result: "Erased", dry_run: bool, elsewhere: "Elsewhere", as_json: bool) -> None:
    """`ingest erase`: how much was erased, and how much lies where it is not searched for (None: unknown)."""
    if as_json:
        console.print_json({**result.as_dict(), "dry_run": dry_run, **asdict(elsewhere)})
        return
    table = Table.grid(padding=(0, 2))
    would = "would be " if dry_run else ""
    if result.unread:
        table.add_row("events", f"{len(result.deleted):,} sent to the address {would}deleted")
    else:
        table.add_row("events", f"{len(result.deleted):,} {would}deleted")
        blanked = f"{len(result.blanked):,} {would}kept without the address, which they only mention"
        table.add_row("", blanked)
    table.add_row("quarantine", f"{len(result.quarantined):,} {would}deleted")
    table.add_row("unverified", f"{len(result.unverified):,} {would}deleted")
    table.add_row("handlers", f"{counted(result.handed_on, 'waiting or failed call')} {would}deleted")
    out = console.to_stdout()
    out.print(table)
    if result.unread:
        out.print(
            "Not counted: events of profiles that have the address in a field, complaints from it, and events "
            f"that only mention it. Erasing reads {counted(result.unread, 'event')} for them, which takes up to "
            f"{_duration(result.seconds)} here; --thorough does so now."
        )
    waiting, spooled = elsewhere.batches_waiting, elsewhere.spooled_calls
    if waiting is None or spooled is None:
        out.print("[yellow]! Redis or the spool cannot be asked how much waits there.[/]")
    if waiting or spooled:
        batches, calls = counted(waiting or 0, "batch", "batches"), counted(spooled or 0, "call")
        out.print(
            f"{batches} in Redis and {calls} in the spool wait: what they hold of this person is left out when "
            "they are stored."
        )
    if elsewhere.dead_batches:
        out.print(
            f"[yellow]! {counted(elsewhere.dead_batches, 'batch', 'batches')} in the dead stream cannot be read, "
            "and may hold "
            "something of this person.[/]"
        )
    if elsewhere.bad_files:
        out.print(
            f"[yellow]! {counted(elsewhere.bad_files, '*.bad file')} of the spool cannot be read, and may hold "
            "something of this person: delete what is of no use.[/]"
        )
