"""What the lines of a log file and the events of the store are compared by, measured on the events themselves.

Two clocks may differ, by a time zone, by a change to or from summer time in the middle of the day, or because one
side rounds. And a column may hold something else on each side: the link's number in the one, its address in the
other. So nothing is assumed. A line and an event that are each the only one of their message and recipient are
taken for the same, and such pairs show what both sides write alike.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from workers.reconcile.partitions import PARTS, Line, Partitions, Row
from workers.store.late_calls import MAX_OFFSET, MAX_SPREAD

#: Pairs from which the two sides are compared; more would not tell more.
ENOUGH_PAIRS = 5000
#: Fewer pairs than this prove nothing unless they all agree, and then there must be some.
MIN_PAIRS, MIN_UNANIMOUS = 20, 3
#: Seconds between two differences of the clocks that have one cause.
CLUSTER_GAP = 2
#: Of all pairs, the part that has to agree on a second offset (summer time), and on any at all.
MIN_SHARE, MIN_EXPLAINED = 0.02, 0.9

#: What two events must share to be the same: message, second, recipient; 0 stands for none.
Key = tuple[int, int, int]
#: What tells apart events of one key: address and link; 0 stands for none.
Columns = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Basis:
    """What lines and rows are compared by.

    `offset` is by how many seconds the rows' clock is ahead of most lines'; `near` are the differences from that
    at which a row can still be a line's: just 0 where all pairs agree. `ip`, `url` and `recipient` say whether
    both sides write these alike; what they write differently is not compared.
    """

    offset: int = 0
    pairs: int = 0
    ip: bool = True
    url: bool = True
    recipient: bool = True
    near: frozenset[int] = frozenset({0})

    @property
    def exact(self) -> bool:
        """Whether the clocks differ by no more than the offset."""
        return len(self.near) == 1

    @property
    def reach(self) -> int:
        """Most seconds that a row can be away from its line."""
        return max(abs(self.offset + difference) for difference in self.near)

    def key_of_row(self, row: Row) -> Key:
        """The key of a row; that of a line has its second by the rows' clock."""
        return row.message, row.second, row.recipient if self.recipient else 0

    def columns(self, event: Line | Row) -> Columns:
        """What else is compared of a line or a row."""
        return event.ip if self.ip else 0, event.url if self.url else 0


T = TypeVar("T", Line, Row)


def measure(lines: Partitions, rows: Partitions) -> Basis:
    """Compare how both sides write times, addresses, links and recipients."""
    pairs = _pairs(lines, rows, by_recipient=True)
    # None at all? Then perhaps recipients are written differently, or one side does not tell them.
    pairs = pairs or _pairs(lines, rows, by_recipient=False)
    offset, near = clocks(Counter(row.second - line.second for line, row in pairs))
    same = [(line, row) for line, row in pairs if row.second - line.second - offset in near]
    return Basis(
        offset,
        len(same),
        _alike((line.ip, row.ip) for line, row in same),
        _alike((line.url, row.url) for line, row in same),
        not _surely_different((line.recipient, row.recipient) for line, row in same),
        near,
    )


def _pairs(lines: Partitions, rows: Partitions, by_recipient: bool) -> list[tuple[Line, Row]]:
    pairs: list[tuple[Line, Row]] = []
    for part in range(PARTS):
        timed = (row for row in map(Row._make, rows.part(part)) if row.timed and not row.recovered)
        lone_rows = _lone(timed, by_recipient)
        lone_lines = _lone(map(Line._make, lines.part(part)), by_recipient) if lone_rows else {}
        pairs += [(lone_lines[who], row) for who, row in lone_rows.items() if who in lone_lines]
        if len(pairs) >= ENOUGH_PAIRS:
            break
    return pairs


def _lone(events: Iterable[T], by_recipient: bool) -> dict[tuple[int, int], T]:
    """Those that are the only ones of their message and recipient, or of their message."""
    latest: dict[tuple[int, int], T] = {}
    repeated = set()
    for event in events:
        who = event.message, event.recipient if by_recipient else 1
        if who in latest:
            repeated.add(who)
        latest[who] = event
    return {who: event for who, event in latest.items() if who not in repeated and all(who)}


def clocks(differences: Counter[int]) -> tuple[int, frozenset[int]]:
    """The difference of most pairs, and all that can be trusted, counted from it; 0 and just that if none can."""
    uncertain = 0, frozenset({0})
    total = differences.total()
    if total < MIN_UNANIMOUS:
        return uncertain
    least = max(MIN_UNANIMOUS, total * MIN_SHARE)
    clusters = [cluster for cluster in _clusters(differences) if cluster.total() >= least]
    explained = sum(cluster.total() for cluster in clusters)
    if explained < (total * MIN_EXPLAINED if total >= MIN_PAIRS else total):
        offset, agreeing = differences.most_common(1)[0]
        sure = total >= MIN_PAIRS and agreeing * 2 > total and abs(offset) <= MAX_OFFSET
        return (offset, uncertain[1]) if sure else uncertain
    largest = max(clusters, key=Counter.total)
    offset = max(largest, key=lambda difference: (largest[difference], -abs(difference)))
    trusted = (range(min(cluster), max(cluster) + 1) for cluster in clusters)
    return offset, frozenset(difference - offset for cluster in trusted for difference in cluster)


def _clusters(differences: Counter[int]) -> list[Counter[int]]:
    """The credible differences, divided where they are far apart; those that vary too much left out."""
    clusters: list[Counter[int]] = []
    latest = None
    for difference in sorted(differences):
        if abs(difference) > MAX_OFFSET:
            continue
        if latest is None or difference - latest > CLUSTER_GAP:
            clusters.append(Counter())
        clusters[-1][difference] = differences[difference]
        latest = difference
    return [cluster for cluster in clusters if max(cluster) - min(cluster) <= MAX_SPREAD]


def _alike(values: Iterable[tuple[int, int]]) -> bool:
    """Whether both sides write a value alike, however few there are to judge by.

    Without any, nothing is known: then a value that a line and a row of one key share is evidence enough.
    """
    both = [one == other for one, other in values if one and other]
    return not both or sum(both) * 2 > len(both)


def _surely_different(values: Iterable[tuple[int, int]]) -> bool:
    """Whether both sides write a value differently, without exception: a key is given up on no less."""
    both = [one == other for one, other in values if one and other]
    return len(both) >= MIN_UNANIMOUS and not any(both)
