"""Parts of a page in Markdown."""

import re
from collections.abc import Iterable, Sequence

from tests.support.runbook import sections

#: What begins a page that is written by a program.
MADE = "<!-- Made by `make reference`: change what it is made of, not this page. -->"


def page(title: str, *parts: str) -> str:
    """A whole page."""
    return "\n\n".join([MADE, f"# {title}", *parts]).rstrip() + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; what stands in a cell may have any sign."""
    lines = [head, ["---"] * len(head), *([cell(one) for one in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cell(text: str) -> str:
    """Text as it may stand in a table."""
    return text.replace("|", r"\|").replace("\n", " ")


def code(text: str) -> str:
    """Text as code; nothing stays nothing."""
    return f"`{text}`" if text else ""


def listed(names: Iterable[str], most: str = ", ") -> str:
    """Several names as code."""
    return most.join(map(code, names))


def with_links(text: str) -> str:
    """Text in which the code of each finding leads to its section of the runbook."""
    codes = sections()
    return re.sub(r"`([a-z-]+)`", lambda one: in_runbook(one[1]) if one[1] in codes else one[0], text)


def in_runbook(name: str) -> str:
    """A finding's code that leads to its section of the runbook."""
    return f"[`{name}`](../runbook.md#{name})"
