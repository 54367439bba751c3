"""What one process has counted and measured since it started."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Self

import orjson

from ingest.metrics.histogram import Histogram

#: What the names of gauges contain that are no sum: of several processes, the highest counts.
_HIGHEST = ("_timestamp_", "_age_seconds", "_limit_bytes")

#: The name of a metric, and the values of its labels in the order of the catalogue.
Series = tuple[str, ...]


@dataclass(slots=True)
class Figures:
    """The figures of one process, or of several that have the same part, added up."""

    counts: Counter[Series] = field(default_factory=Counter)
    timings: dict[Series, Histogram] = field(default_factory=dict)
    #: What is so at this moment.
    gauges: dict[Series, float] = field(default_factory=dict)
    #: The process that these are of; 0 if it is unknown.
    pid: int = 0
    #: Unix time at which it left them, in seconds.
    at: float = 0.0

    def count(self, name: str, *labels: str, by: int = 1) -> None:
        """Count something."""
        self.counts[(name, *labels)] += by

    def timing(self, name: str, *labels: str) -> Histogram:
        """The histogram of this series."""
        series = name, *labels
        histogram = self.timings.get(series)
        if histogram is None:  # not `setdefault`, which would make one each time
            histogram = self.timings[series] = Histogram()
        return histogram

    def add(self, other: "Figures") -> None:
        """Add the counts and timings of another process, and of the same in an earlier life."""
        self.counts.update(other.counts)
        for series, histogram in other.timings.items():
            self.timing(*series).add(histogram)

    def add_gauges(self, other: "Figures") -> None:
        """Add what is so at this moment in another process."""
        for series, value in other.gauges.items():
            before = self.gauges.get(series, 0.0)
            is_sum = not any(part in series[0] for part in _HIGHEST)
            self.gauges[series] = before + value if is_sum else max(before, value)

    def as_json(self) -> bytes:
        """As it is left for the exporter."""
        return orjson.dumps(
            {
                "pid": self.pid,
                "at": self.at,
                "counts": list(self.counts.items()),
                "timings": [(series, one.counts, one.total) for series, one in self.timings.items()],
                "gauges": list(self.gauges.items()),
            }
        )

    @classmethod
    def from_json(cls, text: bytes | None) -> Self:
        """Read what `as_json` made; nothing is what a process has counted that has left nothing."""
        if text is None:
            return cls()
        read: dict[str, Any] = orjson.loads(text)
        return cls(
            Counter({tuple(series): number for series, number in read["counts"]}),
            {tuple(series): Histogram(counts, total) for series, counts, total in read["timings"]},
            {tuple(series): value for series, value in read["gauges"]},
            read["pid"],
            read["at"],
        )


def total(parts: Iterable[Figures]) -> Figures:
    """The counts and timings of several processes together."""
    together = Figures()
    for part in parts:
        together.add(part)
    return together
