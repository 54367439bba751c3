"""What all commands print with: JSON, cells of a table, text that is safe for a terminal, progress of a search."""

import json
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

import orjson
import rich.console
from rich.cells import cell_len, set_cell_size

from ingest import shown
from ingest.cli import streams
from workers.operations.exporting import moment as moment  # noqa: PLC0414  # what JSON has

#: What stands between two columns of a table.
GAP = "  "
#: Fewest characters that a line has: in less, no table can be read.
NARROWEST = 40


class Console(rich.console.Console):
    """One whose reader may leave: rich would end the whole process, whatever work it still has to do."""

    def on_broken_pipe(self) -> None:
        """Called while the error is handled; `streams.reader_may_leave` knows what to do."""
        if not self.stderr:
            raise  # noqa: PLE0704
        self.quiet = True


def to_stdout() -> Console:
    """A console without highlighting; made when something is printed, since standard output can be replaced."""
    return Console(highlight=False)


def print_json(value: object) -> None:
    """Print a value as indented JSON."""
    sys.stdout.write(dump(value, indent=2) + "\n")


def dump(value: object, indent: Literal[2] | None = None) -> str:
    """JSON, on one line unless it is indented.

    Control characters and what standard output cannot take are escaped, and so are lone surrogates, which stand
    for bytes that are not UTF-8.
    """
    try:
        text = orjson.dumps(value, option=orjson.OPT_INDENT_2 if indent else None).decode()
    except TypeError:
        return json.dumps(value, indent=indent, separators=None if indent else (",", ":"))
    return shown.escaped_json(text, only_ascii=not streams.is_utf8())


def printable(value: str) -> str:
    """Text that may come from outside, in one line that neither steers a terminal nor shows a secret."""
    return shown.escaped(shown.without_secrets(value))


def local(micros: int, zone: ZoneInfo) -> str:
    """µs since 1970 for people: whole seconds in a zone, with its offset, and in a form that --since takes."""
    written = datetime.fromtimestamp(micros // 1_000_000, zone).isoformat()
    return written.removesuffix("+00:00") + "Z" if zone.key == "UTC" else written


def time_width(zone: ZoneInfo) -> int:
    """Characters of what `local` writes."""
    return 20 if zone.key == "UTC" else 25


def width() -> int:
    """Characters of a line: `COLUMNS`, or those of the terminal; 80 where there is none."""
    return max(NARROWEST, shutil.get_terminal_size((80, 24)).columns)


class Column(NamedTuple):
    """A column of a table: the fewest characters with which it makes sense, and the most that it can use."""

    name: str
    least: int
    most: int


def fitted(columns: Sequence[Column], room: int, first: str = "") -> dict[str, int]:
    """The width of each column in a line of so many characters; those at the end without room are left out.

    What is left of the line goes to the `first`, then to the others in their order.
    """
    widths: dict[str, int] = {}
    left = room
    for column in columns:
        needed = column.least + (len(GAP) if widths else 0)
        if needed > left:
            break
        widths[column.name] = column.least
        left -= needed
    for column in sorted(columns[: len(widths)], key=lambda column: column.name != first):
        more = min(left, column.most - column.least)
        widths[column.name] += more
        left -= more
    return widths


def line(values: Mapping[str, object], widths: Mapping[str, int]) -> str:
    """A line of a table, which ends with a line feed."""
    return GAP.join(cell(str(values[name]), width) for name, width in widths.items()).rstrip() + "\n"


def cell(value: str, width: int) -> str:
    """Text in its column of a table: printable, cut off or padded to `width` characters of a terminal."""
    plain = printable(value)
    if plain.isascii():  # one place each
        return f"{plain:<{width}}" if len(plain) <= width else plain[: width - 1] + _cut()
    if cell_len(plain) > width:
        plain = set_cell_size(plain, width - 1) + _cut()
    return plain + " " * (width - cell_len(plain))


def _cut() -> str:
    return "…" if streams.is_utf8() else "~"


@contextmanager
def advancing(what: str, quiet: bool = False) -> Iterator[Callable[[float], object]]:
    """Show how far something has come and how long it will take; the block tells which part is done, up to 1."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn(what), BarColumn(), TimeRemainingColumn()
    terminal = Console(stderr=True)
    with Progress(
        *columns, console=terminal, disable=quiet or not terminal.is_terminal, transient=True
    ) as progress:
        task = progress.add_task(what, total=1.0)
        yield lambda part: progress.update(task, completed=part)
