"""What one endpoint process surely took, as a value with two clocks: it does nothing itself.

Periods are kept by the clock of the machine since its start, which never jumps, and told by that of Redis, whose
distance from the other is measured anew each time. So when the time of day jumps, the beginning of the period that
goes on stays or becomes earlier, and its end is right by the new time.
"""

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from ingest.endpoint.losses import Losses
from ingest.endpoint.under_way import UnderWay
from ingest.stream.coverage import ANSWERED_503, COVERED, FROZEN, SPOOL_DAMAGED, STOPPED, Statement
from ingest.stream.uptime import up

#: Seconds between two ticks. A killed process leaves three of them unsure, and what it had not answered.
TICK = 0.5
#: Seconds without a tick after which the process counts as away: suspended with its machine, stopped, or starved.
#: Until then, calls wait in the system, and their senders for an answer.
STANDSTILL = 10.0
#: Standstills that wait to be told of; of more, the earliest go.
MOST_PIECES = 20
#: Seconds that the answer of Redis with its time may have taken for it to count, once it is known roughly.
PROMPT = 0.5

MICROS = 1_000_000


class _Piece(NamedTuple):
    """A period of coverage by the clock of the machine."""

    number: int
    since: int
    through: int
    ended: str | None = None


class Measured(NamedTuple):
    """The time by Redis' clock, and by the machine's right before and after it was asked."""

    redis: int
    before: int
    after: int

    @property
    def late(self) -> int:
        """What makes Redis' time of the machine's, at most."""
        return self.redis - self.before

    @property
    def early(self) -> int:
        """The same, at least."""
        return self.redis - self.after


class EndpointCoverage:
    """The periods of one process, from `start` to `end`."""

    def __init__(
        self,
        name: str,
        under_way: UnderWay,
        losses: Losses,
        boot: str | None = None,
        clock: Callable[[], int] = up,
        wall: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        """`name` is that of no other process; `clock` is in µs since the machine's start, `wall` since 1970."""
        self._name = name
        self._boot = boot
        self._under_way = under_way
        self._losses = losses
        self._clock = clock
        self._wall = wall
        #: The period that goes on, in one piece for who reads it in another thread.
        self._current: _Piece | None = None
        #: Those before it that nobody was told of.
        self._earlier: tuple[_Piece, ...] = ()
        self._ticked = 0
        self._stopped_at: int | None = None
        #: What makes Redis' time of the machine's, at most and at least; None before it was asked.
        self._late: int | None = None
        self._early: int | None = None
        #: When the period that goes on began, as it was told first.
        self._told_since: dict[str, int] = {}
        self._damages: tuple[tuple[int, int], ...] = ()
        self._damaged = 0

    # --- what happens, told in the event loop ---

    def start(self) -> None:
        """Calls are taken from now on."""
        now = self._ticked = self._clock()
        self._under_way.tick(now)
        self._current = _Piece(1, now, now)

    def tick(self) -> None:
        """The event loop goes round; to be called every `TICK` seconds."""
        now, last = self._clock(), self._ticked
        self._ticked = now
        current = self._current
        if current is None or self._stopped_at is not None:
            return
        sure = max(current.through, self._under_way.tick(now))
        if now - last > STANDSTILL * MICROS:
            # What had come in before may have been answered only now, to nobody.
            self._earlier = (*self._earlier, current._replace(ended=FROZEN))[-MOST_PIECES:]
            self._current = _Piece(current.number + 1, now, now)
        else:
            self._current = current._replace(through=min(sure, now))

    def stop(self) -> None:
        """No new calls are taken from now on."""
        self.tick()
        self._stopped_at = self._clock()

    def end(self) -> None:
        """Everything was answered that will be."""
        if self._current is None or self._stopped_at is None:
            return
        pending = self._under_way.count
        sure = self._under_way.tick(self._clock()) if pending else self._stopped_at
        through = max(self._current.through, min(sure, self._stopped_at))
        self._current = self._current._replace(through=through, ended=STOPPED)

    def damaged(self, since: int, through: int) -> None:
        """Calls that the spool kept in a period (µs since 1970) were lost there."""
        to_up = self._clock() - self._wall()
        self._damages = (*self._damages, (since + to_up, through + to_up))[-MOST_PIECES:]
        self._damaged += 1

    # --- what is told, also in another thread ---

    def measured(self, clocks: Measured) -> None:
        """The time by Redis' clock."""
        known = self._late is not None and self._early is not None
        if known and clocks.after - clocks.before > PROMPT * MICROS and self._agrees(clocks):
            return
        self._late, self._early = clocks.late, clocks.early

    def _agrees(self, clocks: Measured) -> bool:
        """Whether a measurement allows what is known already."""
        return self._early is not None and clocks.early <= self._early <= clocks.late

    def statements(self) -> list[Statement]:
        """What there is to tell. Before Redis was asked for its time, that is taken from the clock of the day."""
        now = self._clock()
        guess = self._wall() - now
        late = guess if self._late is None else self._late
        early = guess if self._early is None else self._early
        told = [*self._of_pieces(late, early), *self._of_losses(early, late)]
        return [one._replace(at=now + early, up_at=now) for one in told]

    def _of_pieces(self, late: int, early: int) -> Iterator[Statement]:
        for piece in (*self._earlier, self._current):
            if piece is None:
                continue
            name = f"{self._name}/{piece.number}"
            since = min(piece.since + late, self._told_since.get(name, piece.since + late))
            through = max(since + 1, piece.through + early)
            yield Statement(
                name, COVERED, since, through, piece.since, piece.through, self._boot, piece.ended
            )  # fmt: skip  # the order of its fields

    def _of_losses(self, early: int, late: int) -> Iterator[Statement]:
        for lost in list(self._losses.periods):
            yield Statement(
                f"{self._name}/503/{lost.number}", ANSWERED_503, lost.since + early, lost.through + late,
                lost.since, lost.through, self._boot, calls=lost.calls,
            )  # fmt: skip
        for number, (since, through) in enumerate(self._damages, self._damaged - len(self._damages)):
            yield Statement(
                f"{self._name}/spool/{number}", SPOOL_DAMAGED, since + early, through + late, since, through,
                self._boot,
            )  # fmt: skip

    def told(self, statements: list[Statement]) -> None:
        """Redis has these: what cannot change any more need not be told again. In the event loop."""
        names = {one.name for one in statements}
        self._told_since = {one.name: one.since for one in statements if one.kind == COVERED and not one.ended}
        self._earlier = tuple(one for one in self._earlier if f"{self._name}/{one.number}" not in names)
        numbers = [int(one.name.rpartition("/")[2]) for one in statements if one.kind == ANSWERED_503]
        self._losses.told(max(numbers, default=0))
        first = self._damaged - len(self._damages)
        self._damages = tuple(
            one for number, one in enumerate(self._damages, first) if f"{self._name}/spool/{number}" not in names
        )
