"""What the first lines of a log file in CSV say about all of it: its columns, or why they cannot be told.

A header row counts, whatever the case of its names; without one, the columns are those that Copernica documents.
Where there is another beginning (a title, names in another language, another kind's columns), nothing is guessed:
a value in a wrong column would be stored as what it is not.
"""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, takewhile
from typing import Self

from ingest.copernica.logfiles.kinds import KINDS, LogKind, misnamed, spelled
from ingest.copernica.logfiles.rows import MAX_COLUMNS, TOO_WIDE, Unusable
from ingest.copernica.logfiles.spreadsheets import resaved, resaved_id

#: A time as log files write it. A line without one does not begin a row.
TIME = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d")
#: Rows that are looked at to see what a file is, and how many names of its header row are told.
SAMPLE, TOLD = 100, 3
#: What makes up a row without values: blanks, and what separates columns in some program.
NOTHING = " \t\r\n;|"

_BETTER = "or better, download it again"
#: What can be a column's name in any language, where an event would have numbers, addresses and times.
_NAME = re.compile(r"[^\W\d_][\w .()/-]*")


@dataclass(frozen=True, slots=True)
class Layout:
    """What a row of one file looks like."""

    #: The header row, or what it would be.
    header: Sequence[str]
    names: tuple[str, ...]
    #: How a row begins: a further line of a record that does is no part of it.
    begin: re.Pattern[str]
    #: What such a line surely has, which is sooner seen.
    sign: str

    @classmethod
    def detect(cls, lines: Sequence[str], kind: LogKind) -> Self:
        """From the first lines of a file.

        Raises:
            Unusable: a program has rewritten it, it is of another kind, or its columns cannot be told.
        """
        documented = kind.columns
        sample = list(islice(_leniently(lines), SAMPLE))
        if why := resaved(lines, sample, documented):
            raise Unusable(why)
        first = spelled(sample[0]) if sample else ()
        if _is_header(first):
            if len(first) > MAX_COLUMNS:
                raise Unusable(TOO_WIDE)
            if why := misnamed(first, kind):
                raise Unusable(why)
            return cls(sample[0], first, *_begin(first))
        if why := _foreign(lines, sample, documented) or _of_another_kind(sample, kind):
            raise Unusable(why)
        names = _resized(documented, Counter(map(len, sample)))
        return cls(list(documented), names, *_begin(names))

    @classmethod
    def of(cls, names: tuple[str, ...]) -> Self:
        """That of rows whose columns are known, among which there is no header row."""
        return cls((), names, *_begin(names))

    @property
    def ip(self) -> slice:
        """Where in a row its address is; nowhere if it has none."""
        place = self.names.index("ip") if "ip" in self.names else len(self.names)
        return slice(place, place + 1)

    def has_row(self, lines: Iterable[str]) -> bool:
        """Whether any of the further lines of a record begins as a row does."""
        begin, sign = self.begin.match, self.sign  # neither a name nor a time begins with a quote
        for line in lines:  # noqa: SIM110  # `any` takes twice as long, and this runs for nearly every record
            if sign in line and line[0] != '"' and begin(line):
                return True
        return False

    def fault(self, values: Sequence[str], lines: Sequence[str]) -> str:
        """What is wrong with a record that is not blank, which takes up these lines; empty if nothing is."""
        if len(values) != len(self.names):
            return f"{len(values)} columns, where {len(self.names)} are expected"
        if any("\0" in line for line in lines):
            return "NUL bytes"
        # One that closes at a quote of another row can, by chance, give the right number of columns.
        if self.has_row(lines[1:]):
            return "a quote that is never closed"
        return resaved_id(self.names, values)


def is_blank(values: Iterable[str]) -> bool:
    """Whether a row has no values: a blank line, or one of empty cells, as spreadsheets leave them."""
    return not any(value.strip(NOTHING) for value in values)


def _is_header(names: Sequence[str]) -> bool:
    return "time" in names and not _has_time(names)


def _has_time(row: Iterable[str]) -> bool:
    return any(TIME.fullmatch(cell.strip()) for cell in row)


def _foreign(lines: Iterable[str], sample: Sequence[Sequence[str]], documented: Sequence[str]) -> str:
    """Why the beginning of a file without a header row of Copernica's is not that of a log file, if so."""
    above = list(takewhile(lambda row: not _has_time(row), sample))
    if any(_is_header(spelled(row)) for row in above):
        return f"there are lines above its header row, which Copernica does not write: remove them, {_BETTER}"
    if sample and not any(TIME.search(line) for line in islice(lines, SAMPLE)):
        return "none of its first lines has a time, as those of log files have: download it again"
    for row in above:
        cells = [cell.strip() for cell in row if cell.strip(NOTHING)]
        if len(cells) == 1:
            return f"{cells[0][:30]!r} above its events is neither a header row nor an event: remove it, {_BETTER}"
        if all(map(_NAME.fullmatch, cells)):
            return (
                f"its header row is not Copernica's ({', '.join(cells[:TOLD])}, …): name its columns as in "
                f"{','.join(documented)}, {_BETTER}"
            )
    return ""


def _of_another_kind(sample: Sequence[Sequence[str]], kind: LogKind) -> str:
    """Why rows without a header row are not of this kind: many look like another's, and none like its own."""
    if any(_looks_like(kind, row, sure=False) for row in sample):
        return ""
    likely = [
        other.prefix
        for other in KINDS.values()
        if other.type is not kind.type and sum(_looks_like(other, row) for row in sample) * 2 > len(sample)
    ]
    if not likely:
        return ""
    return (
        f"its lines look like those of {' or '.join(likely)}, not of {kind.prefix}: rename it, or say what it is "
        "with --kind"
    )


def _looks_like(kind: LogKind, row: Sequence[str], sure: bool = True) -> bool:
    """Whether a row has a time and a recipient where a kind has them; to be `sure`, also its number of columns."""
    cells = dict(zip(kind.columns, row, strict=False))
    recipient = cells.get("email", cells.get("recipient", ""))
    if sure and (len(row) != len(kind.columns) or not recipient):
        return False
    return bool(TIME.fullmatch(cells.get("time", "").strip())) and (not recipient or "@" in recipient)


def _begin(names: tuple[str, ...]) -> tuple[re.Pattern[str], str]:
    before = names.index("time") if "time" in names else 0
    return re.compile(rf"(?:[^,\"\n]*+,){{{before}}}{TIME.pattern}[,\r\n]"), "," if before else "-"


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


def _leniently(lines: Sequence[str]) -> Iterator[list[str]]:
    """The records that are not blank, up to the first that cannot be read at all."""
    try:
        yield from (row for row in csv.reader(lines) if not is_blank(row))
    except csv.Error:
        return
