"""What `ingest config` prints."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.markup import escape

from ingest.cli.render import console

if TYPE_CHECKING:
    from workers.operations.config import Effective


def settings(rows: "Sequence[Effective]", as_json: bool) -> None:
    """Print a line for each setting, or all as JSON."""
    if as_json:
        console.print_json({"mistakes": [], "settings": _objects(rows)})
        return
    out = console.to_stdout()
    names, origins = (
        max(len(text) for text in texts) for texts in zip(*((r.name, r.origin) for r in rows), strict=True)
    )
    for row in rows:
        dim = row.origin == "default"
        line = f"{row.name:<{names}}  {row.origin:<{origins}}  {console.printable(row.value)}".rstrip()
        out.print(f"[dim]{escape(line)}[/]" if dim else escape(line), soft_wrap=True)


def all_is_well(rows: "Sequence[Effective]", as_json: bool) -> None:
    """Say how many settings are set, and where."""
    if as_json:
        console.print_json({"mistakes": [], "settings": _objects(rows)})
        return
    numbers = Counter(row.origin for row in rows if row.origin != "default")
    which = ", ".join(f"{number} by the {origin}" for origin, number in numbers.items()) or "none is set"
    console.to_stdout().print(escape(f"All settings can be used: {which}."), soft_wrap=True)


def mistakes(sentences: Sequence[str], as_json: bool) -> None:
    """Say what is wrong, a line each."""
    if as_json:
        console.print_json({"mistakes": [console.printable(text) for text in sentences], "settings": []})
        return
    out = console.Console(stderr=True, highlight=False)
    for sentence in sentences:
        out.print(f"[red]{escape(console.printable(sentence))}[/]", soft_wrap=True)


def _objects(rows: "Sequence[Effective]") -> list[dict[str, str]]:
    return [{"name": row.name, "value": row.value, "from": row.origin} for row in rows]
