"""Metrics as text, and the tables of their page."""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from ingest.metrics.board import Board
from ingest.metrics.catalogue import CATALOGUE, Kind, Metric, Port
from ingest.metrics.figures import Figures
from workers.metrics import figures

HEADINGS = {
    Port.ENDPOINT: "At the port of an endpoint: add them up",
    Port.WORKER: "At the port of a worker: add them up",
    Port.SHARED: "At every port, the same: take the highest",
    Port.OWN: "At every port: the processes behind it",
}
_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)


def samples(text: str) -> dict[str, float]:
    """What a port shows: each series as it is written, and its value."""
    return {
        name + (f"{{{labels}}}" if labels else ""): float(value) for name, labels, value in _SAMPLE.findall(text)
    }


def names(metrics: Iterable[Metric] = CATALOGUE) -> set[str]:
    """The names under which Prometheus stores these metrics."""
    found = set()
    for metric in metrics:
        parts = ("_bucket", "_sum", "_count") if metric.kind is Kind.HISTOGRAM else ("",)
        found |= {metric.name + part for part in parts}
    return found


def tables() -> str:
    """The tables of docs/metrics.md."""
    parts = []
    for port, heading in HEADINGS.items():
        rows = [
            f"| `{metric.name}` | {metric.kind} | {_quoted(metric.labels)} | {metric.help} |"
            for metric in CATALOGUE
            if metric.port is port
        ]
        parts.append(
            "\n".join([f"### {heading}", "", "| metric | type | labels | meaning |", "|---|---|---|---|", *rows])
        )
    return "\n\n".join(parts)


def _quoted(labels: Iterable[str]) -> str:
    return ", ".join(f"`{label}`" for label in labels)


@contextmanager
def counted_in_job() -> Iterator[Callable[[], Figures]]:
    """As in a job of a worker with a metrics port; says what has been left there."""
    board = Board.create(1)
    figures.leave_on(board)

    def left() -> Figures:
        figures.leave()
        return Figures.from_json(board.read(0))

    try:
        with figures.job():
            yield left
    finally:
        figures.leave_on(None)
        board.close()
