"""Whether a job of this worker met tables of another release.

A worker that goes on after that takes jobs off the queues and does nothing in them, while workers of the right
release wait for those jobs. Jobs run in processes that the worker forks, so what they note is in memory that they
share with it.
"""

import mmap


class Noted:
    """A note that a process leaves to the one that forked it."""

    __slots__ = ("_memory",)

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 1)

    def __bool__(self) -> bool:
        return bool(self._memory[0])

    def note(self) -> None:
        """What it stands for has happened; for `noted`, tables of another release were met."""
        self._memory[0] = 1

    def forget(self) -> None:
        """Look anew."""
        self._memory[0] = 0


noted = Noted()
