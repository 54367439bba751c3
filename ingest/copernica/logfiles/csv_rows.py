"""Log files in CSV: with a header row or without, and with fields that hold line ends.

The rows of a block are split by the standard library's reader, in C. A field with line ends makes a quote that is
not closed dangerous: it would swallow what follows. So rows are read strictly, and from a row that proves wrong,
reading goes back to the line after the one on which it began.
"""

import csv
import re
from codecs import getincrementaldecoder
from collections import Counter
from collections.abc import Iterable, Iterator
from io import StringIO
from itertools import islice

from ingest.copernica.logfiles.rows import (
    CUT_OFF,
    MAX_COLUMNS,
    MAX_RECORD,
    TOO_LONG,
    TOO_WIDE,
    Damage,
    Row,
    Unreadable,
)

#: A time as log files write it. A line that has none does not begin a row.
TIME = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d")
#: Rows from which is told whether a file without a header row has all of the documented columns.
PEEKED = 100
#: What the standard library's reader says when it wants more lines.
_WANTS_MORE = "unexpected end of data"

# This limit is the whole process's, and its default of 128 KiB too low for complaints. Ours, on rows, comes first.
csv.field_size_limit(max(csv.field_size_limit(), 4 * MAX_RECORD))


def rows(blocks: Iterable[bytes], columns: tuple[str, ...], whole: bool) -> Iterator[Row | Damage]:
    """The rows, numbered by the line on which they begin.

    `columns` are those of a file without a header row, none if their order is not documented. A last line without
    a line end was cut off, unless the caller knows that the file is `whole`.
    """
    table = _Table(columns)
    try:
        for lines in table.portions(blocks, whole):
            yield from table.rows(lines, over=False)
        yield from table.rows([], over=True)
    except Unreadable as error:
        yield Damage(table.number, str(error))


class _Table:
    """Reads rows out of the lines it is given."""

    def __init__(self, columns: tuple[str, ...]) -> None:
        self._documented = columns
        #: The names of the columns, once the first lines were seen, and the row that would be a header.
        self._names: tuple[str, ...] | None = None
        self._header: list[str] = []
        self._begins = TIME
        #: Lines of a row whose end is not read yet; `number` is the first one's.
        self._waiting: list[str] = []
        self.number = 1
        #: What follows the last line end so far.
        self._rest = ""
        self._has_nul = False
        #: Whether a row was given up within a field: lines that do not begin a row are still part of it.
        self._lost = False

    def portions(self, blocks: Iterable[bytes], whole: bool) -> Iterator[list[str]]:
        """The lines of a file, a block's at a time; what ends without a line end stays in the rest."""
        decoder = getincrementaldecoder("utf-8-sig")("replace")
        for block in blocks:
            text, end, self._rest = (self._rest + decoder.decode(block)).rpartition("\n")
            if len(self._rest) > MAX_RECORD:
                raise Unreadable(TOO_LONG)
            self._has_nul = self._has_nul or "\0" in text
            yield list(StringIO(text + end))
        self._rest += decoder.decode(b"", True)
        if whole and self._rest:
            yield [self._rest]
            self._rest = ""

    def rows(self, lines: list[str], over: bool) -> Iterator[Row | Damage]:
        """The rows of these lines and of those that wait; `over` means that no more will come."""
        lines = self._waiting + lines
        if self._names is None and lines:
            self._header, self._names = _columns(lines, self._documented)
            self._begins = _beginning(self._names)
        names, header, begins, done = self._names or (), self._header, self._begins, 0
        width = len(names)
        while done < len(lines):
            if self._lost:
                done = next((at for at in range(done, len(lines)) if TIME.search(lines[at])), len(lines))
                self._lost = done == len(lines)
                continue
            begin = done
            reader = csv.reader(lines[begin:], strict=True)
            try:
                for values in reader:
                    end = begin + reader.line_num
                    text = "".join(lines[done:end])
                    if len(values) != width or (self._has_nul and "\0" in text) or begins.search(text):
                        if values:
                            yield Damage(self.number + done, _fault(values, width, text))
                        if end > done + 1:
                            self._lost = True
                            done += 1
                            break
                    elif values != header:
                        yield self.number + done, names, values
                    done = end
            except csv.Error as error:
                unfinished = str(error) == _WANTS_MORE
                if unfinished and not over and sum(map(len, lines[done:])) <= MAX_RECORD:
                    break
                reason = (
                    "a quote that is never closed, or the file was cut off" if unfinished else f"not CSV: {error}"
                )
                yield Damage(self.number + done, reason)
                self._lost = True
                done += 1
        self._waiting = lines[done:]
        self.number += done
        if over and self._rest and not self._lost:
            yield Damage(self.number, CUT_OFF)


def _fault(values: list[str], width: int, text: str) -> str:
    if len(values) != width:
        return f"{len(values)} columns, where {width} are expected"
    if "\0" in text:
        return "NUL bytes"
    # One that closes at a quote of another row can, by chance, give the right number of columns and swallow that.
    return "a quote that is never closed"


def _beginning(names: tuple[str, ...]) -> re.Pattern[str]:
    """What a row within a row looks like: a further line that has a time where a row has it."""
    before = names.index("time") if "time" in names else 0
    return re.compile(rf"\n(?:[^,\"\n]*,){{{before}}}{TIME.pattern}[,\r\n]")


def _columns(lines: list[str], documented: tuple[str, ...]) -> tuple[list[str], tuple[str, ...]]:
    """What the header row is or would be, and the names of the columns."""
    seen = list(islice(_leniently(lines), PEEKED))
    first = tuple(cell.strip() for cell in seen[0]) if seen else ()
    if "time" in first and not any(map(TIME.fullmatch, first)):
        if len(first) > MAX_COLUMNS:
            raise Unreadable(TOO_WIDE)
        return seen[0], first
    if seen and not documented:
        raise Unreadable("the order of its columns is not documented: it must have a header row")
    return list(documented), _resized(documented, Counter(map(len, seen)))


def _resized(documented: tuple[str, ...], widths: Counter[int]) -> tuple[str, ...]:
    """The documented columns, or as many of them or more as this file has.

    A file of another edition is believed only if two rows agree and none has the documented columns: a row that
    lacks one of them could lack any. Whom an event is about must be among them.
    """
    if not widths or len(documented) in widths:
        return documented
    width, rows_of_it = widths.most_common(1)[0]
    needed = max(documented.index(name) for name in ("time", "email", "recipient") if name in documented)
    if rows_of_it < 2 or not needed < width <= MAX_COLUMNS:
        return documented
    return documented[:width] + tuple(f"column{place}" for place in range(len(documented) + 1, width + 1))


def _leniently(lines: list[str]) -> Iterator[list[str]]:
    """Rows, as far as they can be read without care."""
    try:
        yield from filter(None, csv.reader(lines))
    except csv.Error:
        return
