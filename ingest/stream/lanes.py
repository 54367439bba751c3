"""The stream servers as one endpoint process writes to them: which of them takes the next batch.

Each has a breaker of its own, and the next batch goes to the one with the shortest wait: the batches that are on
their way there, times how long they have taken lately. Servers that are about equal have their turns, so that all
of them fill up alike; but one that is at work has the next batch too while it is quick, since to wake another one
costs both sides time. One that was slow is tried again after a while. With one server nothing is compared.
"""

import logging
import math
import time
from collections.abc import Callable, Collection, Iterator, Sequence

from ingest.errors import WriteUnconfirmed
from ingest.stream.appends import Stream
from ingest.stream.breaker import Breaker
from ingest.stream.writes import Write

log = logging.getLogger(__name__)

#: Seconds that a batch counts as taking, at least: below this, one server is as good as another.
LEAST = 0.001
#: Share that the last batch has in what they have taken lately.
WEIGHT = 0.2
#: Seconds after which what was measured counts half: a server that was slow is tried again.
HALF_LIFE = 2.0
#: How many times as long another server may take and still have its turn.
ALIKE = 2.0
#: Seconds for which a server that is at work has the next batch too, …
STAY = 0.1
#: … if that is safe there within so many seconds.
ENOUGH = 0.003
#: Seconds after which a write is late where another server could take what waits behind it, at least …
LATE = 0.02
#: … and how many times as long as writes there have taken lately.
LATE_TIMES = 4.0
#: Seconds that a batch counts as taking on a server that is behind: it is chosen where all of them are.
BEHIND = 3600.0


class Lane:
    """One server: how it is, and what is on its way there."""

    __slots__ = ("_measured_at", "_over_since", "_seconds", "breaker", "bytes", "is_behind", "last", "oldest",
                 "records", "stream", "wait", "writes")  # fmt: skip

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.breaker = Breaker()
        #: When the backlog began to use as much of this Redis as it may, in monotonic seconds.
        self._over_since: float | None = None
        #: Writes that are on their way, their records, and the bytes of these.
        self.writes = self.records = self.bytes = 0
        #: When the oldest of them began, or the one before it ended (monotonic seconds).
        self.oldest = 0.0
        #: Whether it let a batch wait for much longer than another server takes, and has answered nothing since.
        self.is_behind = False
        #: The turn in which it was chosen last.
        self.last = 0
        #: Seconds until a batch would have been safe there, when that was compared last.
        self.wait = 0.0
        self._seconds = self._measured_at = 0.0

    @property
    def takes(self) -> bool:
        """Whether batches go there."""
        return self.breaker.is_closed and self._over_since is None

    @property
    def is_over(self) -> bool:
        """Whether the backlog uses as much of it as it may: then it gets no more, though it serves."""
        return self._over_since is not None

    @is_over.setter
    def is_over(self, is_over: bool) -> None:
        self._over_since = (self._over_since or time.monotonic()) if is_over else None

    @property
    def away_for(self) -> float:
        """Seconds for which it has taken no calls; 0 while it does."""
        over_for = 0.0 if self._over_since is None else time.monotonic() - self._over_since
        return max(self.breaker.open_for, over_for)

    @property
    def state(self) -> str:
        """How it is, for reports: that of its breaker, `full`, `drained`, or `foreign` (another database's)."""
        if not self.breaker.is_closed and self.breaker.shown:
            return self.breaker.shown
        return "full" if self.is_over and self.breaker.is_closed else str(self.breaker.state)

    def usual(self, now: float) -> float:
        """Seconds that a batch takes lately; the older what was measured is, the less it counts."""
        return max(self._seconds / (1.0 + (now - self._measured_at) / HALF_LIFE), LEAST)

    def seconds_until_safe(self, now: float) -> float:
        """How long a batch may take that it gets now."""
        took = self.usual(now)
        if self.is_behind:
            return BEHIND
        if not self.writes:
            return took
        return (self.writes + 1) * (max(took, now - self.oldest) if self.is_late(now) else took)

    def is_late(self, now: float) -> bool:
        """Whether it leaves a write waiting for longer than it takes otherwise."""
        return self.is_behind or (self.writes > 0 and now - self.oldest > max(LATE, LATE_TIMES * self._seconds))

    def waits(self, now: float) -> bool:
        """Whether it is behind, or may be."""
        return self.is_behind or (self.writes > 0 and now - self.oldest >= LATE)

    def begin(self, write: Write) -> None:
        """A write goes there."""
        if not self.writes:
            self.oldest = write.began
        self.writes += 1
        self.records += write.count
        self.bytes += write.size

    def end(self, write: Write, confirmed: bool, measure: bool) -> None:
        """It has come to its end."""
        self.is_behind = False
        self.writes -= 1
        self.records -= write.count
        self.bytes -= write.size
        if measure:
            now = time.monotonic()
            self.oldest = now
            if confirmed:
                self._seconds += WEIGHT * (now - write.began - self._seconds)
                self._measured_at = now


