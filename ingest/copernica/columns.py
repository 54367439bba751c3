"""What the columns of an event can hold, and the closest they can get to a value that they cannot hold."""

import re
from typing import Any

#: Most digits of a number that surely fits a column of 64 bits.
MAX_NUMBER_DIGITS = 18

# Text columns hold neither NUL (PostgreSQL) nor lone surrogates (no database), which stand for bytes of no text.
_UNFIT = re.compile("[\0\ud800-\udfff]")
_REPLACED = dict.fromkeys([0, *range(0xD800, 0xE000)], "\ufffd")


def fits_column(value: str) -> bool:
    """Whether a text column can give a text back exactly."""
    return "\0" not in value if value.isascii() else not _UNFIT.search(value)


def fitting(value: str) -> str:
    """The text, with each character that no text column can hold replaced."""
    return value if fits_column(value) else value.translate(_REPLACED)


def is_column_text(value: Any) -> bool:
    """Whether a value is text, and a text column can give it back exactly."""
    return type(value) is str and fits_column(value)


def column_text(value: Any) -> str | None:
    """The closest a text column can get to a value whose exact form stays in the payload."""
    if isinstance(value, list) and value:
        value = value[-1]  # PHP, Copernica's own language, takes the last value of a repeated field
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return fitting(str(value))


def whole(value: Any, digits: int) -> int | None:
    """A whole number that is not negative, from JSON or from text."""
    if type(value) is str and len(value) <= digits and value.isascii() and value.isdigit():
        return int(value)
    return value if type(value) is int and 0 <= value < 10**digits else None
