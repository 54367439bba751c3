"""What the jobs of a worker count, for its metrics port.

A job runs in a work-horse, a fork that ends with it. So it begins with what the jobs before it have left in the
slot of its worker, and leaves there what it has counted, now and then and at its end. A worker runs one job at a
time.
"""

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from ingest.copernica.event_types import EventType
from ingest.metrics.board import Board
from ingest.metrics.figures import Figures

#: Seconds between two times that figures are left while a job runs: what a kill may cost.
LEAVE_EVERY = 1.0
#: The slots of a worker on its board: of its jobs, and of a drain that runs beside them without RQ.
SLOT, BESIDE = 0, 1

_TYPES = frozenset(EventType)


class JobFigures:
    """The figures of the jobs of this process; `figures` is the only one, as they have one slot."""

    def __init__(self) -> None:
        #: Where jobs leave their figures; None: nowhere.
        self.board: Board | None = None
        #: Which of its slots is theirs.
        self._slot = SLOT
        #: Events that this process has stored.
        self.events_stored = 0
        self._figures = Figures()
        self._left_at = 0.0

    def leave_on(self, board: Board | None, slot: int = SLOT) -> None:
        """Where jobs leave their figures from now on."""
        self.board, self._slot = board, slot

    # --- what is counted ---

    def stored(self, types: Mapping[str, int]) -> None:
        """Events were stored, so many of each type."""
        for kind, number in types.items():
            name = kind if kind in _TYPES else EventType.UNKNOWN.value
            self._figures.count("ingest_events_stored_total", name, by=number)
            self.events_stored += number
        self.now_and_then()

    def doubles(self, number: int) -> None:
        """Calls were drained that were there already."""
        self._figures.count("ingest_doubles_total", by=number)

    def quarantined(self, reasons: Iterable[str]) -> None:
        """Calls went to quarantine, for these reasons."""
        for reason in reasons:
            self._figures.count("ingest_quarantined_total", reason)

    def committed(self, seconds: float) -> None:
        """The database took so long for a commit of drained calls."""
        self._figures.timing("ingest_store_seconds").observe(seconds)

    def handled(self, handler: str, outcome: str, calls: int = 1) -> None:
        """Calls came to an outcome at a handler."""
        self._figures.count("ingest_handler_calls_total", handler, outcome, by=calls)

    def called(self, handler: str, seconds: float) -> None:
        """A handler was called, and took so long."""
        self._figures.timing("ingest_handler_seconds", handler).observe(seconds)

    # --- the slot ---

    @contextmanager
    def job(self) -> Iterator[None]:
        """Around a job: count on from the jobs before it, and leave the figures at its end, however it ends."""
        if self.board is None:
            yield
            return
        self._figures = Figures.from_json(self.board.read(self._slot))
        try:
            yield
        finally:
            self.leave()

    def now_and_then(self) -> None:
        """Leave the figures if that was not done for a while."""
        if self.board is not None and time.monotonic() - self._left_at >= LEAVE_EVERY:
            self.leave()

    def leave(self) -> None:
        """Leave the figures, whatever becomes of that: no job fails for its figures' sake."""
        if self.board is None:
            return
        self._left_at = time.monotonic()
        self._figures.pid, self._figures.at = os.getpid(), time.time()
        self.board.write(self._slot, self._figures.as_json())


figures = JobFigures()


@contextmanager
def left_on(fd: int | None, slot: int = SLOT) -> Iterator[None]:
    """Work whose figures are left on the board with this descriptor, if there is one."""
    figures.leave_on(None if fd is None else Board(fd), slot)
    try:
        with figures.job():
            yield
    finally:
        figures.leave_on(None)
