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
    #: A row within a record: a further line that has a time where a row has it.
    row_inside: re.Pattern[str]

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
            return cls(sample[0], first, _row_inside(first))
        if why := _foreign(lines, sample, documented) or _of_another_kind(sample, kind):
            raise Unusable(why)
        names = _resized(documented, Counter(map(len, sample)))
        return cls(list(documented), names, _row_inside(names))

    def fault(self, values: Sequence[str], text: str) -> str:
        """What is wrong with a record, of which `text` is the whole; empty if nothing is, or if it is blank."""
        if is_blank(values):
            return ""
        if len(values) != len(self.names):
            return f"{len(values)} columns, where {len(self.names)} are expected"
        if "\0" in text:
            return "NUL bytes"
        # One that closes at a quote of another row can, by chance, give the right number of columns.
        if self.row_inside.search(text):
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


def _leniently(lines: Sequence[str]) -> Iterator[list[str]]:
    """The records that are not blank, up to the first that cannot be read at all."""
    try:
        yield from (row for row in csv.reader(lines) if not is_blank(row))
    except csv.Error:
        return
