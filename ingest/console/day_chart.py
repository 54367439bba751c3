"""The 24 hours of a day as a picture: a bar for each, in parts by source, and gaps across them.

Only where each part stands: the template draws it, and has a table with the same numbers.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import NamedTuple

from ingest.copernica.events import DAY, LOGFILE, MICROS, REST, WEBHOOK
from workers.gaps.gap import Cut
from workers.operations.calendar import micros_of

#: Units of the picture: 40 for each hour.
WIDTH, HEIGHT = 960, 160
#: Units that a bar leaves free on its right, and the least width of a gap, so that a second can be seen.
AIR, LEAST = 6, 4
#: Sources from the bottom up.
SOURCES = (WEBHOOK, LOGFILE, REST)


class Part(NamedTuple):
    """The part of a bar that came from one source."""

    source: str
    x: float
    y: float
    width: float
    height: float


class Bar(NamedTuple):
    """The events of one hour."""

    hour: int
    x: float
    numbers: Mapping[str, int]
    parts: Sequence[Part]

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.numbers.values())


class Band(NamedTuple):
    """A gap, as far as it is of this day."""

    gap: Cut
    x: float
    width: float


class Chart(NamedTuple):
    """The picture; `highest` is the number that its height stands for."""

    bars: Sequence[Bar]
    bands: Sequence[Band]
    highest: int
    width: int = WIDTH
    height: int = HEIGHT

    @property
    def total(self) -> int:
        """Events of the day."""
        return sum(bar.total for bar in self.bars)


def chart(hours: Sequence[Mapping[str, int]], gaps: Sequence[Cut], day: date, now: datetime) -> Chart:
    """The picture of a day; a gap that lasts reaches up to `now`."""
    highest = max((sum(numbers.values()) for numbers in hours), default=0)
    bars = [_bar(hour, numbers, max(highest, 1)) for hour, numbers in enumerate(hours)]
    begin, until_now = micros_of(day), int(now.timestamp()) * MICROS
    bands = [band for gap in gaps if (band := _band(gap, begin, until_now)) is not None]
    return Chart(bars, bands, highest)


def _bar(hour: int, numbers: Mapping[str, int], highest: int) -> Bar:
    step = WIDTH / 24
    x, y, parts = hour * step + AIR / 2, float(HEIGHT), []
    for source in SOURCES:
        if number := max(0, numbers.get(source, 0)):
            height = max(1.0, number * HEIGHT / highest)
            y = max(0.0, y - height)
            parts.append(Part(source, round(x, 1), round(y, 1), step - AIR, round(height, 1)))
    return Bar(hour, round(hour * step, 1), numbers, parts)


def _band(gap: Cut, begin: int, now: int) -> Band | None:
    end = begin + DAY * MICROS
    since, until = max(gap.since, begin), min(now if gap.until is None else gap.until, end)
    if until < since:
        return None
    x = (since - begin) * WIDTH / (end - begin)
    width = max(LEAST, (until - since) * WIDTH / (end - begin))
    return Band(gap, round(min(x, WIDTH - LEAST), 1), round(min(width, WIDTH - min(x, WIDTH - LEAST)), 1))
