"""Rates, spans of time and sizes: as people type them, and as they are shown."""

import re
from types import MappingProxyType

#: Events per second that can be planned for: beyond, no figure that was measured says anything.
MOST_RATE = 10_000_000
#: The smallest rate: an event a day. Less than that is a mistake in typing.
LEAST_RATE = 1 / 86400
#: Seconds of the longest outage: after a month, Copernica's log files are gone as well.
LONGEST = 31 * 86400
#: Bytes of the largest size that is taken for a disk or a memory: an exabyte.
MOST_BYTES = 10**18

_NUMBER = r"[0-9]{1,18}(?:\.[0-9]{1,18})?(?:e[+]?[0-9]{1,3})?|[0-9]{1,3}(?:,[0-9]{3})+"
_RATE = re.compile(
    rf"({_NUMBER})\s*(k|m|thousand|million)?\s*(?:(?:/|per)\s*(s|sec|second|min|minute|h|hour|d|day))?"
)
_TIMES = MappingProxyType({None: 1, "k": 1000, "thousand": 1000, "m": 1_000_000, "million": 1_000_000})
_PER = MappingProxyType({None: 1, "s": 1, "m": 60, "h": 3600, "d": 86400})
_SPANS = re.compile(r"(?:[0-9]{1,9}(?:s|m|min|h|d|w))+")
_SPAN = re.compile(r"([0-9]+)(s|min|m|h|d|w)")
_SECONDS = MappingProxyType({"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800})
_SIZE = re.compile(rf"({_NUMBER})\s*([kmgtp]?)(i?)b?")
_POWERS = "kmgtp"
#: A point that parts thousands in much of Europe: 100.000 is a hundred, or a hundred thousand.
_AMBIGUOUS = re.compile(r"[0-9]{1,3}(?:\.[0-9]{3})+")


def rate(text: str) -> float:
    """Events per second: `5000`, `100k`, `100k/s`, `2.5M`, `100,000/s`, `50M/day`.

    Raises:
        ValueError: it is none, or not one that can be planned for; the text says what to write.
    """
    typed = text.strip()
    word = typed.lower()
    if word.startswith("-"):
        raise ValueError(f"{typed!r} is less than nothing: write events per second, such as 5000 or 100k")
    if _AMBIGUOUS.match(word) and not word.startswith("0"):
        raise ValueError(f"{typed!r} may be a hundred or a hundred thousand: write 100000, 100k or 0.1k")
    if (found := _RATE.fullmatch(word)) is None:
        raise ValueError(f"{typed!r} is no rate: write events per second, such as 5000, 100k or 50M/day")
    number, times, per = found.groups()
    value = float(number.replace(",", "")) * _TIMES[times] / _PER[per[:1] if per else None]
    if value == 0:
        raise ValueError("nothing comes in at a rate of 0: write how many events come per second, such as 5000")
    if not LEAST_RATE <= value <= MOST_RATE:
        raise ValueError(f"{typed!r} is not between one event per day and {MOST_RATE:,} per second")
    return value


def span(text: str) -> float:
    """Seconds: `90s`, `15m`, `1h`, `1h30m`, `2d`; `0` is none.

    Raises:
        ValueError: it is no span of time, or too long; the text says what to write.
    """
    typed = text.strip()
    word = typed.lower()
    if word.startswith("-"):
        raise ValueError(f"{typed!r} is less than nothing: write 15m, 1h or 2d")
    if word in ("0", "none"):
        return 0.0
    if not _SPANS.fullmatch(word):
        raise ValueError(f"{typed!r} is no span of time: write 15m, 1h or 2d")
    seconds = float(sum(int(number) * _SECONDS[unit] for number, unit in _SPAN.findall(word)))
    if seconds > LONGEST:
        raise ValueError(
            f"{typed!r} is more than {LONGEST // 86400} days: what lasts so long has to be had back from "
            "Copernica's log files"
        )
    return seconds


def size(text: str) -> float:
    """Bytes: `500GB`, `64GiB`, `2T`.

    Raises:
        ValueError: it is no size, or none that exists; the text says what to write.
    """
    typed = text.strip()
    found = _SIZE.fullmatch(typed.lower())
    if found is None:
        raise ValueError(f"{typed!r} is no size: write 64GiB, 500GB or 2TB")
    number, unit, binary = found.groups()
    base = 1024.0 if binary else 1000.0
    value = float(number.replace(",", "")) * base ** (_POWERS.index(unit) + 1 if unit else 0)
    if not 1 <= value <= MOST_BYTES:
        raise ValueError(f"{typed!r} is not between a byte and an exabyte: write 64GiB, 500GB or 2TB")
    return value


def shown_rate(value: float) -> str:
    """Events per second as they are shown: `100,000/s`, `0.5/s`."""
    return f"{value:,.0f}/s" if value >= 10 else f"{value:.3g}/s"


def shown_size(value: float) -> str:
    """Bytes as they are shown, in powers of ten, as disks are sold: `83 B`, `30 GB`, `1.2 TB`."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 999.5:
            return f"{value:.0f} {unit}" if value >= 9.95 or unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:,.1f} PB" if value < 100 else f"{value:,.0f} PB"


def shown_span(seconds: float) -> str:
    """So much time: `40 s`, `15 min`, `2.5 h`, `12 days`, `3 years`."""
    for least, unit in ((2 * 365 * 86400, "years"), (2 * 86400, "days"), (2 * 3600, "h"), (120, "min")):
        if seconds >= least:
            of_one = {"years": 365 * 86400, "days": 86400, "h": 3600, "min": 60}[unit]
            number = seconds / of_one
            return f"{number:,.0f} {unit}" if number >= 10 or number == round(number) else f"{number:.1f} {unit}"
    return f"{seconds:.3g} s"
