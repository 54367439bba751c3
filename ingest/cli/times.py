"""Times as people type them, and the zone that they are in.

    today, yesterday      midnight, with which that day begins
    2026-11-20            likewise
    2026-11-20T09:00      a time; without a zone of its own it is in that of --tz, or else of INGEST_TZ
    09:00                 that time today
    90s, 15m, 6h, 2d, 1w  so long ago, in one piece or several: 1h30m

JSON and CSV are for programs, and always in UTC.
"""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import click

from ingest import shown
from ingest.cli import written_dates
from ingest.cli.options import settings_with

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

#: Where the zone of a command is kept while its command line is read.
_ZONE = "ingest.zone"
_UNITS = MappingProxyType({"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"})
_AGES = re.compile(r"([0-9]{1,9}[smhdw])+")
_AGE = re.compile(r"([0-9]+)([smhdw])")
_TIME_OF_DAY = re.compile(r"[0-9]{1,2}:[0-9]{2}(:[0-9]{2})?")
#: Days that have a name, as days from today.
_NAMED = MappingProxyType({"yesterday": -1, "today": 0, "tomorrow": 1})

SINCE_HELP = "From: today, yesterday, 2026-11-20, 2026-11-20T09:00, 09:00, or 15m, 6h, 2d ago."


class Zone(click.ParamType["ZoneInfo"]):
    """The name of a time zone."""

    name = "zone"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> "ZoneInfo":
        """To the zone."""
        from zoneinfo import ZoneInfo

        try:
            return ZoneInfo(str(value).strip())
        except (KeyError, ValueError, OSError):
            return self.fail(f"{str(value)!r} is no time zone: write UTC or Europe/Amsterdam", param, ctx)


def _zone(ctx: click.Context, _param: click.Parameter, value: "ZoneInfo | None") -> "ZoneInfo":
    from zoneinfo import ZoneInfo

    if not ctx.resilient_parsing:
        value = value or ZoneInfo(settings_with().timezone)
    ctx.meta[_ZONE] = value or ZoneInfo("UTC")
    zone: ZoneInfo = ctx.meta[_ZONE]
    return zone


def with_zone(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --tz, by which the times of the other options are read, and times are shown to people."""
    return click.option(
        "--tz",
        "zone",
        type=Zone(),
        is_eager=True,
        callback=_zone,
        help="Time zone of times, typed and shown.  [default: INGEST_TZ, or UTC]",
    )(command)


class Moment(click.ParamType[datetime]):
    """A date, a time, or how long ago."""

    name = "time"

    def __init__(self, ahead: bool = False) -> None:
        """With `ahead`, it is to come: `2h` is in two hours, and a time of day is the next one."""
        self._ahead = ahead

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """To a datetime in UTC."""
        zone = ctx.meta.get(_ZONE) if ctx is not None else None
        text, now = str(value).strip(), datetime.now(zone or UTC)
        try:
            moment = self._read(text, now)
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=now.tzinfo)
            moment = moment.astimezone(UTC)
        except (ValueError, OverflowError):
            example = "tomorrow, 18:00, 2h" if self._ahead else "today, yesterday, 6h"
            likely = written_dates.likely(text, with_time=True) or shown.did_you_mean(text, _NAMED)
            self.fail(f"{text!r} is no time: write 2026-11-20, 2026-11-20T09:00, {example}.{likely}", param, ctx)
        if self._ahead and moment <= now:
            self.fail(f"{text!r} is over already", param, ctx)
        return moment

    def _read(self, text: str, now: datetime) -> datetime:
        word = text.lower()
        if word == "now":
            return now
        if word in _NAMED:
            return datetime.combine(now.date() + timedelta(days=_NAMED[word]), time())
        if _AGES.fullmatch(word):
            span = sum((timedelta(**{_UNITS[unit]: int(n)}) for n, unit in _AGE.findall(word)), timedelta())
            return now.astimezone(UTC) + (span if self._ahead else -span)
        if _TIME_OF_DAY.fullmatch(word):
            today = datetime.combine(now.date(), time.fromisoformat(word.zfill(5)), now.tzinfo)
            return today + timedelta(days=1) if self._ahead and today <= now else today
        return datetime.fromisoformat(text)


MOMENT = Moment()


class Day(click.ParamType[date]):
    """A day in UTC, as log files are kept by; or `today`, `yesterday`."""

    name = "day"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        """To a date."""
        if isinstance(value, date):
            return value
        text = str(value).strip().lower()
        try:
            if text in _NAMED:
                return datetime.now(UTC).date() + timedelta(days=_NAMED[text])
            return date.fromisoformat(text)
        except ValueError:
            likely = written_dates.likely(text) or shown.did_you_mean(text, _NAMED)
            self.fail(f"{text!r} is not a valid day: write 2026-11-20 or yesterday.{likely}", param, ctx)


def in_order(since: datetime | None, until: datetime | None) -> None:
    """Refuse a span of time that ends before it begins: nothing could be in it.

    Raises:
        click.BadParameter: it does.
    """
    if since is not None and until is not None and until <= since:
        raise click.BadParameter(
            "it is not later than --since, so there is nothing in between", param_hint="--until"
        )
