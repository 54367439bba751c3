"""Which lines of a log file are in the store already: both sides compared as multisets.

Neither side names an event, so it is known by its natural key: type, message, second, recipient, and address and
link where both sides have them. Two equal events in one second are both real; hence multisets.

    lines ─▶ divided by message ─┐
                                 ├─▶ part by part: `measure` the clocks once, then `match` each part
    rows  ─▶ divided by message ─┘

A day can have millions of events. So both sides are written to disk as small records, in parts that each hold
all events of their messages, and only one part at a time is in memory.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from workers.reconcile.partitions import PARTS, Line, Partitions, Row, delivery_id

#: Pairs of a line and a row, each the only one of its message and recipient, from which the clocks are compared.
ENOUGH_PAIRS = 5000
#: Fewer pairs than this say nothing about an offset unless they all agree, and then there must be some.
MIN_PAIRS, MIN_UNANIMOUS = 20, 3
#: Largest credible offset between the two clocks, in seconds: what time zones can differ by.
MAX_OFFSET = 15 * 3600
#: Up to so many keys of one message the best pairing is looked for; beyond, a good one, which takes less time.
THOROUGH = 200

#: What two events must share to be the same: message, second, recipient, address, link; 0 stands for none.
Key = tuple[int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class Basis:
    """What lines and rows are compared by, as measured on those that are certainly the same event.

    `offset` is by how many seconds the rows' clock is ahead of the lines'. `ip` and `url` say whether both sides
    write these alike; what they write differently cannot be compared.
    """

    offset: int = 0
    pairs: int = 0
    ip: bool = True
    url: bool = True

    def of_line(self, line: Line) -> Key:
        """The key of a line, by the rows' clock."""
        ip, url = line.ip if self.ip else 0, line.url if self.url else 0
        return line.message, line.second + self.offset, line.recipient, ip, url

    def of_row(self, row: Row) -> Key:
        """The key of a row."""
        return row.message, row.second, row.recipient, row.ip if self.ip else 0, row.url if self.url else 0


@dataclass(slots=True)
class Verdict:
    """The outcome of a comparison: `missing` are (number, occurrence) of lines whose event the store lacks.

    `superseded` are delivery ids of events that were recovered before their own calls arrived after all.
    """

    found: int = 0
    only_in_store: int = 0
    missing: list[tuple[int, int]] = field(default_factory=list)
    superseded: list[bytes] = field(default_factory=list)


T = TypeVar("T", Line, Row)


def measure(lines: Partitions, rows: Partitions) -> Basis:
    """Compare the clocks, and how both sides write addresses and links.

    Looks at lines and rows that are each the only one of their message and recipient.
    """
    pairs: list[tuple[Line, Row]] = []
    for part in range(PARTS):
        alone = _alone(map(Line._make, lines.part(part)))
        timed = (row for row in map(Row._make, rows.part(part)) if row.timed and not row.recovered)
        pairs += [(alone[who], row) for who, row in _alone(timed).items() if who in alone]
        if len(pairs) >= ENOUGH_PAIRS:
            break
    offset = _offset(Counter(row.second - line.second for line, row in pairs))
    same = [(line, row) for line, row in pairs if row.second - line.second == offset]
    return Basis(
        offset,
        len(same),
        _alike([(line.ip, row.ip) for line, row in same]),
        _alike([(line.url, row.url) for line, row in same]),
    )


def _alone(seen: Iterable[T]) -> dict[tuple[int, int], T]:
    """Those that are the only ones of their message and recipient."""
    latest: dict[tuple[int, int], T] = {}
    repeated = set()
    for event in seen:
        who = event.message, event.recipient
        if who in latest:
            repeated.add(who)
        latest[who] = event
    return {who: event for who, event in latest.items() if who not in repeated and all(who)}


def _offset(differences: Counter[int]) -> int:
    """The difference that most pairs agree on; 0 if none is certain."""
    if not differences:
        return 0
    offset, agreeing = differences.most_common(1)[0]
    pairs = differences.total()
    sure = agreeing * 2 > pairs if pairs >= MIN_PAIRS else agreeing == pairs >= MIN_UNANIMOUS
    return offset if sure and abs(offset) <= MAX_OFFSET else 0


def _alike(values: list[tuple[int, int]]) -> bool:
    """Whether both sides write a value alike, where both have it; too few to tell means yes."""
    both = [one == other for one, other in values if one and other]
    return len(both) < MIN_PAIRS or sum(both) * 2 > len(both)


