"""What the three forms of a log file have in common: rows, damage, and limits.

Each form's module has one function, `rows(blocks, …)`. It reads a file in blocks, so memory stays the same however
long the file is, and trusts nothing: what cannot be read is `Damage`, and reading resumes after it where possible.
"""

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

#: Bytes read at once: few enough for any machine, many enough that the calls cost nothing.
BLOCK = 1024 * 1024
#: Most characters of one record: complaints contain whole messages. Also how far an unclosed quote can reach.
MAX_RECORD = 16 * BLOCK
#: Most columns of one record; the widest that is documented has 16.
MAX_COLUMNS = 500

CUT_OFF = "the file ends in the middle: it was cut off, so download it again"
WEB_PAGE = "this is a web page, not a log file: download it again"
TOO_LONG = f"longer than {MAX_RECORD // BLOCK} MiB"
TOO_WIDE = f"more than {MAX_COLUMNS} columns"
TOO_DAMAGED = "too much of it is damaged: nothing after it was read"


class Damage(NamedTuple):
    """What could not be read: where it is (numbered as in `Entry`), and why, in a few words.

    `whole` says that it is the file as a whole: nothing of it can be read.
    """

    number: int
    reason: str
    whole: bool = False


class Unreadable(Exception):
    """The rest of the file cannot be read either; `str(error)` is the reason."""


class Unusable(Unreadable):
    """Nothing of the file can be read."""


class Patience:
    """How many characters may still be looked at in vain.

    A hostile file would have every piece of it looked at from each of its beginnings.
    """

    def __init__(self, characters: int) -> None:
        self._left = characters

    def add(self, characters: int) -> None:
        """Allow some more: a long file may have more that is damaged."""
        self._left += characters

    def waste(self, characters: int) -> None:
        """So many were looked at in vain.

        Raises:
            Unreadable: that was too much.
        """
        self._left -= characters
        if self._left < 0:
            raise Unreadable(TOO_DAMAGED)


#: One row: where it begins (numbered as in `Entry`), the names of its columns, their values, and the bytes of the
#: file between which it stands, both 0 where that is not known. A plain tuple, because millions are made.
Row = tuple[int, tuple[str, ...], list[str], int, int]


def blocks_of(stream: BinaryIO) -> Iterator[bytes]:
    """A file in blocks."""
    while block := stream.read(BLOCK):
        yield block
