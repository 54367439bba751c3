"""What `ingest config` prints."""

from collections import Counter
from collections.abc import Sequence
from textwrap import fill
from typing import TYPE_CHECKING

from rich.markup import escape

from ingest.cli.render import console
from ingest.setting_catalogue import BY_NAME, Setting

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


def explained(names: Sequence[str], rows: "Sequence[Effective]") -> None:
    """Print what some settings mean, what happens if they are wrong, and who uses them; `rows` have values."""
    out = console.to_stdout()
    shown = {row.name: f"  {row.origin}  {console.printable(row.value)}".rstrip() for row in rows}
    for number, name in enumerate(dict.fromkeys(names)):
        of = BY_NAME[name]
        out.print("\n" * bool(number) + escape(name + shown.get(name, "")), soft_wrap=True)
        for told in (of.means, f"If it is wrong: {of.if_wrong}", f"Used by: {', '.join(of.read_by)}"):
            out.print(escape(fill(told, out.width, initial_indent="  ", subsequent_indent="  ")), soft_wrap=True)


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


def _objects(rows: "Sequence[Effective]") -> list[dict[str, object]]:
    return [{"name": row.name, "value": row.value, "from": row.origin} | _told(BY_NAME[row.name]) for row in rows]


def _told(of: Setting) -> dict[str, object]:
    return {"means": of.means, "if_wrong": of.if_wrong, "read_by": list(of.read_by)}