class Lanes:
    """All of them, in the order of the setting."""

    def __init__(self, streams: Sequence[Stream]) -> None:
        self._all = tuple(Lane(stream) for stream in streams)
        self.are_several = len(self._all) > 1
        self._only = None if self.are_several else self._all[0]
        #: Called when a server has failed.
        self.on_trip: Callable[[], object] = lambda: None
        self._turn = 0
        #: The one that was chosen when all were compared last, and until when it may stay.
        self._before, self._stays_until = self._all[0], 0.0

    def __iter__(self) -> Iterator[Lane]:
        return iter(self._all)

    def __getitem__(self, number: int) -> Lane:
        return self._all[number]

    def __len__(self) -> int:
        return len(self._all)

    @property
    def any_takes(self) -> bool:
        """Whether there is one that takes batches."""
        if self._only is not None:
            return self._only.takes
        return any(lane.takes for lane in self._all)

    @property
    def away_for(self) -> float:
        """Seconds for which none has taken calls."""
        return min(lane.away_for for lane in self._all)

    @property
    def state(self) -> str:
        """Whether calls go to Redis, as a state of a breaker: that of the best of them."""
        first = next((lane for lane in self._all if lane.breaker.is_closed), self._all[0])
        return str(first.breaker.state)

    @property
    def states(self) -> dict[str, str]:
        """How each of several is, by name; empty with one."""
        return {lane.stream.name: lane.state for lane in self._all} if self.are_several else {}

    @property
    def why(self) -> str:
        """Why calls do not go to Redis, as was found last."""
        return max(self._all, key=lambda lane: not lane.breaker.is_closed).breaker.why

    def named(self, name: str) -> Lane | None:
        """The one of this name."""
        return next((lane for lane in self._all if lane.stream.name == name), None)

    def others_take(self, lane: Lane) -> bool:
        """Whether another one takes what this one does not."""
        if self._only is None:
            for one in self._all:
                if one is not lane and one.takes:
                    return True
        return False

    def trip(self, lane: Lane, error: WriteUnconfirmed) -> None:
        """A server failed: have calls go around it until it serves again."""
        if lane.breaker.is_closed:
            if self.others_take(lane):
                log.warning("calls go to the other stream servers, not to %s: %s", lane.stream.name, error)
            else:
                log.warning("calls go to the spool: %s", error)
        lane.breaker.trip(error)
        self.on_trip()

    def quickest(self, besides: Collection[Lane]) -> Lane | None:
        """The one with the shortest wait of those that take batches and let none wait; None if there is none."""
        now = time.monotonic()
        others = [lane for lane in self._all if lane.takes and not lane.waits(now) and lane not in besides]
        return min(others, key=lambda lane: lane.seconds_until_safe(now), default=None)

    def choose(self) -> Lane | None:
        """The one with the shortest wait, or the last one while that is at work and quick; None if none takes."""
        if self._only is not None:
            return self._only if self._only.takes else None
        now, shortest, chosen = time.monotonic(), math.inf, None
        before = self._before
        if before.writes and now < self._stays_until and before.takes and before.seconds_until_safe(now) <= ENOUGH:
            return before
        for lane in self._all:
            lane.wait = wait = lane.seconds_until_safe(now) if lane.takes else math.inf
            shortest = min(shortest, wait)
        bound = ALIKE * shortest
        for lane in self._all:
            if lane.wait <= bound and lane.wait < math.inf and (chosen is None or lane.last < chosen.last):
                chosen = lane
        if chosen is not None:
            self._turn += 1
            chosen.last = self._turn
            self._before, self._stays_until = chosen, now + STAY
        return chosen

    def on_their_way(self) -> tuple[int, int, int]:
        """Writes, their records and the bytes of these; of servers that are late only if all are.

        Where one hangs, nothing is to wait for it; but where the last one that takes batches takes its time, a
        write for each call would only have it take longer.
        """
        if self._only is not None:
            return self._only.writes, self._only.records, self._only.bytes
        now = time.monotonic()
        writes = records = size = 0
        for lane in self._all:  # asked several times for each write: nearly always, none can be late
            if lane.waits(now):
                return self._on_their_way_besides_late(now)
            writes += lane.writes
            records += lane.records
            size += lane.bytes
        return writes, records, size

    def _on_their_way_besides_late(self, now: float) -> tuple[int, int, int]:
        counted = [lane for lane in self._all if not lane.is_late(now)]
        if not any(lane.takes for lane in counted):
            counted = [lane for lane in self._all if lane.takes]
            counted = [lane for lane in counted if not lane.is_behind] or counted
        writes = records = size = 0
        for lane in counted:
            writes += lane.writes
            records += lane.records
            size += lane.bytes
        return writes, records, size

    @property
    def any_open(self) -> bool:
        """Whether a batch can be written somewhere without connecting first."""
        if self._only is not None:
            return self._only.stream.is_open
        return any(lane.takes and lane.stream.is_open for lane in self._all)

    @property
    def any_writes(self) -> bool:
        """Whether anything is on its way at all."""
        return any(lane.writes for lane in self._all)
