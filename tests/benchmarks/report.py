"""Figures with their spread, the goals, and how both are shown."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Spread:
    """One figure, measured several times."""

    samples: Sequence[float]

    @property
    def median(self) -> float:
        """The middle one."""
        return float(median(self.samples))

    def shown(self, unit: str = "") -> str:
        """The median, and what lies around it."""
        low, middle, high = (_figure(value) for value in (min(self.samples), self.median, max(self.samples)))
        return f"{middle}{unit} ({low}-{high})"

    def over(self, other: "Spread") -> "Spread":
        """Round by round, how often the other goes into this one."""
        return Spread([mine / theirs for mine, theirs in zip(self.samples, other.samples, strict=True)])

    def as_dict(self) -> dict[str, Any]:
        """For the file."""
        return {
            "median": _rounded(self.median),
            "min": _rounded(min(self.samples)),
            "max": _rounded(max(self.samples)),
            "samples": [_rounded(sample) for sample in self.samples],
        }


@dataclass(frozen=True, slots=True)
class Goal:
    """What we want to see, in words and as a test of the medians of our figure and of the ratio."""

    words: str
    reached: Callable[[float, float], bool]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    name: str
    ours: Spread
    beside: str = ""
    theirs: Spread | None = None
    goal: Goal | None = None

    @property
    def ratio(self) -> Spread | None:
        """Ours over theirs, of each round."""
        return self.ours.over(self.theirs) if self.theirs else None

    @property
    def reached(self) -> bool | None:
        """Whether the goal was reached; None if there is none."""
        ratio = self.ratio.median if self.ratio else float("nan")
        return self.goal.reached(self.ours.median, ratio) if self.goal else None

    def cells(self) -> tuple[str, ...]:
        """For the table."""
        verdict = {None: "", True: "[green]reached", False: "[red]not reached"}[self.reached]
        return (
            self.name,
            self.ours.shown(),
            self.theirs.shown() if self.theirs else "",
            self.ratio.shown(" x") if self.ratio else "",
            self.goal.words if self.goal else "",
            verdict,
        )

    def as_dict(self) -> dict[str, Any]:
        """For the file."""
        return {
            "name": self.name,
            "ours": self.ours.as_dict(),
            "baseline": self.beside or None,
            "theirs": self.theirs.as_dict() if self.theirs else None,
            "ratio": self.ratio.as_dict() if self.ratio else None,
            "goal": self.goal.words if self.goal else None,
            "reached": self.reached,
        }


@dataclass(slots=True)
class Report:
    """A whole run."""

    machine: Mapping[str, object]
    versions: Mapping[str, str]
    conditions: dict[str, object]
    rows: list[Row] = field(default_factory=list)

    def write(self, path: Path) -> None:
        """As JSON."""
        content = {
            "machine": self.machine,
            "versions": self.versions,
            "conditions": self.conditions,
            "rows": [row.as_dict() for row in self.rows],
        }
        path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")

    def show(self, console: Console) -> None:
        """As the table, one section per baseline."""
        table = Table(box=SIMPLE_HEAD, title="Median of all rounds (lowest-highest)", title_justify="left")
        for heading in ("", "ours", "theirs", "ours / theirs", "goal", ""):
            table.add_column(heading, justify="right" if "s" in heading else "left", no_wrap=True)
        for beside in dict.fromkeys(row.beside for row in self.rows):
            table.add_row(f"[bold]beside {beside}" if beside else "[bold]ours alone")
            for row in self.rows:
                if row.beside == beside:
                    table.add_row(*row.cells())
            table.add_section()
        console.print(table)
        for title, facts in (("Machine", self.machine), ("Versions", self.versions), ("Run", self.conditions)):
            console.print(f"[bold]{title}:[/] " + ", ".join(f"{name} {value}" for name, value in facts.items()))


def _rounded(value: float) -> float:
    """Five digits are more than any of this is exact to."""
    return float(f"{value:.5g}")


def _figure(value: float) -> str:
    """Three digits that count, two of small ones, all before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.{3 if value >= 0.1 else 2}g}"
