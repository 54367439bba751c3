"""The picture of `ingest stats`: a bar per hour or day, of letters and in colours by type."""

import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from rich.text import Text

from ingest.cli.render.console import Console, dump, width

#: How a type is drawn: its letter, which tells it apart without colours, and its colour. In this order.
LOOKS = {
    "delivery": ("d", "blue"),
    "open": ("o", "green"),
    "click": ("c", "cyan"),
    "failure": ("f", "yellow"),
    "bounce": ("b", "red"),
    "abuse": ("a", "magenta"),
    "unsubscribe": ("u", "bright_magenta"),
    "profile-create": ("P", "white"),
    "profile-update": ("p", "white"),
    "profile-delete": ("x", "white"),
    "subprofile-create": ("S", "white"),
    "subprofile-update": ("s", "white"),
    "subprofile-delete": ("y", "white"),
    "attempt": ("t", "bright_black"),
    "bot-click": ("k", "bright_cyan"),
    "retry": ("r", "bright_yellow"),
    "dmarc": ("m", "bright_blue"),
    "response": ("e", "bright_green"),
}
#: How all others are drawn.
OTHER = ("?", "white")
#: The shortest bar in characters, however narrow the terminal.
MIN_WIDTH = 10
#: Rows without events in between are drawn up to this many; a longer silence is said in words.
MAX_SILENCE = 48

STEPS = {"hour": timedelta(hours=1), "day": timedelta(days=1)}
FORMATS = {"hour": "%Y-%m-%d %H", "day": "%Y-%m-%d"}


def show(counted: Sequence[tuple[str, str, int]], by: str, zone: ZoneInfo, as_json: bool) -> None:
    """Draw how many events of which type there were in which period of a zone; as JSON, of UTC."""
    if not as_json:
        counted, zone = _in_zone(counted, by, zone)
    periods: dict[str, dict[str, int]] = defaultdict(dict)
    for period, kind, number in counted:
        periods[period][kind] = periods[period].get(kind, 0) + number
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
    longest = max(MIN_WIDTH, width() - label - digits - 4)
    for period in _without_gaps(list(periods), by):
        counts = periods.get(period, {})
        line = Text(f"{period}{':00' if by == 'hour' and not period.startswith('…') else ''}".ljust(label) + "  ")
        line.append_text(_bar(counts, longest / max(totals.values())))
        line.append(f" {sum(counts.values()):,}" if counts else "")
        line.rstrip()
        console.print(line, soft_wrap=True)
    for line in _legend(periods.values()):
        console.print(line, soft_wrap=True)
    console.print(f"{by}s in {zone.key}")


def _in_zone(
    counted: Sequence[tuple[str, str, int]], by: str, zone: ZoneInfo
) -> tuple[Sequence[tuple[str, str, int]], ZoneInfo]:
    """Numbers by the hour or day of a zone, whose hours must be those of UTC; else by those of UTC."""
    moments = {
        period: datetime.strptime(period, FORMATS["hour"]).replace(tzinfo=UTC).astimezone(zone)
        for period in ({period for period, _, _ in counted} if zone.key != "UTC" else ())
    }
    if zone.key == "UTC" or any(moment.minute for moment in moments.values()):
        length = len(datetime.now(UTC).strftime(FORMATS[by]))
        return [(period[:length], kind, number) for period, kind, number in counted], ZoneInfo("UTC")
    return [(moments[period].strftime(FORMATS[by]), kind, number) for period, kind, number in counted], zone


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
        bar.append_text(_drawn(kind, end - drawn))
        drawn = end
    return bar if drawn or not counts else _drawn(max(counts, key=counts.__getitem__), 1)


def _drawn(kind: str, length: int) -> Text:
    letter, colour = LOOKS.get(kind, OTHER)
    return Text(letter * length, style=f"reverse {colour}")


def _legend(periods: Iterable[dict[str, int]]) -> Iterator[Text]:
    """What each letter means and how many there are, in lines that fit."""
    sums: dict[str, int] = defaultdict(int)
    for counts in periods:
        for kind, number in counts.items():
            sums[kind] += number
    line = Text()
    for kind in sorted(sums, key=_place):
        part = Text.assemble(_drawn(kind, 1), f" {kind} {sums[kind]:,}   ")
        if line and len(line) + len(part) > width():
            line.rstrip()
            yield line
            line = Text()
        line.append_text(part)
    line.rstrip()
    yield line


def _place(kind: str) -> tuple[int, str]:
    order = list(LOOKS)
    return (order.index(kind) if kind in order else len(order)), kind