def match(lines: Iterable[Line], rows: Iterable[Row], basis: Basis, day: range) -> Verdict:
    """Find out which lines are in the store, and which rows no line accounts for.

    `day` are the seconds that the lines are of, by the rows' clock. Calls account for lines first; then events
    that were recovered earlier do, and those beyond what is needed are superseded.
    """
    verdict = Verdict()
    part = _Part(basis)
    for line in lines:
        part.take(line)
    unmatched: list[Row] = []
    recovered: dict[bytes, Row] = {}
    for row in rows:
        if row.recovered:
            recovered[row.delivery_id] = row
        elif row.timed and part.account(basis.of_row(row)):
            verdict.found += 1
        else:
            unmatched.append(row)
    unaccounted = part.account_loosely(unmatched)
    verdict.found += len(unmatched) - len(unaccounted)
    part.account_recovered(recovered, verdict)
    for row in (*unaccounted, *recovered.values()):
        # An event that was recovered while other settings gave the line another time.
        if row.recovered and part.account(basis.of_row(row)):
            verdict.found += 1
        elif row.second in day:
            verdict.only_in_store += 1
    part.collect_missing(verdict)
    return verdict


class _Part:
    """The lines of one part by their keys, and how many of each are not accounted for yet."""

    def __init__(self, basis: Basis) -> None:
        self._basis = basis
        self._lines: dict[Key, list[tuple[Line, int]]] = {}
        self._left: dict[Key, int] = {}
        self._occurrences: Counter[bytes] = Counter()
        #: Numbers of the lines whose event was recovered earlier.
        self._recovered: set[int] = set()

    def take(self, line: Line) -> None:
        key = self._basis.of_line(line)
        self._lines.setdefault(key, []).append((line, self._occurrences[line.digest]))
        self._occurrences[line.digest] += 1
        self._left[key] = self._left.get(key, 0) + 1

    def account(self, key: Key) -> bool:
        """Let an event of the store account for one line of exactly this key."""
        if not self._left.get(key):
            return False
        self._left[key] -= 1
        return True

    def account_loosely(self, rows: list[Row]) -> list[Row]:
        """The same for rows that lack a value, or meet a line that lacks one; returns those that fit no line."""
        by_message: dict[int, list[Row]] = defaultdict(list)
        for row in rows:
            by_message[row.message].append(row)
        open_keys: dict[int, list[Key]] = defaultdict(list)
        for key, left in self._left.items():
            if left and key[0] in by_message:
                open_keys[key[0]].append(key)
        unplaced: list[Row] = []
        for message, rows_of_message in by_message.items():
            pairing = _Pairing(self._basis, open_keys[message], self._left)
            unplaced += [row for row in rows_of_message if not pairing.place(row)]
            for key, number in pairing.used():
                self._left[key] -= number
        return unplaced

    def account_recovered(self, recovered: dict[bytes, Row], verdict: Verdict) -> None:
        """Find events that earlier runs made from these very lines, and remove them from `recovered`."""
        if not recovered:
            return
        messages = {row.message for row in recovered.values()}
        for key, lines in self._lines.items():
            if key[0] not in messages:
                continue
            ids = [(delivery_id(line.second, line.digest, occurrence), line) for line, occurrence in lines]
            known = [(id_, line) for id_, line in ids if recovered.pop(id_, None)]
            self._recovered |= {line.number for _, line in known}
            needed = min(self._left[key], len(known))
            self._left[key] -= needed
            verdict.found += needed
            verdict.superseded += [id_ for id_, _ in known[needed:]]

    def collect_missing(self, verdict: Verdict) -> None:
        """Add the lines that nothing has accounted for."""
        for key, left in self._left.items():
            if left:
                candidates = [(line, n) for line, n in self._lines[key] if line.number not in self._recovered]
                verdict.missing += [(line.number, occurrence) for line, occurrence in candidates[:left]]


class _Pairing:
    """Rows of one message and the open lines they may be: as many pairs as there can be."""

    def __init__(self, basis: Basis, keys: list[Key], left: dict[Key, int]) -> None:
        self._basis = basis
        self._keys = keys
        self._left = left
        self._held: dict[Key, list[Row]] = {}

    def used(self) -> Iterator[tuple[Key, int]]:
        """How many rows each key was given."""
        return ((key, len(rows)) for key, rows in self._held.items())

    def place(self, row: Row, tried: set[Key] | None = None) -> bool:
        """Give a row a line; a row that has one already may have to move to another."""
        tried = set() if tried is None else tried
        candidates = [key for key in self._keys if key not in tried and self._fits(row, key)]
        for key in candidates:
            held = self._held.setdefault(key, [])
            if len(held) < self._left[key]:
                held.append(row)
                return True
        for key in candidates if len(self._keys) <= THOROUGH else ():
            tried.add(key)
            held = self._held[key]
            for place, other in enumerate(held):
                if self.place(other, tried):
                    held[place] = row
                    return True
        return False

    def _fits(self, row: Row, key: Key) -> bool:
        message, second, *rest = self._basis.of_row(row)
        if message != key[0] or (row.timed and second != key[1]):
            return False
        return all(not one or not other or one == other for one, other in zip(rest, key[2:], strict=True))
