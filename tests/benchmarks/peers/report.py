"""What the comparison found: as JSON with every sample, and as a page for people."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

from tests.benchmarks.peers.endpoints import ENDPOINTS, Endpoint
from tests.benchmarks.peers.handlers import Called
from tests.benchmarks.peers.load import BUSY, Sent
from tests.benchmarks.peers.measure import SHARES, Condition, Sample
from tests.benchmarks.servers import OURS

INTRODUCTION = """\
# Beside others

`make bench-peers` made this page: it installs what it needs into `.peers/` and measures in turns, ours first.
Every endpoint is one process on one core and answers 200 when Redis has confirmed the call, but for those that
keep nothing. The load is on another core, and Redis {redis}. A rate is the greatest that
was answered; latencies are taken at {shares} of *our* greatest rate under the same condition (for the
endpoint that checks signatures: of its own), in ms from when a call was due. Where there is none, it could not
keep up with that rate. Figures are medians of the rounds, lowest and highest in brackets.
"""


@dataclass(slots=True)
class Report:
    """A whole run."""

    machine: Mapping[str, object]
    versions: Mapping[str, str]
    conditions: dict[str, object]
    samples: dict[Condition, dict[str, list[Sample]]] = field(default_factory=dict)
    #: By library, ours among them.
    called: dict[str, list[Called]] = field(default_factory=dict)
    #: Peers that could not be installed, and why.
    skipped: dict[str, str] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """As JSON."""
        content = {
            "machine": self.machine,
            "versions": self.versions,
            "conditions": self.conditions,
            "skipped": self.skipped,
            "endpoints": [
                {**asdict(condition), "name": name, "rounds": [_sample_json(each) for each in samples]}
                for condition, by_name in self.samples.items()
                for name, samples in by_name.items()
            ],
            "handlers": [
                {"name": name, "rounds": [each._asdict() for each in called]}
                for name, called in self.called.items()
            ],
        }
        path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")

    def page(self) -> str:
        """As Markdown."""
        shares = " and ".join(f"{share:.0%}" for share in SHARES)
        parts = [INTRODUCTION.format(redis=self.conditions["redis"], shares=shares)]
        parts.append(_facts(self.machine, self.versions, self.conditions))
        parts += [_skipped(self.skipped)] if self.skipped else []
        parts += [_endpoints(condition, by_name) for condition, by_name in self.samples.items()]
        if self.called:
            parts.append(_handlers(self.called))
        return "\n".join(parts)


def _sample_json(sample: Sample) -> dict[str, object]:
    return {
        "rate": round(sample.fastest.rate, 1),
        "fastest": asdict(sample.fastest),
        "server_cpu_us": round(sample.server_cpu, 2),
        "redis_cpu_us": round(sample.redis_cpu, 2),
        "paced": {str(share): {**asdict(sent), "kept_up": sent.kept_up} for share, sent in sample.paced.items()},
    }


def _facts(*groups: Mapping[str, object]) -> str:
    return "".join(", ".join(f"{name} {value}" for name, value in group.items()) + ".\n\n" for group in groups)


def _skipped(skipped: Mapping[str, str]) -> str:
    lines = "".join(f"- **{name}**: {why}\n" for name, why in skipped.items())
    return f"Not measured here:\n\n{lines}"


def _endpoints(condition: Condition, by_name: Mapping[str, Sequence[Sample]]) -> str:
    keeps: Mapping[str, Endpoint] = {endpoint.name: endpoint for endpoint in ENDPOINTS}
    ours = by_name.get(OURS)
    heads = ["endpoint", "keeps a call by", "calls/s", "of ours", "CPU, µs/call", "of Redis"]
    heads += [f"p50 / p99 / p99.9 at {share:.0%}" for share in SHARES]
    rows = []
    for name, samples in by_name.items():
        rate = _spread([sample.fastest.rate for sample in samples])
        if any(sample.fastest.sender_cpu > BUSY for sample in samples):
            rate = f"≥ {rate}"
        if failed := sum(sample.fastest.failed for sample in samples):
            rate += f", {failed:,} failed"
        ratio = _ratio(samples, ours) if ours else ""
        costs = [_spread([getattr(each, cost) for each in samples]) for cost in ("server_cpu", "redis_cpu")]
        waits = [_waits([sample.paced[share] for sample in samples]) for share in SHARES]
        rows.append([name, keeps[name].keeps, rate, ratio, *costs, *waits])
    return f"## {str(condition)[0].upper()}{str(condition)[1:]}\n\n{_table(heads, rows)}"


def _ratio(samples: Sequence[Sample], ours: Sequence[Sample]) -> str:
    ratios = [mine.fastest.rate / own.fastest.rate for mine, own in zip(samples, ours, strict=False)]
    return f"{median(ratios):.2f}"


def _waits(sent: Sequence[Sent]) -> str:
    if not all(each.kept_up for each in sent):
        return "-"
    values: list[Callable[[Sent], float]] = [lambda each: each.p50, lambda each: each.p99, lambda each: each.p999]
    return " / ".join(_figure(median(map(value, sent))) for value in values)


def _handlers(called: Mapping[str, Sequence[Called]]) -> str:
    ours = median(each.rate for each in called[OURS]) if OURS in called else None
    rows = [
        [
            name,
            _spread([each.rate for each in rounds]),
            f"{median(each.rate for each in rounds) / ours:.2f}" if ours else "",
            _spread([each.cpu for each in rounds]),
        ]
        for name, rounds in called.items()
    ]
    about = (
        "A function that does nothing, called for each job by one worker process on a core of its own; ours once\n"
        "for each event that waits in SQLite. Enqueuing and starting are not timed.\n\n"
    )
    return f"## Handlers\n\n{about}{_table(['library', 'calls/s', 'of ours', 'CPU, µs/call'], rows)}"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _spread(values: Sequence[float]) -> str:
    middle = _figure(median(values))
    return middle if len(values) == 1 else f"{middle} ({_figure(min(values))}-{_figure(max(values))})"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
