"""What is left of a log file in CSV once a spreadsheet program has saved it: recognised, told, and not read.

Excel opens a CSV by double click and writes it back with the separator and the dates of the country, without
seconds, and with long numbers rounded or made text by an apostrophe. Such a file cannot be made whole again, so
the words say what to do.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import islice

from ingest.copernica.logfiles.kinds import spelled

#: How the advice ends, whatever it was that gave the program away.
ADVICE = "download it again, and give it to us before you open it in Excel"

#: Lines that are looked at.
SAMPLE = 20
_NAMES = {"time", "id", "email", "recipient"}
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
_CLOCK = r"(?:,?[ T]+\d{1,2}[:.]\d\d(?:[:.]\d\d)?(?: ?[AaPp]\.?[Mm]\.?)?)?"
_MONTH = r"[^\W\d_]{3,10}\.?"
#: A time as spreadsheets show it: 21-11-2026 09:14, 11/21/2026 9:14 AM, 21.11.2026, 2026-11-21 09:14,
#: 2026-11-21 9:14:07, 21-nov-26, zaterdag 21 november 2026, Nov 21, 2026.
_SHOWN = re.compile(
    rf"\d{{1,2}}(?P<sign>[-/.])\d{{1,2}}(?P=sign)(?:\d{{4}}|\d\d){_CLOCK}"
    rf"|(?:[^\W\d_]{{2,10}}\.?,? )?\d{{1,2}}\.?[-/. ]{_MONTH}[-/. ](?:\d{{4}}|\d\d){_CLOCK}"
    rf"|(?:[^\W\d_]{{2,10}}\.?,? )?{_MONTH} \d{{1,2}},? \d{{4}}{_CLOCK}"
    r"|\d{4}(?P<dash>[-/])\d\d?(?P=dash)\d\d?(?:[ T]\d{1,2}:\d\d(?: ?[AaPp][Mm])?|[ T]\d:\d\d:\d\d)?"
    r"|\d{2}:\d{2}[.,]\d"
    r"|4\d{4}(?:[.,]\d+)?"  # days since 1900
    r"|\d{1,2}:\d\d(?::\d\d)?|#{3,}"  # the time of day alone; a column too narrow for it
)
#: The columns of numbers and of ids, which spreadsheets take for numbers.
_IDS = frozenset(("id", "linkinfo", "document", "groupid")) | {
    f"{what}{end}"
    for what in ("profile", "subprofile", "template", "mailing", "database", "collection")
    for end in ("", "id")
}
#: A long number as spreadsheets show it: 1,23E+15.
_ROUNDED = re.compile(r"\d(?:[.,]\d*)?[Ee]\+\d+")
#: An address whose dots a Dutch program took for those between thousands: 12.123.123.123 becomes 12123123123.
_IP_AS_NUMBER = re.compile(r"\d{10,12}")
#: A whole number as a program writes it that has made fractions of a column with gaps; as a link, an address.
_FRACTION = re.compile(r"\d+[.,]\d+")
#: What keeps spreadsheets from taking it for one; it stays in the file.
_KEPT_AS_TEXT = "'"
#: Either of them at the beginning of a field; a town can be 's-Gravenhage.
_ID_RESAVED = re.compile(r"(?:^|[,\n])\"?(?:\d(?:[.,]\d*)?[Ee]\+\d|'[0-9A-Fa-f]{2})")


def resaved_time(text: str) -> str:
    """Why a text is no time, if it is one that a spreadsheet program has rewritten; else empty."""
    return f"this looks like a CSV resaved by Excel: {ADVICE}" if _SHOWN.fullmatch(text.strip()) else ""


def resaved_as(form: str) -> str:
    """Why a file in a form of its own cannot be read."""
    return _told(f"as {form}")


def without_seconds() -> str:
    """Why a file cannot be read in which each time is the beginning of a minute."""
    return _told("none of its times has seconds")


def may_have_resaved_ids(text: str) -> bool:
    """Whether any line of a text may have an id that a spreadsheet program has rewritten."""
    # One character is looked for ten times as fast as two.
    rounded = "+" in text and ("E+" in text or "e+" in text)
    as_text = "'" in text and (",'" in text or "\n'" in text or "\"'" in text or text[0] == "'")
    return (rounded or as_text) and bool(_ID_RESAVED.search(text))


def resaved_id(names: Sequence[str], values: Sequence[str]) -> str:
    """Why a row cannot be used, if it has an id that a spreadsheet program has rewritten; else empty."""
    for name, value in zip(names, values, strict=False):
        if name in _IDS and (_ROUNDED.fullmatch(value.strip()) or value.startswith(_KEPT_AS_TEXT)):
            return _told(f"it has {value.strip()[:30]!r} for {'an id' if name == 'id' else name}")
        if name == "ip" and (_IP_AS_NUMBER.fullmatch(value.strip()) or _ROUNDED.fullmatch(value.strip())):
            return _told(f"it has {value.strip()[:30]!r} for an address")
    return ""


def resaved(lines: Sequence[str], rows: Sequence[Sequence[str]], documented: Sequence[str]) -> str:
    """Why a file cannot be read, by its first lines and what they hold as CSV; empty if nothing is wrong.

    `documented` are its columns if it has no header row.
    """
    first = lines[0].strip() if lines else ""
    if first.lower().startswith("sep="):
        return _told("it begins with sep=")
    if "\r" in first and "time" in spelled(first.partition("\r")[0].split(",")):
        return _told("its lines end as on an old Macintosh")
    for sign, name in _SEPARATORS.items():
        if any(_separated(line.strip(), sign) for line in islice(lines, SAMPLE)):
            return _told(f"its columns are separated by {name}")
    if _ends_in_semicolons(lines):
        return _told("its lines end in semicolons")
    if any(len(row) == 1 and _is_row(row[0]) for row in islice(rows, SAMPLE)):
        return _told("each line is in quotes as a whole")
    return next(filter(None, _cells(rows, documented)), "")


def _separated(line: str, sign: str) -> bool:
    """Whether a line has columns only if they are separated by this sign: names, or a row with a time."""
    cells = spelled(cell.strip().strip('"') for cell in line.split(sign))
    if line.count(sign) < 2 or line.count(",") > line.count(sign):
        return False
    if "time" in cells and len(_NAMES.intersection(cells)) > 1:
        return True
    return "," not in line.partition(sign)[0] and any(map(_is_time, cells[:4]))


def _ends_in_semicolons(lines: Sequence[str]) -> bool:
    """Whether a file was opened with semicolons for separators, and saved with as many in each line."""
    sample = [line.strip().strip('"') for line in islice(lines, SAMPLE) if line.strip()]
    has_names = bool(sample) and "time" in spelled(sample[0].split(","))
    return (has_names and sample[0].endswith(";")) or (
        len(sample) > 2 and all(line.endswith(";") for line in sample)
    )


def _is_row(text: str) -> bool:
    cells = spelled(text.split(","))
    return len(cells) > 3 and ("time" in cells or any(map(_is_time, cells[:4])))


def _is_time(text: str) -> bool:
    return bool(_SHOWN.fullmatch(text) or re.fullmatch(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d", text))


def _cells(rows: Sequence[Sequence[str]], documented: Sequence[str]) -> Iterator[str]:
    names = tuple(documented)
    for row in islice(rows, SAMPLE):
        if "time" in (given := spelled(row)):
            names = given
            continue
        time = dict(zip(names, row, strict=False)).get("time", "").strip()
        if _SHOWN.fullmatch(time):
            yield _told(f"it has {time!r} for a time")
        yield resaved_id(names, row)
        for name, value in zip(names, row, strict=False):
            if name in _IDS and name != "id" and _FRACTION.fullmatch(value.strip()):
                yield _told(f"it has {value.strip()[:30]!r} for {name}")


def _told(what: str) -> str:
    return f"this looks like a CSV resaved by Excel ({what}): {ADVICE}"
