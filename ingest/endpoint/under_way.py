"""The calls that are being checked and kept, by when they came in: what tells up to when all are answered."""

from collections import deque


class Cohort:
    """Calls that came in between two ticks."""

    __slots__ = ("before", "pending")

    def __init__(self, before: int) -> None:
        """`before`: the tick before the one that this began with, in µs."""
        self.before = before
        #: Those that have no answer yet.
        self.pending = 0


class UnderWay:
    """The calls of one process that have no answer yet."""

    def __init__(self) -> None:
        #: The cohort that calls of now belong to; whoever takes one counts it, and later counts it off again.
        self.current = Cohort(0)
        self._older: deque[Cohort] = deque()
        self._ticked = 0

    @property
    def count(self) -> int:
        """How many they are."""
        return self.current.pending + sum(cohort.pending for cohort in self._older)

    def tick(self, now: int) -> int:
        """Begin a cohort (µs); returns a time up to which every call is answered that had come in.

        That is a tick earlier than the counts say: between two ticks the event loop has gone round and read what
        had arrived by the first of them.
        """
        last, self._ticked = self._ticked, now
        if self.current.pending:
            self._older.append(self.current)
        self.current = Cohort(last)
        while self._older and not self._older[0].pending:
            self._older.popleft()
        return self._older[0].before if self._older else last
