"""What all commands print with: JSON, cells of a table, text that is safe for a terminal, progress of a search."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Literal

import orjson
import rich.console

from ingest import shown
from ingest.cli import streams


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


def moment(micros: int) -> str:
    """µs since 1970 as ISO 8601, in UTC."""
    second, fraction = divmod(micros, 1_000_000)
    written = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{written}.{fraction:06d}Z" if fraction else f"{written}Z"


def printable(value: str) -> str:
    """Text that may come from outside, in one line that neither steers a terminal nor shows a secret."""
    return shown.escaped(shown.without_secrets(value))


def cell(value: str, width: int) -> str:
    """Text in its column of a table: printable, cut off or padded to `width` characters."""
    plain = printable(value)
    if len(plain) > width:
        plain = plain[: width - 1] + ("…" if streams.is_utf8() else "~")
    return f"{plain:<{width}}"


@contextmanager
def advancing(what: str, quiet: bool = False) -> Iterator[Callable[[float], object]]:
    """Show how far something has come and how long it will take; the block tells which part is done, up to 1."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn(what), BarColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), disable=quiet, transient=True) as progress:
        task = progress.add_task(what, total=1.0)
        yield lambda part: progress.update(task, completed=part)
