"""Notes for people on what was read: of many that are alike, the first few, and how many more there are."""

import re

#: Notes that are kept of each kind, and kinds: a file that is damaged throughout would give a million.
ALIKE, KINDS = 4, 10

#: What differs between notes of one kind: numbers, and what is quoted.
_DETAILS = re.compile(r"'(?:[^'\\]|\\.)*'|[0-9]+")


class Notes(list[str]):
    """Notes as they are shown and kept."""

    def __init__(self, given: "list[str] | tuple[str, ...]" = ()) -> None:
        super().__init__(given)
        #: By kind, how many there were, and the place of what tells of those that are left out.
        self._kinds: dict[str, tuple[int, int | None]] = {}

    def add(self, text: str) -> None:
        """Add one, or count it among those like it."""
        kind = _DETAILS.sub("…", text)
        if kind not in self._kinds and len(self._kinds) >= KINDS:
            kind = ""
        number, place = self._kinds.get(kind, (0, None))
        number += 1
        if kind and number <= ALIKE:
            self.append(text)
        elif place is None:
            place = len(self)
            self.append("")
        if place is not None:
            more = number - ALIKE if kind else number
            reason = f": {kind.rpartition(': ')[2]}" if kind else " of other kinds."
            self[place] = f"… and {more:,} more{reason}"
        self._kinds[kind] = number, place
