"""What the commands print: progress, tables, JSON lines, CSV."""

import csv
import json
import os
import sys
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any, TextIO

import orjson
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from ingest.copernica.events import Event

#: Columns of `ingest events` as a table, with the room each gets; the rest is in jsonl and csv.
TABLE_COLUMNS = {"occurred_at": 20, "type": 18, "recipient": 36, "message_id": 14, "ip": 24, "url": 40}
#: How a cell begins that spreadsheets would run as a formula.
FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")

_console = Console(highlight=False)


def findings(found: Iterable[tuple[str, str, str]], as_json: bool) -> str:
    """`ingest check`: a line for each finding as it comes; returns the worst level."""
    colours = {"ok": "green", "risk": "yellow", "wrong": "red"}
    all_found = []
    for level, about, text in found:
        all_found.append({"level": str(level), "about": about, "text": text})
        if not as_json:
            _console.print(f"[{colours[level]}]{level:<5}[/]  {about:<10}  {escape(text)}", soft_wrap=True)
    if as_json:
        sys.stdout.write(orjson.dumps(all_found, option=orjson.OPT_INDENT_2).decode() + "\n")
    return max((str(one["level"]) for one in all_found), key=list(colours).index, default="ok")


def events(found: Iterable[Event], form: str, live: bool = False) -> None:
    """`ingest events`: one line per event as it comes, so any number of them. A reader that leaves is no error.

    With `live` each line is on its way before the next event is waited for.
    """
    out = sys.stdout
    if live:
        found = _flushing(found, out)
    with broken_pipe_is_no_error():
        {"table": _table, "jsonl": _jsonl, "csv": _csv}[form](found, out)


@contextmanager
def broken_pipe_is_no_error() -> Iterator[None]:
    """Print in this block; whoever reads it may leave."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # Python would flush once more at its exit and complain; there is nobody left to write to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _flushing(found: Iterable[Event], out: TextIO) -> Iterator[Event]:
    out.flush()
    for event in found:
        yield event
        out.flush()


def as_row(event: Event) -> dict[str, Any]:
    """An event with names and values for JSON."""
    row = event._asdict()
    row["delivery_id"] = event.delivery_id.hex()
    row["occurred_at"], row["received_at"] = moment(event.occurred_at), moment(event.received_at)
    row["raw"] = None if event.raw is None else b64encode(event.raw).decode()
    return row


def moment(micros: int) -> str:
    """µs since 1970 as ISO 8601, in UTC."""
    second, fraction = divmod(micros, 1_000_000)
    written = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{written}.{fraction:06d}Z" if fraction else f"{written}Z"


def _table(found: Iterable[Event], out: TextIO) -> None:
    # By hand: a rich table has to see its last row before it can print its first.
    out.write("  ".join(f"{name:<{width}}" for name, width in TABLE_COLUMNS.items()).rstrip() + "\n")
    for event in found:
        row = as_row(event)
        cells = (cell(row[name] or "", width) for name, width in TABLE_COLUMNS.items())
        out.write("  ".join(cells).rstrip() + "\n")


def printable(value: str) -> str:
    """Text without what would move the cursor or ring the bell: no escape sequences from a payload."""
    return "".join(c if c.isprintable() else "\ufffd" for c in value)


def cell(value: str, width: int) -> str:
    """Text in its column of a table."""
    plain = printable(value)
    if len(plain) > width:
        plain = plain[: width - 1] + "…"
    return f"{plain:<{width}}"


def _jsonl(found: Iterable[Event], out: TextIO) -> None:
    for event in found:
        out.write(dump(as_row(event)) + "\n")


def _csv(found: Iterable[Event], out: TextIO) -> None:
    writer = csv.DictWriter(out, Event._fields, lineterminator="\n")
    writer.writeheader()
    for event in found:
        row = as_row(event) | {"tags": ";".join(event.tags), "payload": dump(event.payload)}
        writer.writerow({name: _harmless(value) for name, value in row.items()})


def _harmless(value: str | int | None) -> str | int:
    if value is None or isinstance(value, int):
        return "" if value is None else value
    text = value.encode("utf-8", "backslashreplace").decode()  # half characters, which no file can hold
    return f"'{text}" if text.startswith(FORMULA_SIGNS) else text


@contextmanager
def looking(what: str, quiet: bool) -> Iterator[Callable[[], object]]:
    """How far a search has come, while the block calls what it is given for each thing looked at."""
    columns = SpinnerColumn(), TextColumn(what), TextColumn("{task.completed:,}"), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), disable=quiet, transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield partial(progress.advance, task)


def erased(counts: dict[str, int], dry_run: bool, waiting: int | None, as_json: bool) -> None:
    """`ingest erase`."""
    if as_json:
        _json({**counts, "dry_run": dry_run, "batches_waiting": waiting})
        return
    table = Table.grid(padding=(0, 2))
    would = "would be " if dry_run else ""
    table.add_row("events", f"{counts['events_deleted']:,} {would}deleted")
    table.add_row("", f"{counts['events_blanked']:,} {would}kept without the address, which they only mention")
    table.add_row("quarantine", f"{counts['quarantine_deleted']:,} {would}deleted")
    table.add_row("unverified", f"{counts['unverified_deleted']:,} {would}deleted")
    table.add_row("handlers", f"{counts['handlers_deleted']:,} calls that wait or failed {would}deleted")
    _console.print(table)
    if waiting is None:
        _console.print(
            "[yellow]! Redis does not answer: what waits there may still bring events of this person.[/]"
        )
    elif waiting:
        said = f"{waiting:,} batches in Redis may still bring events of this person"
        _console.print(f"[yellow]! {said}: run it again when they are drained.[/]")


def dump(value: object) -> str:
    """JSON on one line; lone surrogates, which stand for bytes that are not UTF-8, are escaped."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        return json.dumps(value, separators=(",", ":"))


def _json(figures: dict[str, Any]) -> None:
    sys.stdout.write(orjson.dumps(figures, option=orjson.OPT_INDENT_2).decode() + "\n")
