"""What became of simulated calls."""

from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple


class Latency(NamedTuple):
    """How long acknowledged calls took, in seconds: half of them, and 99 % of them, took no longer than this."""

    p50: float
    p99: float
    max: float


@dataclass(slots=True)
class Report:
    """What became of the calls, counted while they are sent."""

    sent: int = 0
    #: Forged calls among those sent, and what became of them.
    forged: int = 0
    forged_refused: int = 0
    forged_taken: int = 0
    #: Genuine calls answered 200.
    acknowledged: int = 0
    #: Genuine calls by any other status.
    refused: Counter[int] = field(default_factory=Counter)
    #: Calls without an answer.
    lost: int = 0
    #: Duration of the whole run.
    seconds: float = 0.0
    #: Seconds that each acknowledged call took.
    latencies: "array[float]" = field(default_factory=lambda: array("d"))

    @property
    def complete(self) -> bool:
        """Whether every genuine call was acknowledged and every forged one refused."""
        return self.sent - self.forged == self.acknowledged and self.forged == self.forged_refused

    @property
    def rate(self) -> float:
        """Acknowledged calls per second."""
        return self.acknowledged / self.seconds if self.seconds else 0.0

    @property
    def latency(self) -> Latency:
        """A summary of the latencies."""
        ordered = sorted(self.latencies)
        return Latency(percentile(ordered, 0.5), percentile(ordered, 0.99), percentile(ordered, 1.0))

    def as_dict(self) -> dict[str, object]:
        """The report as JSON for a script; latencies in milliseconds."""
        return {
            "sent": self.sent,
            "acknowledged": self.acknowledged,
            "forged": self.forged,
            "forged_refused": self.forged_refused,
            "forged_taken": self.forged_taken,
            "refused": {str(status): number for status, number in sorted(self.refused.items())},
            "lost_connections": self.lost,
            "seconds": round(self.seconds, 3),
            "rate": round(self.rate, 1),
            "latency_ms": {name: round(value * 1000, 2) for name, value in self.latency._asdict().items()},
        }


def percentile(ordered: list[float], share: float) -> float:
    """The value below which that share of the values lies; 0.0 if there are none."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
