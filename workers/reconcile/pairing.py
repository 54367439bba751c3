"""Rows of one message and the lines that they may be, where there are several: as many pairs as can be."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from workers.reconcile.basis import Basis, Columns, Key
from workers.reconcile.partitions import Row

#: Up to so many keys of one message the best pairing is looked for; beyond, a good one, which takes less time.
THOROUGH = 200


class Pairing:
    """Gives rows a place at the keys of lines, each of which has room for as many rows as it has lines left."""

    def __init__(
        self, basis: Basis, room: Mapping[Key, int], columns_of: Callable[[Key], Sequence[Columns]]
    ) -> None:
        """`columns_of` gives the address and link of each line of a key."""
        self._basis = basis
        self._columns_of = columns_of
        self._room: dict[Key, int] = {}
        self._rows: dict[Key, list[Row]] = {}
        self._by_second: defaultdict[int, list[Key]] = defaultdict(list)
        self._keys: list[Key] = []
        #: Keys that were full when somebody looked for a place.
        self._full: set[Key] = set()
        self.widen(room)

    def widen(self, room: Mapping[Key, int]) -> None:
        """Make more room."""
        for key, more in room.items():
            if not more:
                continue
            if key not in self._room:
                self._room[key] = 0
                self._rows[key] = []
            if key in self._full or not self._room[key]:  # among no candidates, or not any more
                self._full.discard(key)
                self._by_second[key[1]].append(key)
                self._keys.append(key)
            self._room[key] += more

    def place(self, rows: Iterable[Row]) -> list[Row]:
        """Give each row a place, for which others may have to move; returns those for which there is none."""
        return [row for row in rows if not self._place(row, set())]

    def placed(self) -> Iterable[tuple[Key, list[Row]]]:
        """The rows that have a place, by its key."""
        return self._rows.items()

    def _place(self, row: Row, tried: set[Key]) -> bool:
        if len(self._room) > THOROUGH:
            return self._place_anywhere(row)
        candidates = [key for key in self._fitting(row) if key not in tried]
        for key in candidates:
            if self._has_room(key):
                self._rows[key].append(row)
                return True
        for key in candidates:
            if key in tried:
                continue
            tried.add(key)
            rows = self._rows[key]
            for place, other in enumerate(rows):
                if self._place(other, tried):
                    rows[place] = row
                    return True
        return False

    def _place_anywhere(self, row: Row) -> bool:
        """Where there is room at once: no other row moves, and no place is better than another."""
        for keys in self._candidates(row):
            while keys and not self._has_room(keys[-1]):
                self._full.add(keys.pop())
            for key in reversed(keys):
                if self._fits(row, key) and self._has_room(key):
                    self._rows[key].append(row)
                    return True
        return False

    def _has_room(self, key: Key) -> bool:
        return len(self._rows[key]) < self._room[key]

    def _fitting(self, row: Row) -> list[Key]:
        """The keys whose lines a row may be, the likeliest first."""
        fitting = [key for keys in self._candidates(row) for key in keys if self._fits(row, key)]
        if len(fitting) > 1:
            columns = self._basis.columns(row)
            fitting.sort(key=lambda key: (self._contradicts(columns, key), not key[2], abs(row.second - key[1])))
        return fitting

    def _candidates(self, row: Row) -> Iterator[list[Key]]:
        """All keys that fit, and some that do not, in groups."""
        message, second, recipient = self._basis.key_of_row(row)
        if not row.timed:
            yield self._keys
            return
        moments = {second - difference for difference in self._basis.near}
        if row.recovered:  # perhaps while less was known of the clocks: its id has the time by that of the lines
            moments.add(int.from_bytes(row.delivery_id[:4], "big") + self._basis.offset)
        for moment in moments:
            if recipient:
                yield [key for who in (recipient, 0) if (key := (message, moment, who)) in self._room]
            elif moment in self._by_second:
                yield self._by_second[moment]

    def _fits(self, row: Row, key: Key) -> bool:
        return not (row.recipient and self._basis.recipient and key[2]) or row.recipient == key[2]

    def _contradicts(self, columns: Columns, key: Key) -> bool:
        return not any(agree(columns, others) for others in self._columns_of(key))


def agree(one: Columns, other: Columns) -> bool:
    """Whether two addresses and two links are the same, as far as both sides tell them."""
    return all(not mine or not yours or mine == yours for mine, yours in zip(one, other, strict=True))
