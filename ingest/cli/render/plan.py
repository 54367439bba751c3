"""What `ingest plan` prints."""

import textwrap
from dataclasses import asdict
from math import isfinite
from typing import TYPE_CHECKING

import click

from ingest.capacity.amounts import shown_rate, shown_span
from ingest.capacity.planning import DISK_SPACE
from ingest.cli.render import console

if TYPE_CHECKING:
    from ingest.capacity.demand import Limit, Plan

#: Characters of the column of names, and of a line where there is no terminal.
NAMES, LINE = 11, 110
#: Beyond so many times of what was planned, a limit is none.
FAR = 1000.0


def plan(made: "Plan", as_json: bool) -> None:
    """The plan, for people or as JSON."""
    if as_json:
        console.print_json(_json(made))
        return
    for line in lines(made):
        click.echo(line)


def lines(made: "Plan", width: int = LINE) -> list[str]:
    """As text: what it takes, what breaks first, and the arithmetic."""
    demand = made.demand
    away = f", the database away for {shown_span(demand.outage)}" if demand.outage else ""
    head = f"{shown_rate(demand.rate)}{away}, {demand.daily:,.0f} events a day"
    out = [head, ""]
    for part in made.parts:
        out += _wrapped(f"{part.name:<{NAMES}}", part.needs, width)
    out += ["", "breaks first"]
    near = [limit for limit in made.limits if limit.factor <= FAR]
    for limit in near[:4]:
        out += _wrapped("  ", _limit(limit), width)
    if not near:
        out.append(f"  nothing below {FAR:,.0f} times of this")
    out += [line for note in made.notes for line in ("", *_wrapped("", note, width))]
    out += ["", "the arithmetic"]
    for part in made.parts:
        for number, line in enumerate(part.lines):
            out += _wrapped(f"  {part.name if number == 0 else '':<{NAMES}}", line, width)
    figures = made.figures
    return [*out, "", *_wrapped("", f"Measured on {figures.date}: {figures.machine}.", width)]


def _limit(limit: "Limit") -> str:
    if limit.part == DISK_SPACE:
        return f"{limit.part}, after {limit.at}: {limit.then}"
    times = f"{limit.factor:.1f}" if limit.factor < 10 else f"{limit.factor:,.0f}"
    return f"{limit.part}, at {limit.at} ({times} x this): {limit.then}"


def _wrapped(before: str, text: str, width: int) -> list[str]:
    return textwrap.wrap(
        text, width, initial_indent=before, subsequent_indent=" " * len(before), break_on_hyphens=False
    )


def _json(made: "Plan") -> dict[str, object]:
    return {
        "demand": asdict(made.demand) | {"per_day": made.demand.daily, "database": made.database},
        "parts": {
            part.name: {name: value if isfinite(value) else None for name, value in part.values.items()}
            for part in made.parts
        },
        "breaks": [
            {"part": limit.part, "factor": limit.factor, "at": limit.at, "then": limit.then}
            for limit in made.limits
        ],
        "notes": list(made.notes),
        "arithmetic": {part.name: list(part.lines) for part in made.parts},
        "figures": made.figures.as_json(),
    }
