"""What `ingest check` prints."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.markup import escape

from ingest import shown
from ingest.cli import streams
from ingest.cli.render import console

if TYPE_CHECKING:
    from workers.operations.check import Finding

#: The levels from good to bad, and the colour of each.
COLOURS = {"ok": "green", "risk": "yellow", "wrong": "red"}


def findings(findings: "Iterable[Finding]", as_json: bool) -> str:
    """Print a line for each finding as it comes, or all of them as JSON; returns the worst level."""
    out = console.to_stdout()
    rows = []
    for finding in findings:
        text = shown.without_secrets(finding.text)
        code = None if finding.code is None else str(finding.code)
        rows.append({"level": str(finding.level), "code": code, "about": finding.about, "text": text})
        if not as_json:
            colour = COLOURS[finding.level]
            line = f"[{colour}]{finding.level:<5}[/]  {finding.about:<10}  {escape(shown.escaped(text))}"
            with streams.reader_may_leave():  # the exit code depends on all of them
                out.print(line, soft_wrap=True)
    codes = ", ".join(dict.fromkeys(row["code"] for row in rows if row["code"]))
    if as_json:
        console.print_json(rows)
    elif codes:
        with streams.reader_may_leave():
            out.print(f"What to do about them is in docs/runbook.md: {codes}", soft_wrap=True)
    return max((str(row["level"]) for row in rows), key=list(COLOURS).index, default="ok")
