"""What alerts remember from one look to the next: what is wrong, since when, and what was told of it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple, Self

from workers.alerts.rising import Sample

#: Looks in a row that have to find something, or not, before that is told: restarts and short outages are no news.
STEADY = 2
#: Looks that are passed over at most until an alert that could not be delivered is tried again: about an hour.
MOST_PAUSE = 64


class Seen(NamedTuple):
    """Something that is wrong now: a sentence, and what was usual before, where that matters."""

    text: str
    usual: float | None = None


class News(NamedTuple):
    """Something to be told: a code, what is known of it, and whether it is over."""

    code: str
    trouble: "Trouble"
    is_over: bool


@dataclass(slots=True)
class Trouble:
    """Something that is wrong, or was a moment ago."""

    text: str
    #: Unix time in seconds of the look that found it first.
    since: float
    #: Looks in a row that found it, and since then those that did not.
    found: int = 1
    missed: int = 0
    told: bool = False
    #: Attempts to tell it that failed, and looks to pass over before the next.
    failures: int = 0
    pause: int = 0
    #: What was usual when it began.
    usual: float | None = None


@dataclass(slots=True)
class Memory:
    """What one look leaves for the next."""

    troubles: dict[str, Trouble] = field(default_factory=dict)
    refused: dict[str, float] | None = None
    refusals: list[Sample] = field(default_factory=list)
    dead: dict[str, float] | None = None
    dead_letters: list[Sample] = field(default_factory=list)

    @classmethod
    def read(cls, kept: Mapping[str, Any]) -> Self:
        """From what Redis keeps; what another release has written and cannot be read is forgotten."""
        try:
            return cls(
                troubles={code: Trouble(**one) for code, one in kept.get("troubles", {}).items()},
                refused=kept.get("refused"),
                refusals=[Sample(*one) for one in kept.get("refusals", [])],
                dead=kept.get("dead"),
                dead_letters=[Sample(*one) for one in kept.get("dead_letters", [])],
            )
        except (TypeError, AttributeError):
            return cls()

    def kept(self) -> dict[str, Any]:
        """As JSON, for `read`."""
        samples = {"refusals": self.refusals, "dead_letters": self.dead_letters}
        return asdict(self) | {name: [list(one) for one in some] for name, some in samples.items()}

    def update(self, found: Mapping[str, Seen], unknown: Iterable[str], now: float) -> None:
        """Note what a look at a Unix time found; of what is unknown, nothing changes."""
        for code, (text, usual) in found.items():
            if (trouble := self.troubles.get(code)) is None:
                self.troubles[str(code)] = Trouble(text, now, usual=usual)  # not the member of an enumeration
            else:
                trouble.text, trouble.missed = text, 0
                trouble.found += 1
        quiet = self.troubles.keys() - found.keys() - set(unknown)
        for code in quiet:
            trouble = self.troubles[code]
            trouble.missed += 1
            if not trouble.told:
                trouble.found = 0
                if trouble.missed >= STEADY:
                    del self.troubles[code]  # it came and went, and nobody was told

    def news(self) -> Iterator[News]:
        """What is to be told now; each is followed by a call of `told` or `failed`."""
        for code, trouble in list(self.troubles.items()):
            is_over = trouble.told and trouble.missed >= STEADY
            begins = not trouble.told and not trouble.missed and trouble.found >= STEADY
            if not (is_over or begins):
                continue
            if trouble.pause > 0:
                trouble.pause -= 1
            else:
                yield News(code, trouble, is_over)

    def failed(self, news: News) -> None:
        """Something could not be told: it is tried again, less and less often."""
        trouble = news.trouble
        trouble.failures += 1
        trouble.pause = min(2**trouble.failures, MOST_PAUSE) - 1

    def told(self, news: News) -> None:
        """Something was told."""
        trouble = news.trouble
        if news.is_over:
            del self.troubles[news.code]
        else:
            trouble.told, trouble.failures, trouble.pause = True, 0, 0

    def usual(self, code: str) -> float | None:
        """What was usual when something began that still lasts."""
        trouble = self.troubles.get(code)
        return trouble.usual if trouble else None
