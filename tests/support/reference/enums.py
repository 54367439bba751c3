"""The members of an enumeration with the comments that stand before them."""

import ast
import inspect
from collections.abc import Iterator


def commented(names: type) -> dict[str, str]:
    """By its value, what the comment before a member says; one without has that of the member before it."""
    return dict(_members(inspect.getsource(names)))


def _members(source: str) -> Iterator[tuple[str, str]]:
    text, is_new = "", True
    for line in map(str.strip, source.splitlines()):
        if line.startswith("#: "):
            text = line[3:] if is_new else f"{text} {line[3:]}"
            is_new = False
        elif ' = "' in line and text:
            yield str(ast.literal_eval(line.partition(" = ")[2])), text
            is_new = True
