"""What is left of a log file in CSV once a spreadsheet program has saved it: recognised, told, and not read.

Excel opens a CSV by double click and writes it back with the separator and the dates of the country, without
seconds, and with long numbers rounded. Such a file cannot be made whole again, so the words say what to do.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import islice

#: How the advice ends, whatever it was that gave the program away.
ADVICE = "download it again, and give it to us before you open it in Excel"

#: Lines that are looked at.
SAMPLE = 20
_NAMES = {"time", "id", "email", "recipient"}
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
#: A time as spreadsheets show it: 21-11-2026 09:14, 11/21/2026 9:14 AM, 21.11.2026, 2026-11-21 09:14.
_SHOWN = re.compile(
    r"\d{1,2}(?P<sign>[-/.])\d{1,2}(?P=sign)(?:\d{4}|\d\d)"
    r"(?:[ T]+\d{1,2}[:.]\d\d(?:[:.]\d\d)?(?: ?[AaPp]\.?[Mm]\.?)?)?"
    r"|\d{4}(?P<dash>[-/])\d\d?(?P=dash)\d\d?(?:[ T]\d{1,2}:\d\d(?: ?[AaPp][Mm])?)?"
    r"|\d{2}:\d{2}[.,]\d"
    r"|4\d{4}(?:[.,]\d+)?"  # days since 1900
)
#: A long number as spreadsheets show it: 1,23E+15.
_ROUNDED = re.compile(r"\d[.,]?\d*E\+\d+")


def resaved_time(text: str) -> str:
    """Why a text is no time, if it is one that a spreadsheet program has rewritten; else empty."""
    return f"this looks like a CSV resaved by Excel: {ADVICE}" if _SHOWN.fullmatch(text.strip()) else ""


def resaved(lines: Sequence[str], rows: Sequence[Sequence[str]], documented: Sequence[str]) -> str:
    """Why a file cannot be read, by its first lines and what they hold as CSV; empty if nothing is wrong.

    `documented` are its columns if it has no header row.
    """
    first = lines[0].strip() if lines else ""
    if first.lower().startswith("sep="):
        return _told("it begins with sep=")
    if "\r" in first and "time" in first.partition("\r")[0].split(","):
        return _told("its lines end as on an old Macintosh")
    for sign, name in _SEPARATORS.items():
        if any(_separated(line.strip(), sign) for line in islice(lines, 2)):
            return _told(f"its columns are separated by {name}")
    if any(len(row) == 1 and _is_row(row[0]) for row in islice(rows, SAMPLE)):
        return _told("each line is in quotes as a whole")
    return next(filter(None, _cells(rows, documented)), "")


def _separated(line: str, sign: str) -> bool:
    """Whether a line has columns only if they are separated by this sign: names, or a row with a time."""
    cells = [cell.strip().strip('"') for cell in line.split(sign)]
    if line.count(sign) < 2 or line.count(",") > line.count(sign):
        return False
    if "time" in cells and len(_NAMES.intersection(cells)) > 1:
        return True
    return "," not in line.partition(sign)[0] and any(map(_is_time, cells[:4]))


def _is_row(text: str) -> bool:
    cells = text.split(",")
    return len(cells) > 3 and ("time" in cells or any(map(_is_time, cells[:4])))


def _is_time(text: str) -> bool:
    return bool(_SHOWN.fullmatch(text) or re.fullmatch(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d", text))


def _cells(rows: Sequence[Sequence[str]], documented: Sequence[str]) -> Iterator[str]:
    names = list(documented)
    for row in islice(rows, SAMPLE):
        if "time" in row:
            names = [name.strip() for name in row]
            continue
        cells = dict(zip(names, row, strict=False))
        if _SHOWN.fullmatch(cells.get("time", "").strip()):
            yield _told(f"it has {cells['time'].strip()!r} for a time")
        if _ROUNDED.fullmatch(cells.get("id", "").strip()):
            yield _told(f"it has {cells['id'].strip()!r} for an id")


def _told(what: str) -> str:
    return f"this looks like a CSV resaved by Excel ({what}): {ADVICE}"
