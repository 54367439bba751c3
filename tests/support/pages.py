"""Pages of the documentation as a reader follows them: what they have one type, and what they say is printed.

A comment before a block of code says what it is for:

- `<!-- run -->`: each command in it ends well. Where lines begin with `$`, those that follow are what it prints.
- `<!-- run: once "PATTERN" -->`: the same, again and again until it prints the pattern.
- `<!-- run: stays until "TEXT" -->`: it goes on running, and prints the text when it is ready. The next one on the
  page takes its place.
- `<!-- run: beside until "TEXT" -->`: the same, beside what stays already.
- `<!-- file: NAME -->`: the block is what the file holds.
"""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

_PART = re.compile(
    r"(?:^ *<!-- (?P<purpose>run|file)(?:: (?P<more>.*?))? -->\n)?"
    r"^(?P<indent> *)```(?P<language>\w*)(?: title=\"(?P<title>[^\"\n]*)\")?\n(?P<text>.*?)^(?P=indent)```$"
    r"|^(?P<level>#+) (?P<heading>[^\n]*)$",
    re.MULTILINE | re.DOTALL,
)
#: Ids, then numbers with what belongs to them: thousands, fractions, dates and times.
_CHANGES = re.compile(r"\b(?=\w*\d)[0-9a-f]{8,}\b|\d[\d.,:TZ-]*")


class Block(NamedTuple):
    """A block of code: the heading above it, what it is for (`run`, `file` or nothing), language and title."""

    heading: str
    purpose: str | None
    more: str
    language: str
    title: str
    text: str

    @property
    def ready(self) -> str | None:
        """What a process prints that stays; None for a command that ends."""
        found = re.fullmatch(r'(?:stays|beside) until "(.*)"', self.more)
        return found and found[1]

    @property
    def takes_the_place(self) -> bool:
        """Whether what stays already is stopped first."""
        return not self.more.startswith("beside")

    @property
    def pattern(self) -> str | None:
        """What is waited for by running the command again."""
        found = re.fullmatch(r'once "(.*)"', self.more)
        return found and found[1]

    @property
    def commands(self) -> list[tuple[str, list[str]]]:
        """Each command with the lines that it is said to print; all commands in one, if none is said."""
        if not self.text.startswith("$ "):
            return [(self.text, [])]
        parts = [part.splitlines() for part in re.split(r"^\$ ", self.text, flags=re.MULTILINE)[1:]]
        return [(first, [line for line in rest if line.strip()]) for first, *rest in parts]


def blocks(page: Path) -> list[Block]:
    """All blocks of code of a page, in order."""
    read = []
    heading = ""
    for found in _PART.finditer(page.read_text("utf-8")):
        if found["level"]:
            heading = found["heading"]
            continue
        text = re.sub(f"^{found['indent']}", "", found["text"], flags=re.MULTILINE)
        told = (found["purpose"], found["more"] or "", found["language"], found["title"] or "")
        read.append(Block(heading, *told, text))
    return read


def headings(page: Path) -> list[int]:
    """The levels of a page's headings, in order."""
    return [len(found["level"]) for found in _PART.finditer(page.read_text("utf-8")) if found["level"]]


def without_blocks(page: Path) -> str:
    """What of a page is prose."""
    return _PART.sub("", page.read_text("utf-8"))


def lacking(shown: list[str], printed: str) -> str | None:
    """The first line that is shown and was not printed where it should have been; numbers and times aside.

    Other lines may have been printed between; a line that ends in `…` is shown only so far.
    """
    lines = iter([_constant(line) for line in printed.splitlines()])
    for line in shown:
        wanted = _constant(line)
        start = wanted.endswith("…") and wanted.removesuffix("…").rstrip()
        if not any(one.startswith(start) if start else one == wanted for one in lines):
            return line
    return None


def _constant(line: str) -> str:
    return " ".join(_CHANGES.sub("N", line).split())
