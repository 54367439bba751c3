"""What all commands print with: JSON, cells of a table, text that is safe for a terminal, progress of a search."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial

import orjson
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


def to_stdout() -> Console:
    """A console without highlighting; made when something is printed, since standard output can be replaced."""
    return Console(highlight=False)


def print_json(value: object) -> None:
    """Print a value as indented JSON."""
    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() + "\n")


def dump(value: object) -> str:
    """JSON on one line; lone surrogates, which stand for bytes that are not UTF-8, are escaped."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        return json.dumps(value, separators=(",", ":"))


def moment(micros: int) -> str:
    """µs since 1970 as ISO 8601, in UTC."""
    second, fraction = divmod(micros, 1_000_000)
    written = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{written}.{fraction:06d}Z" if fraction else f"{written}Z"


def printable(value: str) -> str:
    """Text without what would move the cursor or ring the bell: no escape sequences from a payload."""
    return "".join(c if c.isprintable() else "\ufffd" for c in value)


def cell(value: str, width: int) -> str:
    """Text in its column of a table: printable, cut off or padded to `width` characters."""
    plain = printable(value)
    if len(plain) > width:
        plain = plain[: width - 1] + "…"
    return f"{plain:<{width}}"


@contextmanager
def broken_pipe_is_no_error() -> Iterator[None]:
    """Print in this block; its reader may leave at any time."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # Python would flush once more at its exit and complain; there is no one left to write to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def searching(what: str, quiet: bool) -> Iterator[Callable[[], object]]:
    """Show how far a search has come; the block calls the yielded function for each thing it has looked at."""
    columns = SpinnerColumn(), TextColumn(what), TextColumn("{task.completed:,}"), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), disable=quiet, transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield partial(progress.advance, task)
