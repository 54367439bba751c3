"""What `ingest export` prints: a line for each day that was written."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from ingest.cli.render.console import dump
from ingest.shown import counted

if TYPE_CHECKING:
    from workers.export.day import Exported


def day(one: "Exported", as_json: bool, shows_all: bool) -> None:
    """What became of a day; one as it was is only shown if somebody named it."""
    if as_json:
        click.echo(dump(_as_dict(one)))
    elif one.changed or shows_all:
        click.echo(f"{one.day}  {_sentence(one)}")


def total(days: int, rows: int, target: str, as_json: bool) -> None:
    """What all of it comes to."""
    if not as_json:
        click.echo(f"{counted(rows, 'event')} written to {target}; {counted(days, 'day')} looked at.")


def _as_dict(one: "Exported") -> dict[str, object]:
    now = one.manifest
    return {
        "day": f"{one.day}",
        "files_written": one.written,
        "rows_written": one.rows,
        "files_deleted": one.deleted,
        "why": one.why or None,
        "manifest": None if now is None else asdict(now),
    }


def _sentence(one: "Exported") -> str:
    if one.manifest is None or one.why:
        return f"left as it is: {one.why}"
    state = {True: "complete", False: "not complete", None: "not compared with log files yet"}
    parts = [f"{counted(one.rows, 'event')} in {counted(one.written, 'file')} written" if one.written else ""]
    parts.append(f"{counted(one.deleted, 'file')} deleted" if one.deleted else "")
    what = ", ".join(filter(None, parts)) or "nothing has changed"
    day = state[one.manifest.complete] if one.manifest.over else "not over"
    return f"{what}; {counted(one.manifest.rows, 'event')} in all; {day}"
