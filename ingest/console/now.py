"""What the page Now shows, made of what the hub knows; None is what nobody knows at the moment."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Self

from ingest.console.hub import Picture, Point
from ingest.errors import Unavailable
from ingest.metrics.histogram import quantile
from ingest.stream.consumer import Pulse
from ingest.stream.pauses import HANDLER
from ingest.stream.reports import host_of
from workers.handlers.speed import Speed
from workers.operations.calendar import DayStanding
from workers.operations.figures import EndpointFigures, HandlerFigures, RedisFigures, StatusFigures, StoreFigures
from workers.operations.warnings import Code, StatusWarning

#: Seconds over which rates are averaged: of single seconds they jump up and down.
AVERAGED = 5.0
#: Rows of a table on this page; the rest is counted. Its own page shows them all.
MOST_ROWS = 50


@dataclass(frozen=True, slots=True)
class EndpointRow:
    """An endpoint process."""

    host: str
    process: str
    figures: EndpointFigures


@dataclass(frozen=True, slots=True)
class HandlerRow:
    """A handler: what waits for it, and how fast it is; None where that is not known."""

    name: str
    figures: HandlerFigures | None
    speed: Speed | None
    is_paused: bool


@dataclass(frozen=True, slots=True)
class Now:
    """Everything on the page."""

    figures: StatusFigures | None
    warnings: list[StatusWarning]
    #: Events per second.
    taken: float | None
    stored: float | None
    pulse: Pulse | None
    #: Seconds within which half of the calls of the last minute, and 99 of 100, were answered 200.
    median: float | None
    slowest: float | None
    days: list[DayStanding] | None
    speeds: Mapping[str, Speed]
    #: Why Redis, and the database, say nothing.
    redis_why: str
    store_why: str
    #: Whether the database was not asked yet.
    is_asking: bool

    @classmethod
    def of(cls, picture: Picture, points: Iterable[Point]) -> Self:
        """What is seen in a picture; `points` are those of the chart."""
        figures, pulse = picture.figures, picture.pulse
        warnings = figures.warnings if figures else ()
        why = {warning.code: warning.text for warning in warnings}
        if isinstance(pulse, Unavailable):
            taken = stored = None
        else:
            taken, stored = _rates(list(points))
        counts = _acknowledged(figures.redis) if figures and figures.redis else ()
        return cls(
            figures=figures,
            warnings=sorted(warnings, key=lambda warning: warning.level != "alarm"),
            taken=taken,
            stored=stored,
            pulse=pulse if isinstance(pulse, Pulse) else None,
            median=quantile(counts, 0.5),
            slowest=quantile(counts, 0.99),
            days=picture.days if isinstance(picture.days, list) else None,
            speeds={} if picture.speeds is None or isinstance(picture.speeds, Unavailable) else picture.speeds,
            redis_why=why.get(Code.REDIS_UNREACHABLE, str(pulse) if isinstance(pulse, Unavailable) else ""),
            store_why=why.get(Code.DATABASE_UNREACHABLE, ""),
            is_asking=not picture.store_asked,
        )

    @property
    def redis(self) -> RedisFigures | None:
        """What Redis knows."""
        return self.figures.redis if self.figures else None

    @property
    def store(self) -> StoreFigures | None:
        """What the database knows."""
        return self.figures.store if self.figures else None

    @property
    def refused(self) -> list[tuple[str, int]]:
        """Calls that were refused since the endpoints started, by reason, the most frequent first."""
        reasons: Mapping[str, int] = self.redis.refused if self.redis else {}
        return sorted(reasons.items(), key=lambda item: (-item[1], item[0]))

    @property
    def handlers(self) -> list[HandlerRow]:
        """Handlers that have something to do, or had lately: first those on which something fails."""
        waiting: Mapping[str, HandlerFigures] = self.store.handlers if self.store else {}
        paused = {one.name for one in self.redis.paused} if self.redis else set()
        rows = [
            HandlerRow(name, waiting.get(name), self.speeds.get(name), f"{HANDLER}{name}" in paused)
            for name in waiting.keys() | self.speeds.keys()
        ]
        rows.sort(key=lambda row: (-(row.figures.failed + row.figures.retries if row.figures else 0), row.name))
        return rows

    @property
    def endpoints(self) -> list[EndpointRow]:
        """The endpoint processes, those with the most calls first."""
        there = self.redis.endpoints if self.redis else ()
        rows = [EndpointRow(host_of(one.name), one.name.rpartition(":")[2], one) for one in there]
        rows.sort(key=lambda row: (-row.figures.report.accepted_per_second, row.host, row.process))
        return list(islice(rows, MOST_ROWS))


def _rates(points: list[Point]) -> tuple[float | None, float | None]:
    """Events taken and stored per second just now; None before two looks."""
    lately = [point for point in points if point.at > points[-1].at - AVERAGED]
    if not lately:
        return None, None
    taken, stored = (sum(getattr(point, name) for point in lately) for name in ("taken", "stored"))
    return round(taken / len(lately), 1), round(stored / len(lately), 1)


def _acknowledged(figures: RedisFigures) -> tuple[int, ...]:
    """Calls of the last minute by how long they waited, of all endpoint processes together."""
    told = [one.report.acknowledged for one in figures.endpoints if one.report.acknowledged]
    longest = max(map(len, told), default=0)
    return tuple(sum(each) for each in zip(*(one for one in told if len(one) == longest), strict=True))
