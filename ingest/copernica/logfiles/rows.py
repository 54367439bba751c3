"""What the three forms of a log file have in common: rows, damage, and limits.

A form's module has one function, `rows(blocks, …)`. It reads a file in blocks, so memory stays the same however
long it is, and believes nothing: what cannot be read is `Damage`, and reading goes on behind it where that can be.
"""

from collections.abc import Iterator, Sequence
from typing import BinaryIO, NamedTuple

#: Bytes that are read at once.
BLOCK = 1024 * 1024
#: Characters of one record at the most; complaints bring whole messages. Also how far an unclosed quote can reach.
MAX_RECORD = 16 * BLOCK
#: Columns of one record at the most; the longest that is documented has 16.
MAX_COLUMNS = 500

CUT_OFF = "the file ends in the middle: it was cut off"
TOO_LONG = f"longer than {MAX_RECORD // BLOCK} MiB"
TOO_WIDE = f"more than {MAX_COLUMNS} columns"


class Damage(NamedTuple):
    """What could not be read: where it is (as in `Entry`), and why, in a few words."""

    number: int
    reason: str


class Unreadable(Exception):
    """Nor can the rest of the file; `str(error)` is the reason."""


#: Where it begins, the names of its columns, and their values.
Row = tuple[int, tuple[str, ...], Sequence[str]]


def blocks_of(stream: BinaryIO) -> Iterator[bytes]:
    """A file in blocks."""
    while block := stream.read(BLOCK):
        yield block
