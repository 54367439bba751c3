"""The events of one type of a mailing in an hour, in figures."""

import json
import zlib
from array import array
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress
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
REASONS, LINKS, TAGS, CLIENTS, DEVICES = LISTS = ("reasons", "links", "tags", "clients", "devices")
#: Those of whose entries is also known of how many messages they are.
CUTS = (TAGS, DEVICES)
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
    #: The hashes of the messages whose events have the same entries in one of the `CUTS`: of a message with many
    #: tags, its hash is here once, not once for each.
    cuts: "dict[tuple[str, tuple[str, ...]], array[int]]" = field(default_factory=dict)

    def cut(self, name: str, entries: tuple[str, ...], message: int) -> None:
        """Note that a message has these entries in one of the `CUTS`; of very many kinds, rare ones go."""
        if not entries:
            return
        if (hashes := self.cuts.get((name, entries))) is None:
            hashes = self.cuts[name, entries] = array("q")
            if len(self.cuts) > MOST_HELD:
                kept = sorted(self.cuts, key=lambda one: len(self.cuts[one]), reverse=True)[: MOST_HELD // 2]
                self.cuts = {one: self.cuts[one] for one in kept} | {(name, entries): hashes}
        hashes.append(message)

    def count(self, name: str, entry: str, number: int = 1) -> None:
        """Count an entry of one of the `LISTS`."""
        if entry:
            if (tops := self.tops.get(name)) is None:
                tops = self.tops[name] = Tops()
            tops.add(entry, number)

    def row(self, key: Key, mailing: int, changes: int) -> Row:
        """A row of `mailing_parts`."""
        tops = {name: tops.most() for name, tops in sorted(self.tops.items())}
        messages = packed(self.messages)
        cuts = self._masks(tops, unpacked(messages))
        texts = (json.dumps(each, ensure_ascii=False) for each in (tops, cuts))
        return (*key, mailing, changes, self.number, messages, *texts)

    def _masks(self, tops: Mapping[str, Mapping[str, int]], messages: "array[int]") -> "Cuts":
        """Of each entry that is kept, which of the messages have it."""
        having: dict[tuple[str, str], set[int]] = {}
        for (name, entries), hashes in self.cuts.items():
            for entry in entries:
                if entry in tops.get(name, ()):
                    having.setdefault((name, entry), set()).update(hashes)
        masks: Cuts = {name: {} for name in CUTS}
        for (name, entry), hashes_of in sorted(having.items()):
            masks[name][entry] = None if len(hashes_of) == len(messages) else _mask(hashes_of, messages)
        return masks


#: By the name of one of the `CUTS` and by entry, which messages of a part have it; None: all.
Cuts = dict[str, dict[str, str | None]]


def _mask(having: set[int], messages: Sequence[int]) -> str:
    """A byte for each message, compressed: of most entries either few or nearly all have it."""
    return b64encode(zlib.compress(bytes(map(having.__contains__, messages)))).decode()


def having(messages: "array[int]", masks: Mapping[str, str | None], entry: str) -> "array[int]":
    """The messages of a part that have an entry: all of them, in the array itself, or some."""
    if entry not in masks:
        return array("q")
    if (mask := masks[entry]) is None:
        return messages
    return array("q", compress(messages, zlib.decompress(b64decode(mask))))


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
