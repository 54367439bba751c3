"""Log files in CSV: with a header row or without, and with fields that contain line ends.

Records are split by the standard library's reader, in C. A field with line ends makes a quote that is never closed
dangerous: it would swallow what follows. So records are read strictly, and when one proves wrong, reading resumes
at the next line that may begin a row, counted from the line after the one on which the wrong record began.
"""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from io import StringIO
from itertools import islice
from typing import Self

from ingest.copernica.logfiles.rows import (
    CUT_OFF,
    MAX_COLUMNS,
    MAX_RECORD,
    TOO_LONG,
    TOO_WIDE,
    Damage,
    Patience,
    Row,
    Unreadable,
)
from ingest.copernica.logfiles.spreadsheets import resaved

#: A time as log files write it. A line without one does not begin a row.
TIME = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d")
#: Rows that are looked at to see whether a file without a header row has all of the documented columns.
SAMPLE = 100
#: Characters that may be looked at in vain, and how many more for each character of the file: a second or two.
MAX_WASTE, WASTE_PER_CHARACTER = 32 * MAX_RECORD, 8
#: What the standard library's reader says when a record goes on beyond the lines it was given …
UNFINISHED = "unexpected end of data"
#: … and when a field exceeds `csv.field_size_limit`, a setting of the whole process that is not ours to change.
FIELD_TOO_LONG = "field larger than field limit"

# One field and what ends it. Possessive, so that a long field is passed once.
_FIELD = re.compile(r'(?:"([^"]*+(?:""[^"]*+)*+)"|([^",\r\n][^,\r\n]*+|))(,|\r*(?:\n|\Z))')
_OPEN_FIELD = re.compile(r'"[^"]*+(?:""[^"]*+)*+\Z')


def rows(texts: Iterable[str], columns: tuple[str, ...], whole: bool) -> Iterator[Row | Damage]:
    """The rows, numbered by the line on which they begin.

    `columns` are those of a file without a header row. A last line without a line end was cut off, unless the
    caller knows that the file is `whole`.
    """
    splitter = _Splitter()
    reader = _Reader(columns)
    try:
        for lines in splitter.lines(texts, whole):
            reader.add(lines)
            while reader.has_more():
                yield from reader.read(splitter.has_nul)
        reader.add([])
        while reader.has_more():
            yield from reader.read(splitter.has_nul, at_end=True)
        if splitter.rest and not reader.is_lost:
            yield Damage(reader.number, (reader.number == 1 and resaved([splitter.rest], (), columns)) or CUT_OFF)
    except Unreadable as error:
        yield Damage(reader.number, str(error))


def parse_record(text: str) -> tuple[list[str], int]:
    """The fields of the record that begins a text, and its length: for fields of any size.

    Raises:
        csv.Error: it is not CSV, or not finished (`UNFINISHED`).
    """
    values: list[str] = []
    at = 0
    while match := _FIELD.match(text, at):
        quoted, plain, end = match.groups()
        values.append(plain if quoted is None else quoted.replace('""', '"'))
        at = match.end()
        if end != ",":
            return values, at
    raise csv.Error(UNFINISHED if _OPEN_FIELD.match(text, at) else "no comma or line end after a field")


class _Splitter:
    """Splits a text that arrives in pieces into lines."""

    def __init__(self) -> None:
        #: What follows the last line end so far.
        self.rest = ""
        #: Whether any line so far has a NUL, which the standard library's reader accepts and databases do not.
        self.has_nul = False

    def lines(self, texts: Iterable[str], whole: bool) -> Iterator[list[str]]:
        """The lines of a file, a block's at a time; what ends without a line end stays in `rest`."""
        for piece in texts:
            text, end, self.rest = (self.rest + piece).rpartition("\n")
            if len(self.rest) > MAX_RECORD:
                raise Unreadable(TOO_LONG)
            self.has_nul = self.has_nul or "\0" in text
            yield list(StringIO(text + end))
        if whole and self.rest:
            yield [self.rest]
            self.rest = ""


class _State(Enum):
    """What a reader does next."""

    #: Read the records that follow.
    READ = auto()
    #: Read one record that has a field too long for the standard library.
    READ_LONG = auto()
    #: Find a line that may begin a row: a record was given up in the middle, and others may still belong to it.
    RESYNCHRONISE = auto()
    #: Wait for more lines: the next record is not finished.
    WAIT = auto()


