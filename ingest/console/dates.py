"""Days and months as they are written in the visitor's language, and days and times as addresses have them."""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from aiohttp import web
from babel.dates import format_date, get_day_names

from ingest.console.texts import LOCALES

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MONTH = re.compile(r"[0-9]{4}-[0-9]{2}")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?")


def day_from(text: str) -> date:
    """The day in an address.

    Raises:
        HTTPNotFound: it is none.
    """
    try:
        if _DAY.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise web.HTTPNotFound


def month_from(text: str, otherwise: date) -> date:
    """The first day of a month in a query; of another day's month if it is none."""
    try:
        if _MONTH.fullmatch(text):
            return date.fromisoformat(f"{text}-01")
    except ValueError:
        pass
    return otherwise.replace(day=1)


def time_from(text: str, zone: tzinfo) -> datetime | None:
    """A time as a field of a browser writes it, in this zone; None if it is none."""
    try:
        return datetime.fromisoformat(text).replace(tzinfo=zone).astimezone(UTC) if _TIME.fullmatch(text) else None
    except (ValueError, OverflowError):  # the 31st of February, the year 0 or 1
        return None


def zone_from(text: str, otherwise: str) -> ZoneInfo | None:
    """The zone of a form's times: the browser's, which a script tells, or else another; None if it is none."""
    try:
        return ZoneInfo(text or otherwise)
    except (KeyError, ValueError, OSError):
        return None


def day_text(day: date, language: str) -> str:
    """`Wednesday 25 November 2026`."""
    return format_date(day, "EEEE d MMMM y", locale=LOCALES[language])


def short_day(day: date, language: str) -> str:
    """`Wed 25 Nov 2026`."""
    return format_date(day, "EEE d MMM y", locale=LOCALES[language])


def month_text(day: date, language: str) -> str:
    """`November 2026`."""
    return format_date(day, "LLLL y", locale=LOCALES[language])


def weekdays(language: str) -> list[tuple[str, str]]:
    """The days of a week from Monday on, short and in full."""
    short = get_day_names("abbreviated", "stand-alone", LOCALES[language])
    full = get_day_names("wide", "stand-alone", LOCALES[language])
    return [(short[number], full[number]) for number in range(7)]


def months_back(month: date, number: int) -> date:
    """The first day of the month so many months earlier; later, if negative. It stays within years 1 to 9999."""
    months = min(max(month.year * 12 + month.month - 1 - number, 12), 9999 * 12 + 11)
    return date(months // 12, months % 12 + 1, 1)


def weeks(month: date) -> Iterator[list[date | None]]:
    """The weeks of a month, each of seven days; None where one is of another month."""
    following = months_back(month, -1)
    days: list[date | None] = [None] * month.weekday()
    day = month
    while day < following:
        days.append(day)
        if len(days) == 7:
            yield days
            days = []
        day += timedelta(days=1)
    if days:
        yield days + [None] * (7 - len(days))
