"""Dates as people in this country and that one write them, for the suggestion that follows a refusal.

None is taken as it stands: 05-11-2026 is a day in November here and one in May elsewhere.
"""

import re
from collections.abc import Iterator
from datetime import date, time

_NUMBERS = re.compile(r"([0-9]{4}|[0-9]{1,2})([-/. ])([0-9]{1,2})\2([0-9]{4}|[0-9]{1,2})")
_WITH_NAME = re.compile(r"(?:[^\W\d_]+,? )?([0-9]{1,2})\.?[-/. ]([^\W\d_]{3,})\.?,?[-/. ]([0-9]{4})")
_NAME_FIRST = re.compile(r"(?:[^\W\d_]+,? )?([^\W\d_]{3,})\.? ([0-9]{1,2}),? ([0-9]{4})")
_TIME = re.compile(
    r"(.*[0-9])(?:,?[T ]+|T)([0-9]{1,2})[:.]([0-9][0-9])(?:[:.]([0-9][0-9]))?(?:\.[0-9]+)?(?: ?(Z|UTC))?",
    re.IGNORECASE,
)
#: How the names of months begin, in English and Dutch.
_MONTHS = (
    ("jan",), ("feb",), ("mar", "mrt", "maa"), ("apr",), ("may", "mei"), ("jun",), ("jul",), ("aug",), ("sep",),
    ("oct", "okt"), ("nov",), ("dec",),
)  # fmt: skip  # a list to be read across


def likely(text: str, with_time: bool = False) -> str:
    """` Did you mean 2026-11-20?`, behind a sentence about a text that is no date; empty if it is like none."""
    written, at = text.strip(), ""
    if (found := _TIME.fullmatch(written)) and (moment := _time(found[2], found[3], found[4])) is not None:
        written, zone = found[1].rstrip(" ,"), "Z" if found[5] else ""
        at = f"T{moment:%H:%M:%S}".removesuffix(":00") + zone
    days = dict.fromkeys(day for day in _days(written) if day is not None)
    meant = [f"{day}{at if with_time else ''}" for day in days]
    return f" Did you mean {' or '.join(meant)}?" if meant else ""


def _time(hour: str, minute: str, second: str | None) -> time | None:
    try:
        return time(int(hour), int(minute), int(second or 0))
    except ValueError:
        return None


def _days(text: str) -> Iterator[date | None]:
    """The days that a text may be, the most likely first."""
    if found := _NUMBERS.fullmatch(text):
        first, _, middle, last = found.groups()
        if len(first) == 4 and len(last) < 3:
            yield _day(first, middle, last)
        elif len(first) < 3:
            year = last if len(last) == 4 else f"20{last:>02}"
            yield _day(year, middle, first)
            yield _day(year, first, middle)
    elif found := _WITH_NAME.fullmatch(text):
        yield _day(found[3], _month(found[2]), found[1])
    elif found := _NAME_FIRST.fullmatch(text):
        yield _day(found[3], _month(found[1]), found[2])
    elif found := re.match(r"([0-9]{4}-[0-9][0-9]-[0-9][0-9])(?![0-9])", text):
        yield _day(*found[1].split("-"))


def _month(name: str) -> str:
    beginning = name[:3].lower()
    return str(next((number for number, names in enumerate(_MONTHS, 1) if beginning in names), 0))


def _day(year: str, month: str, day: str) -> date | None:
    try:
        return date(int(year), int(month), int(day))
    except ValueError:
        return None
