"""What the three forms of a log file have in common: rows, damage, and limits.

Each form's module has one function, `rows(blocks, …)`. It reads a file in blocks, so memory stays the same however
long the file is, and trusts nothing: what cannot be read is `Damage`, and reading resumes after it where possible.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO, NamedTuple

#: Bytes read at once: few enough for any machine, many enough that the calls cost nothing.
BLOCK = 1024 * 1024
#: Most characters of one record: complaints contain whole messages. Also how far an unclosed quote can reach.
MAX_RECORD = 16 * BLOCK
#: Rows that are looked at together, and characters from which on no more are added to them: more gain nothing,
#: since a processor's cache holds no more.
TOGETHER, ENOUGH_CHARACTERS = 200, BLOCK
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


#: One row: where it begins (numbered as in `Entry`), the names of its columns, and their values. A plain tuple,
#: because millions are made.
Row = tuple[int, tuple[str, ...], list[str]]


class Rows(NamedTuple):
    """Rows with the same columns that follow each other: to work on many at once takes half the time."""

    #: The names of the columns.
    names: tuple[str, ...]
    #: The values of each row.
    values: Sequence[list[str]]
    #: Where each begins, numbered as in `Entry`.
    numbers: Sequence[int]
    #: The bytes of the file between which each stands, all 0 where that is not known.
    begins: Sequence[int]
    ends: Sequence[int]

    def at(self, places: Sequence[int]) -> "Rows":
        """Those in these places among them."""
        return Rows._make((self.names, *([column[place] for place in places] for column in self[1:])))

    def each(self) -> Iterator[Row]:
        """One after the other."""
        return ((number, self.names, values) for number, values in zip(self.numbers, self.values, strict=True))


def together(rows: Iterable[Row | Damage]) -> Iterator[Rows | Damage]:
    """Rows that come one by one, of which it is not known where they stand, with others of the same columns."""
    names: tuple[str, ...] = ()
    values: list[list[str]] = []
    numbers: list[int] = []
    room = ENOUGH_CHARACTERS

    def taken() -> Iterator[Rows]:
        nonlocal values, numbers, room
        if values:
            nowhere = [0] * len(values)
            yield Rows(names, values, numbers, nowhere, nowhere)
        values, numbers, room = [], [], ENOUGH_CHARACTERS

    try:
        for row in rows:
            if isinstance(row, Damage):
                yield from taken()
                yield row
                continue
            number, its_names, its_values = row
            if its_names != names or len(values) == TOGETHER or room < 0:
                yield from taken()
                names = its_names
            numbers.append(number)
            values.append(its_values)
            room -= sum(map(len, its_values))
    except Exception:  # what was read before the file proved damaged counts
        yield from taken()
        raise
    yield from taken()


def blocks_of(stream: BinaryIO) -> Iterator[bytes]:
    """A file in blocks."""
    while block := stream.read(BLOCK):
        yield block
