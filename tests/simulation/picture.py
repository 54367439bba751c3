"""A run as a picture: SVG, readable on a light and on a dark page."""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

#: The picture, a panel of it, and what is left free around one, in pixels.
WIDTH, PANEL, LEFT, RIGHT, TOP, GAP = 860, 150, 90, 34, 34, 46
INK, LINE, AWAY = "#6b7280", "#2f6fde", "#d9770622"
FONT = 'font-family="system-ui, sans-serif" font-size="13"'


@dataclass(frozen=True, slots=True)
class Panel:
    """A curve: its title, with the unit, and values at the moments of the run."""

    title: str
    values: Sequence[float]


def drawn(title: str, minutes: Sequence[float], panels: Sequence[Panel], away: tuple[float, float]) -> str:
    """All panels below each other; the time in which the database was away is shaded."""
    height = TOP + len(panels) * (PANEL + GAP)
    ends, room = max(minutes), WIDTH - LEFT - RIGHT

    def x(minute: float) -> float:
        return LEFT + room * minute / ends

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{escape(title)}">',
        f'<text x="{LEFT}" y="18" {FONT} font-weight="600" fill="{INK}">{escape(title)}</text>',
    ]
    for number, panel in enumerate(panels):
        top = TOP + 10 + number * (PANEL + GAP)
        most = max(panel.values) or 1.0
        points = " ".join(
            f"{x(minute):.1f},{top + PANEL * (1 - value / most):.1f}"
            for minute, value in zip(minutes, panel.values, strict=True)
        )
        parts += [
            f'<rect x="{x(away[0]):.1f}" y="{top}" width="{x(away[1]) - x(away[0]):.1f}" height="{PANEL}" '
            f'fill="{AWAY}"/>',
            f'<path d="M{LEFT},{top}V{top + PANEL}H{WIDTH - RIGHT}" fill="none" stroke="{INK}"/>',
            f'<polyline points="{points}" fill="none" stroke="{LINE}" stroke-width="2"/>',
            f'<text x="{LEFT - 8}" y="{top + 5}" {FONT} text-anchor="end" fill="{INK}">{_number(most)}</text>',
            f'<text x="{LEFT - 8}" y="{top + PANEL}" {FONT} text-anchor="end" fill="{INK}">0</text>',
            f'<text x="{LEFT + 8}" y="{top + 16}" {FONT} fill="{INK}">{escape(panel.title)}</text>',
        ]
        parts += [
            f'<text x="{x(minute):.0f}" y="{top + PANEL + 17}" {FONT} text-anchor="middle" fill="{INK}">'
            f"{minute:.0f} min</text>"
            for minute in range(0, int(ends) + 1, 30)
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
