"""What `ingest events-of` prints."""

import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from rich.markup import escape
from rich.table import Table

from ingest.cli.render import console
from ingest.cli.render.console import Column, dump, printable
from ingest.cli.render.events import TABLE_COLUMNS
from ingest.cli.streams import reader_may_leave
from ingest.shown import counted
from workers.operations.exporting import as_row

if TYPE_CHECKING:
    from workers.smtpeter.events_of import Comparison, Found, Question

#: The column that says whether the store has an event.
STATE = "in the store"


def events(
    found: "Iterator[Found]", question: "Question", comparison: "Comparison", zone: ZoneInfo, as_json: bool
) -> None:
    """Each event as it comes, and then what they add up to; with nobody left to read it, the work goes on."""
    with reader_may_leave():
        if as_json:
            _lines(found, question)
        else:
            _table(found, question, zone)
    for _ in found:  # what a reader who left does not see is stored all the same
        pass
    with reader_may_leave():
        if as_json:
            sys.stdout.write(dump(comparison.as_dict(question.asked)) + "\n")
        else:
            _conclude(question, comparison)


def _state(missing: bool, stores: bool) -> str:
    return "no" if missing and not stores else "now" if missing else "yes"


def _lines(found: "Iterator[Found]", question: "Question") -> None:
    for event, missing in found:
        row = {name: value for name, value in as_row(event).items() if name != "delivery_id"}
        sys.stdout.write(dump({"in_store": _state(missing, question.store), **row}) + "\n")


def _table(found: "Iterator[Found]", question: "Question", zone: ZoneInfo) -> None:
    time, room = f"occurred {zone.key}", console.time_width(zone)
    columns = [Column(STATE, len(STATE), len(STATE)), Column(time, room, room), *TABLE_COLUMNS]
    widths = console.fitted(columns, console.width(), first="recipient")
    heading = False
    for event, missing in found:
        if not heading:
            sys.stdout.write(console.line({name: name for name in widths}, widths))
            heading = True
        values = {
            STATE: _state(missing, question.store),
            time: console.local(event.occurred_at, zone),
            "type": event.type,
            "recipient": event.recipient or "",
            "message_id": event.message_id or "",
            "ip": event.ip or "",
            "url": event.url or "",
        }
        sys.stdout.write(console.line(values, widths))


def _conclude(question: "Question", comparison: "Comparison") -> None:
    out = console.to_stdout()
    first, end = question.asked[0].first, question.asked[-1].end
    calls = counted(len(question.asked), "call")
    last = end - timedelta(days=1)
    out.print(f"SMTPeter was asked for {first} to {last} (UTC), in {calls}.", soft_wrap=True)
    if kinds := comparison.types:
        table = Table(box=None, pad_edge=False, padding=(0, 1))
        table.add_column("type")
        for heading in ("at SMTPeter", "in store before", "stored now", "missing", "only in store"):
            table.add_column(heading, justify="right")
        for kind in kinds:
            told, missing, stored = comparison.told[kind], comparison.missing[kind], comparison.stored[kind]
            only = comparison.only_in_store(kind)
            left = missing - stored
            cells = (told, told - missing, stored, left, "?" if only is None else only)
            table.add_row(kind, *(f"{cell:,}" if isinstance(cell, int) else cell for cell in cells))
        out.print(table)
    else:
        out.print("It has no such events.")
    for note in _remarks(comparison):
        out.print(f"[yellow]! {escape(printable(note))}[/]", soft_wrap=True)


def _remarks(comparison: "Comparison") -> Iterator[str]:
    yield from comparison.notes
    if comparison.erased:
        yield counted(
            comparison.erased,
            "event of somebody who was erased was left out.",
            "events of people who were erased were left out.",
        )
    if comparison.left_out:
        kinds = ", ".join(f"{number:,} of {kind}" for kind, number in sorted(comparison.left_out.items()))
        yield f"Left out, since no webhook brings them: {kinds}; --all takes them, too."
    if comparison.unread:
        yield f"{counted(comparison.unread, 'entry', 'entries')} could not be read."
