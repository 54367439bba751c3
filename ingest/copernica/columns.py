"""What the columns of an event can hold, and the closest they can get to a value that they cannot hold."""

from typing import Any

#: Most digits of a number that surely fits a column of 64 bits.
MAX_NUMBER_DIGITS = 18


def fits_column(value: str) -> bool:
    """Whether a text column can give a text back exactly."""
    # Text columns hold neither NUL (PostgreSQL) nor lone surrogates (no database). `isascii` is the quick check.
    return "\0" not in value and (value.isascii() or not any("\ud800" <= c <= "\udfff" for c in value))


def is_column_text(value: Any) -> bool:
    """Whether a value is text, and a text column can give it back exactly."""
    return type(value) is str and fits_column(value)


def column_text(value: Any) -> str | None:
    """The closest a text column can get to a value whose exact form stays in the payload."""
    if isinstance(value, list) and value:
        value = value[-1]  # PHP, Copernica's own language, takes the last value of a repeated field
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    text = str(value).replace("\0", "\ufffd")
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")


def whole(value: Any, digits: int) -> int | None:
    """A whole number that is not negative, from JSON or from text."""
    if type(value) is str and len(value) <= digits and value.isascii() and value.isdigit():
        return int(value)
    return value if type(value) is int and 0 <= value < 10**digits else None