class _Reader:
    """Reads rows out of lines that arrive in portions."""

    def __init__(self, documented: tuple[str, ...]) -> None:
        self._documented = documented
        #: None until the first lines have been seen.
        self._layout: _Layout | None = None
        self._state = _State.READ
        self._patience = Patience(MAX_WASTE)
        #: The lines, where the next record begins in them, and the number of the first one in the file.
        self._lines: list[str] = []
        self._at = 0
        self._first = 1

    @property
    def number(self) -> int:
        """The number of the line on which the next record begins."""
        return self._first + self._at

    @property
    def is_lost(self) -> bool:
        """Whether a record was given up in the middle, and nothing has begun a row since."""
        return self._state is _State.RESYNCHRONISE

    def add(self, lines: list[str]) -> None:
        """Add lines to those that wait for more.

        Raises:
            Unreadable: they are the first of the file, and a spreadsheet program has rewritten it.
        """
        self._first, self._lines, self._at = self.number, self._lines[self._at :] + lines, 0
        self._patience.add(WASTE_PER_CHARACTER * sum(map(len, lines)))
        if self._state is _State.WAIT:
            self._state = _State.READ
        if self._layout is None and self._lines:
            self._layout = _Layout.detect(self._lines, self._documented)

    def has_more(self) -> bool:
        """Whether there is anything to read; finds the next row first, if need be."""
        if self._state is _State.RESYNCHRONISE:
            places = range(self._at, len(self._lines))
            self._at = next((place for place in places if TIME.search(self._lines[place])), len(self._lines))
            if self._at < len(self._lines):
                self._state = _State.READ
        return self._at < len(self._lines) and self._state is not _State.WAIT

    def read(self, has_nul: bool, at_end: bool = False) -> Iterator[Row | Damage]:
        """The rows up to the end of the lines, or to a record that needs something else to be done.

        `has_nul` is whether there may be a NUL in the lines, and `at_end` that no more will come.
        """
        layout, lines, begin, first = self._layout, self._lines, self._at, self._first
        if layout is None:
            return
        names, header, row_inside = layout.names, layout.header, layout.row_inside.search
        width = len(names)
        long = self._state is _State.READ_LONG
        # Not a slice: where most records are damaged, copying what is left for each would take for ever.
        rest = map(lines.__getitem__, range(begin, len(lines)))
        reader = _LongRecord(rest) if long else csv.reader(rest, strict=True)
        self._state = _State.READ
        at = begin
        try:
            for values in reader:
                end = begin + reader.line_num
                # Nearly every record is one line, or several without a row inside, of the right number of columns.
                text = "" if end == at + 1 else "".join(lines[at:end])
                suspect = len(values) != width or has_nul or (text and row_inside(text))
                if suspect and (fault := layout.fault(values, text or lines[at])):
                    yield Damage(first + at, fault)
                    if end > at + 1:
                        self._state = _State.RESYNCHRONISE
                        at += 1
                        break
                elif values and values != header:
                    yield first + at, names, values
                at = end
        except csv.Error as error:
            # Only what no line end follows any more is looked at as far as there is: other faults end it sooner.
            read = sum(map(len, lines[at:])) if str(error) == UNFINISHED else 0
            self._state = _after(error, at_end or read > MAX_RECORD)
            if self._state is _State.RESYNCHRONISE:
                self._patience.waste(read)
                yield Damage(first + at, _reason(error))
                at += 1
        self._at = at


def _after(error: csv.Error, waited_enough: bool) -> _State:
    """What to do about a record that the standard library could not read."""
    if str(error).startswith(FIELD_TOO_LONG):
        return _State.READ_LONG
    return _State.WAIT if str(error) == UNFINISHED and not waited_enough else _State.RESYNCHRONISE


def _reason(error: csv.Error) -> str:
    unfinished = str(error) == UNFINISHED
    return "a quote that is never closed, or the file was cut off" if unfinished else f"not CSV: {error}"


class _LongRecord:
    """Reads one record, as `csv.reader` reads many."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._text = "".join(lines)
        #: Lines that were read.
        self.line_num = 0

    def __iter__(self) -> Iterator[list[str]]:
        values, length = parse_record(self._text)
        self.line_num = self._text.count("\n", 0, length) + (self._text[length - 1] != "\n")
        yield values


@dataclass(frozen=True, slots=True)
class _Layout:
    """What a row of one file looks like."""

    #: The header row, or what it would be.
    header: Sequence[str]
    names: tuple[str, ...]
    #: A row within a record: a further line that has a time where a row has it.
    row_inside: re.Pattern[str]

    @classmethod
    def detect(cls, lines: list[str], documented: tuple[str, ...]) -> Self:
        """From the first lines of a file; `documented` are the columns it has if it has no header row.

        Raises:
            Unreadable: a spreadsheet program has rewritten it, or it has too many columns.
        """
        sample = list(islice(_leniently(lines), SAMPLE))
        if why := resaved(lines, sample, documented):
            raise Unreadable(why)
        first = tuple(cell.strip() for cell in sample[0]) if sample else ()
        if "time" in first and not any(map(TIME.fullmatch, first)):
            if len(first) > MAX_COLUMNS:
                raise Unreadable(TOO_WIDE)
            return cls(sample[0], first, _row_inside(first))
        names = _resized(documented, Counter(map(len, sample)))
        return cls(list(documented), names, _row_inside(names))

    def fault(self, values: Sequence[str], text: str) -> str:
        """What is wrong with a record, of which `text` is the whole; empty if nothing is, or if it is blank."""
        if not values:
            return ""
        if len(values) != len(self.names):
            return f"{len(values)} columns, where {len(self.names)} are expected"
        if "\0" in text:
            return "NUL bytes"
        # One that closes at a quote of another row can, by chance, give the right number of columns.
        return "a quote that is never closed" if self.row_inside.search(text) else ""


def _row_inside(names: tuple[str, ...]) -> re.Pattern[str]:
    before = names.index("time") if "time" in names else 0
    return re.compile(rf"\n(?:[^,\"\n]*,){{{before}}}{TIME.pattern}[,\r\n]")


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
    """The records up to the first that cannot be read at all."""
    try:
        yield from filter(None, csv.reader(lines))
    except csv.Error:
        return
