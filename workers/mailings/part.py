"""The events of one type of a mailing in an hour, in figures."""

import json
from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from ingest.copernica.event_types import EventType
from workers.store.backend import Row

#: What figures are made of; the other types say nothing of a mailing.
KINDS = (
    EventType.DELIVERY,
    EventType.OPEN,
    EventType.CLICK,
    EventType.UNSUBSCRIBE,
    EventType.ABUSE,
    EventType.BOUNCE,
    EventType.FAILURE,
)
#: Lists of what is most frequent.
REASONS, LINKS, TAGS, CLIENTS = LISTS = ("reasons", "links", "tags", "clients")
#: Entries of a list that a part keeps, and that are kept while it is made: far more than anybody
#: reads, so that what is frequent in all is among those of each hour.
MOST_KEPT, MOST_HELD = 100, 20_000


class Key(NamedTuple):
    """Which events: `owner` is the mailing that they name, -1 if none; `hour` as in `event_counts`."""

    owner: int
    hour: str
    type: str


class Tops:
    """Counts what occurs most, in bounded memory: of very many different ones, rare ones are forgotten."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def add(self, name: str, number: int = 1) -> None:
        """Count one; an empty name stands for nothing."""
        if name:
            self.counts[name] += number
            if len(self.counts) > MOST_HELD:
                self.counts = Counter(dict(self.counts.most_common(MOST_HELD // 2)))

    def most(self, number: int = MOST_KEPT) -> dict[str, int]:
        """The most frequent, in order; those that are as frequent, by their names."""
        return dict(sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))[:number])


@dataclass(slots=True)
class Part:
    """What is known of the events of a key that are of one mailing."""

    number: int = 0
    #: A hash of the message of each event, as often as it occurs.
    messages: "array[int]" = field(default_factory=lambda: array("q"))
    tops: dict[str, Tops] = field(default_factory=dict)

    def count(self, name: str, entry: str, number: int = 1) -> None:
        """Count an entry of one of the `LISTS`."""
        if entry:
            if (tops := self.tops.get(name)) is None:
                tops = self.tops[name] = Tops()
            tops.add(entry, number)

    def row(self, key: Key, mailing: int, changes: int) -> Row:
        """A row of `mailing_parts`."""
        tops = {name: tops.most() for name, tops in sorted(self.tops.items())}
        return (*key, mailing, changes, self.number, packed(self.messages), json.dumps(tops, ensure_ascii=False))


def packed(hashes: Iterable[int]) -> bytes:
    """Each of these once, sorted, eight bytes each in the order of this kind of machine.

    Hashes are as good as random: there is nothing to compress.
    """
    made = array("q", sorted(set(hashes)))
    return made.tobytes()


def unpacked(data: bytes) -> "array[int]":
    """The same again."""
    made = array("q")
    made.frombytes(data)
    return made
