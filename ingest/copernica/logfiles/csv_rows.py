"""Log files in CSV: with a header row or without, and with fields that contain line ends.

Records are split by the standard library's reader, in C. A field with line ends makes a quote that is never closed
dangerous: it would swallow what follows. So records are read strictly, and when one proves wrong, reading resumes
at the next line that may begin a row, counted from the line after the one on which the wrong record began.
"""

import csv
import re
from collections.abc import Iterable, Iterator
from enum import Enum, auto
from io import StringIO
from itertools import accumulate, chain, compress, islice, repeat
from operator import itemgetter

from ingest.copernica.logfiles.kinds import LogKind
from ingest.copernica.logfiles.layout import TIME, Layout, is_blank
from ingest.copernica.logfiles.rows import (
    CUT_OFF,
    MAX_RECORD,
    TOGETHER,
    TOO_LONG,
    Damage,
    Patience,
    Rows,
    Unreadable,
    Unusable,
)
from ingest.copernica.logfiles.spreadsheets import may_have_resaved_ids, resaved

#: Characters that may be looked at in vain, and how many more for each character of the file: a second or two.
MAX_WASTE, WASTE_PER_CHARACTER = 32 * MAX_RECORD, 8
#: What the standard library's reader says when a record goes on beyond the lines it was given …
UNFINISHED = "unexpected end of data"
#: … and when a field exceeds `csv.field_size_limit`, a setting of the whole process that is not ours to change.
FIELD_TOO_LONG = "field larger than field limit"

# One field and what ends it. Possessive, so that a long field is passed once.
_FIELD = re.compile(r'(?:"([^"]*+(?:""[^"]*+)*+)"|([^",\r\n][^,\r\n]*+|))(,|\r*(?:\n|\Z))')
_OPEN_FIELD = re.compile(r'"[^"]*+(?:""[^"]*+)*+\Z')


def rows(texts: Iterable[str], kind: LogKind, whole: bool, at: int | None = None) -> Iterator[Rows | Damage]:
    """The rows, numbered by the line on which they begin.

    A last line without a line end was cut off, unless the caller knows that the file is `whole`. `at` is where in
    a file in UTF-8 its text begins; only then the rows say where they stand.
    """
    return _rows(texts, _Reader(kind, None, at), kind, whole)


def rows_again(texts: Iterable[str], kind: LogKind, names: tuple[str, ...]) -> Iterator[Rows | Damage]:
    """Rows that were cut out of a file of which all rows were read before, with these names of columns."""
    return _rows(texts, _Reader(kind, Layout.of(names)), kind, whole=True)


