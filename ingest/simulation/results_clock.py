"""The clock of results: in which time zone they are told, and what a period that is asked for means."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Literal, NamedTuple

from ingest.simulation.api_answers import Refused

#: Whether a period contains its own first and last moment: "after" and "before" are all that is documented.
Edges = Literal["()", "[)", "(]", "[]"]
#: How far clocks may go back, in seconds: nowhere has it been more than this.
HOURS_BACK = 3 * 3600
#: The largest number that a database knows.
MAX_NUMBER = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Manner:
    """How results are told, where Copernica's articles leave it open."""

    #: The time zone of timestamps and of the periods asked for, and by how many seconds their clock is ahead.
    zone: tzinfo = UTC
    offset: int = 0
    edges: Edges = "()"
    #: Whether numbers come as strings.
    strings: bool = False
    #: Seconds after which a result of an event, or a message, can be seen.
    late: float = 0.0
    newest_first: bool = False

    def written(self, second: int) -> str:
        """A moment, in Unix seconds, as this clock writes it."""
        shown = datetime.fromtimestamp(second, self.zone).replace(tzinfo=None)
        return (shown + timedelta(seconds=self.offset)).isoformat(" ")

    def wall(self, second: int) -> int:
        """What this clock shows, as if it were in UTC."""
        return int(datetime.fromtimestamp(second, self.zone).replace(tzinfo=UTC).timestamp()) + self.offset


def number(text: str) -> int:
    """A number in digits that was sent; any that is too large for a database is the largest that is not."""
    return min(int(text), MAX_NUMBER) if len(text) < len(str(MAX_NUMBER)) + 1 else MAX_NUMBER


class Condition(NamedTuple):
    """A condition of a query, such as `t.second > ?`, and its value."""

    text: str
    value: Any


def between(manner: Manner, begin: str | None, end: str | None) -> list[Condition]:
    """Conditions for what happened in a period.

    Raises:
        Refused: one of these is no time.
    """
    first, last = manner.edges
    found = compared(manner, ">=" if first == "[" else ">", begin) if begin else []
    return found + (compared(manner, "<=" if last == "]" else "<", end) if end else [])


def compared(manner: Manner, sign: str, text: str) -> list[Condition]:
    """Conditions for what happened before or after a time; where clocks go back, what they show is compared.

    Raises:
        Refused: it is no time.
    """
    try:
        wall = datetime.fromisoformat(text).replace(tzinfo=None) - timedelta(seconds=manner.offset)
        moments = [int(wall.replace(tzinfo=manner.zone, fold=fold).timestamp()) for fold in (0, 1)]
    except (ValueError, OverflowError, OSError):
        raise Refused(f"Invalid time {text}") from None
    if moments[0] == moments[1]:
        return [Condition(f"t.second {sign} ?", moments[0])]
    shown = int(wall.replace(tzinfo=UTC).timestamp()) + manner.offset
    rough = [Condition("t.second >= ?", min(moments) - HOURS_BACK)] if ">" in sign or sign == "=" else []
    rough += [Condition("t.second <= ?", max(moments) + HOURS_BACK)] if "<" in sign or sign == "=" else []
    return [*rough, Condition(f"wall(t.second) {sign} ?", shown)]


def filters(manner: Manner, texts: list[str]) -> list[Condition]:
    """Conditions in the Publisher's form: `timestamp>2026-11-20 09:00:00`, `id<=7`.

    Raises:
        Refused: one of them is none.
    """
    found: list[Condition] = []
    for text in texts:
        sign = next((sign for sign in (">=", "<=", "==", ">", "<", "=") if sign in text), "")
        name, _, value = (part.strip() for part in text.partition(sign)) if sign else (text, "", "")
        sign = "=" if sign == "==" else sign
        if name == "timestamp" and sign:
            found += compared(manner, sign, value)
        elif name == "id" and sign and value.isdecimal():
            found.append(Condition(f"t.id {sign} ?", number(value)))
        else:
            raise Refused(f"Invalid field {text}")
    return found
