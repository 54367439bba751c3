"""The picture of `ingest stats`: a bar per hour or day, in colours by type."""

import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta

from rich.text import Text

from ingest.cli.render.console import Console, dump

#: One colour per type; those that are not listed share the last.
COLOURS = {
    "delivery": "blue",
    "open": "green",
    "click": "cyan",
    "failure": "yellow",
    "bounce": "red",
    "abuse": "magenta",
    "unsubscribe": "bright_magenta",
}
OTHER = "white"
#: The shortest bar in characters, however narrow the terminal.
MIN_WIDTH = 10
#: Rows without events in between are drawn up to this many; a longer silence is said in words.
MAX_SILENCE = 48

STEPS = {"hour": timedelta(hours=1), "day": timedelta(days=1)}
FORMATS = {"hour": "%Y-%m-%d %H", "day": "%Y-%m-%d"}


def show(counted: Sequence[tuple[str, str, int]], by: str, as_json: bool) -> None:
    """Draw how many events of which type there were in which period."""
    periods: dict[str, dict[str, int]] = defaultdict(dict)
    for period, kind, number in counted:
        periods[period][kind] = number
    if as_json:
        sys.stdout.write(dump([{"period": p, "counts": c} for p, c in periods.items()]) + "\n")
        return
    console = Console(highlight=False)
    if not periods:
        console.print("No events in that time.")
        return
    totals = {period: sum(counts.values()) for period, counts in periods.items()}
    digits = len(f"{max(totals.values()):,}")
    label = len(next(iter(periods))) + (3 if by == "hour" else 0)
    width = max(MIN_WIDTH, console.width - label - digits - 5)
    for period in _without_gaps(list(periods), by):
        counts = periods.get(period, {})
        line = Text(f"{period}{':00' if by == 'hour' and not period.startswith('…') else ''}".ljust(label) + "  ")
        line.append_text(_bar(counts, width / max(totals.values())))
        line.append(f" {sum(counts.values()):,}" if counts else "")
        console.print(line, soft_wrap=True)
    console.print(_legend(periods.values()), soft_wrap=True)


def _without_gaps(periods: list[str], by: str) -> Iterator[str]:
    """All periods from the first to the last, empty ones too."""
    for this, following in zip(periods, [*periods[1:], None], strict=True):
        yield this
        if following is None:
            return
        moment, end = (datetime.strptime(text, FORMATS[by]) for text in (this, following))
        missing = (end - moment) // STEPS[by] - 1
        if missing > MAX_SILENCE:
            yield f"… {missing:,} {by}s without events"
            continue
        for number in range(1, missing + 1):
            yield (moment + number * STEPS[by]).strftime(FORMATS[by])


def _bar(counts: dict[str, int], scale: float) -> Text:
    """A bar whose parts add up to its length, however they are rounded."""
    bar, before, drawn = Text(), 0, 0
    for kind in sorted(counts, key=_place):
        before += counts[kind]
        end = max(drawn, round(before * scale))
        bar.append("█" * (end - drawn), style=COLOURS.get(kind, OTHER))
        drawn = end
    return bar if drawn or not counts else Text("▏", style=COLOURS.get(max(counts, key=counts.__getitem__), OTHER))


def _legend(periods: Iterable[dict[str, int]]) -> Text:
    sums: dict[str, int] = defaultdict(int)
    for counts in periods:
        for kind, number in counts.items():
            sums[kind] += number
    legend = Text()
    for kind in sorted(sums, key=_place):
        legend.append("█", style=COLOURS.get(kind, OTHER)).append(f" {kind} {sums[kind]:,}   ")
    return legend


def _place(kind: str) -> tuple[int, str]:
    order = list(COLOURS)
    return (order.index(kind) if kind in order else len(order)), kind