def _rows(texts: Iterable[str], reader: "_Reader", kind: LogKind, whole: bool) -> Iterator[Rows | Damage]:
    splitter = _Splitter()
    try:
        for text in splitter.texts(texts, whole):
            reader.add(text)
            while reader.has_more():
                yield from reader.read(splitter.is_odd)
        reader.add("")
        while reader.has_more():
            yield from reader.read(splitter.is_odd, at_end=True)
        if splitter.rest and not reader.is_lost:
            why = resaved([splitter.rest], (), kind.columns) if reader.number == 1 else ""
            yield Damage(reader.number, why or CUT_OFF, bool(why))
    except Unreadable as error:
        yield Damage(reader.number, str(error), isinstance(error, Unusable))


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
    """Divides a text that arrives in pieces where a line ends."""

    def __init__(self) -> None:
        #: What follows the last line end so far.
        self.rest = ""
        #: Whether any line so far has what makes its fields worth a look: a NUL, which the standard library's
        #: reader accepts and databases do not, or what spreadsheets make of ids.
        self.is_odd = False

    def texts(self, texts: Iterable[str], whole: bool) -> Iterator[str]:
        """Whole lines of a file, a block's at a time; what ends without a line end stays in `rest`."""
        for piece in texts:
            text = self.rest + piece
            end = text.rfind("\n") + 1
            text, self.rest = text[:end], text[end:]
            if len(self.rest) > MAX_RECORD:
                raise Unreadable(TOO_LONG)
            self.is_odd = self.is_odd or "\0" in text or may_have_resaved_ids(text)
            yield text
        if whole and self.rest:
            yield self.rest
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

    def __init__(self, kind: LogKind, layout: Layout | None = None, at: int | None = None) -> None:
        """`at` is the byte at which the first line begins, if places are wanted."""
        self._kind = kind
        #: None until the first lines have been seen.
        self._layout = layout
        self._state = _State.READ
        #: Records that are read at once. Where reading resumes within one of them, the others are read again, so
        #: there are few until all goes well.
        self._step = TOGETHER
        self._patience = Patience(MAX_WASTE)
        #: The lines, where the next record begins in them, and the number of the first one in the file.
        self._lines: list[str] = []
        self._at = 0
        self._first = 1
        #: Where in the file each of them begins, and where the last one ends; all 0 if that is not wanted.
        self._begins = [at or 0]
        self._is_placed = at is not None

    @property
    def number(self) -> int:
        """The number of the line on which the next record begins."""
        return self._first + self._at

    @property
    def is_lost(self) -> bool:
        """Whether a record was given up in the middle, and nothing has begun a row since."""
        return self._state is _State.RESYNCHRONISE

    def add(self, text: str) -> None:
        """Add the lines of a text to those that wait for more.

        Raises:
            Unusable: they are the first of the file, and show that it cannot be read.
        """
        lines = list(StringIO(text))
        self._begins = [*self._begins[self._at : -1], *self._ends(lines, text.isascii())]
        self._first, self._lines, self._at = self.number, self._lines[self._at :] + lines, 0
        self._patience.add(WASTE_PER_CHARACTER * len(text))
        if self._state is _State.WAIT:
            self._state = _State.READ
        if self._layout is None and self._lines:
            self._layout = Layout.detect(self._lines, self._kind)

    def _ends(self, lines: list[str], are_ascii: bool) -> Iterable[int]:
        """Where these lines begin in the file, and where the last one ends."""
        if not self._is_placed:
            return repeat(0, len(lines) + 1)
        sizes = map(len, lines if are_ascii else map(str.encode, lines))
        return accumulate(sizes, initial=self._begins[-1])

    def has_more(self) -> bool:
        """Whether there is anything to read; finds the next row first, if need be."""
        if self._state is _State.RESYNCHRONISE:
            places = range(self._at, len(self._lines))
            self._at = next((place for place in places if TIME.search(self._lines[place])), len(self._lines))
            if self._at < len(self._lines):
                self._state = _State.READ
        return self._at < len(self._lines) and self._state is not _State.WAIT

    def read(self, is_odd: bool, at_end: bool = False) -> Iterator[Rows | Damage]:
        """Some rows that follow, up to a record that needs something else to be done, or the end of the lines.

        `is_odd` is whether every record has to be looked at, and `at_end` that no more will come.
        """
        layout, lines, begin = self._layout, self._lines, self._at
        if layout is None:
            return
        # Not a slice: where most records are damaged, copying what is left for each would take for ever.
        rest = map(lines.__getitem__, range(begin, len(lines)))
        reader = _LongRecord(rest) if self._state is _State.READ_LONG else csv.reader(rest, strict=True)
        self._state = _State.READ
        records: list[list[str]] = []
        ends: list[int] = []
        fault: csv.Error | None = None
        try:
            for values in islice(reader, self._step):
                records.append(values)
                ends.append(begin + reader.line_num)
        except csv.Error as error:
            fault = error.with_traceback(None)  # which would keep all these records until garbage is collected
        if records:
            yield from self._judged(layout, records, [begin, *ends[:-1]], ends, is_odd)
        if fault and self._state is _State.READ:
            yield from self._given_up(fault, at_end)

    def _judged(
        self, layout: Layout, records: list[list[str]], starts: list[int], ends: list[int], is_odd: bool
    ) -> Iterator[Rows | Damage]:
        """What is a row among records, and damage; `starts` and `ends` are where they do so among the lines."""
        if is_odd or not self._are_plain(layout, records, starts, ends[-1]):
            yield from self._judged_singly(layout, records, starts, ends, is_odd)
        else:
            self._at = ends[-1]
            rows = self._rows(layout, records, starts, ends)
            if layout.header in records:
                rows = rows.at([place for place, values in enumerate(records) if values != layout.header])
            if rows.values:
                yield rows
        self._step = 1 if self._state is _State.RESYNCHRONISE else min(2 * self._step, TOGETHER)

    def _are_plain(self, layout: Layout, records: list[list[str]], starts: list[int], end: int) -> bool:
        """Whether each is one line, or several without a row inside, of the right number of columns."""
        if set(map(len, records)) != {len(layout.names)} or min(map(itemgetter(0), records)) <= " ":
            return False
        if any(map(str.isdigit, chain.from_iterable(map(itemgetter(layout.ip), records)))):
            return False
        begin = starts[0]
        if end - begin == len(records):
            return True
        further = bytearray(b"\1") * (end - begin)  # marks the lines with which no record begins
        for start in starts:
            further[start - begin] = 0
        return not layout.has_row(compress(self._lines[begin:end], further))

    def _judged_singly(
        self, layout: Layout, records: list[list[str]], starts: list[int], ends: list[int], is_odd: bool
    ) -> Iterator[Rows | Damage]:
        """The same, record by record, up to one within which reading has to resume."""
        lines, width, header, has_row = self._lines, len(layout.names), layout.header, layout.has_row
        ip = layout.ip
        rows = self._rows(layout, records, starts, ends)
        places: list[int] = []
        for place, (values, start, end) in enumerate(zip(records, starts, ends, strict=True)):
            self._at = end
            suspect = is_odd or len(values) != width or values[0] <= " " or "".join(values[ip]).isdigit()
            if suspect or (end > start + 1 and has_row(lines[start + 1 : end])):
                if is_blank(values):
                    continue
                if fault := layout.fault(values, lines[start:end]):
                    if places:
                        yield rows.at(places)
                        places = []
                    yield Damage(self._first + start, fault)
                    if end > start + 1:
                        self._state = _State.RESYNCHRONISE
                        self._at = start + 1
                        return
                    continue
            if values != header:
                places.append(place)
        if places:
            yield rows.at(places)

    def _rows(self, layout: Layout, records: list[list[str]], starts: list[int], ends: list[int]) -> Rows:
        place = self._begins.__getitem__
        return Rows(
            layout.names,
            records,
            list(map(self._first.__add__, starts)),
            list(map(place, starts)),
            list(map(place, ends)),
        )

    def _given_up(self, fault: csv.Error, at_end: bool) -> Iterator[Damage]:
        """Decide what to do about a record that the standard library could not read."""
        # Only what no line end follows any more is looked at as far as there is: other faults end it sooner.
        read = sum(map(len, self._lines[self._at :])) if str(fault) == UNFINISHED else 0
        self._state = _after(fault, at_end or read > MAX_RECORD)
        if self._state is _State.RESYNCHRONISE:
            self._patience.waste(read)
            yield Damage(self.number, _reason(fault))
            self._at += 1


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
