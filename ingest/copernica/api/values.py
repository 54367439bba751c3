"""Values as Copernica writes them: numbers as numbers or strings, and null or nothing anywhere."""

from collections.abc import Iterable, Mapping
from typing import Any

#: The largest number that a database's column holds.
MAX_NUMBER = 2**63 - 1
#: Digits of it; longer strings are not worth reading.
MAX_DIGITS = 19
#: Lists and objects within each other. More can be read than can be written again.
MAX_DEPTH = 32


def count(value: Any) -> int | None:
    """How many, from 0 on; None if the value does not tell."""
    if isinstance(value, str):
        text = value.strip()
        value = int(text) if text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS else None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_NUMBER else None


def entity(value: Any) -> int | None:
    """The ID of something, from 1 on: 0 is Copernica's way to say that there is none."""
    return count(value) or None


def text(value: Any) -> str | None:
    """A text; None if there is none, or it is empty."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) and value else None


def taken(row: Mapping[str, Any], names: Iterable[str]) -> Any:
    """The first value of a row under one of these names that is not null."""
    return next((row[name] for name in names if row.get(name) is not None), None)


def is_deep(value: Any, levels: int = MAX_DEPTH) -> bool:
    """Whether a value is nested deeper than anything that Copernica means to say."""
    if not isinstance(value, list | dict):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return not levels or any(is_deep(one, levels - 1) for one in inner)


def rest(row: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """What a row holds under other names than these; None in place of what is nested beyond all measure."""
    without = set(names)
    return {name: None if is_deep(value) else value for name, value in row.items() if name not in without}
