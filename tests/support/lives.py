"""Lives of endpoint processes with an injected clock: what they say of what they took, and what really was."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from ingest.endpoint.coverage import STANDSTILL, TICK, EndpointCoverage, Measured
from ingest.endpoint.losses import Losses
from ingest.endpoint.under_way import Cohort, UnderWay
from ingest.stream.coverage import Statement
from workers.gaps.coverage import Covered, merged, settled
from workers.gaps.finding import absences
from workers.gaps.gap import Cut
from workers.gaps.intervals import Interval, union, without

SECOND = 1_000_000
#: When the lives begin, in µs since 1970.
EPOCH = 1_795_165_200 * SECOND
STEP = int(TICK * SECOND)
#: Steps between two rounds of an endpoint's maintenance, and of the worker that looks for gaps.
MAINTENANCE, LOOK = 6, 60


@dataclass
class Life:
    """One process."""

    machine: int
    began: int
    coverage: EndpointCoverage
    under_way: UnderWay
    #: What it has noted in the folder of its machine.
    note: list[Statement] = field(default_factory=list)
    stuck: list[Cohort] = field(default_factory=list)


class World:
    """Machines, a Redis and a worker. Time passes in steps; nothing else does anything by itself."""

    def __init__(self, machines: int = 2) -> None:
        self.now = EPOCH
        #: What the clock of all is wrong by.
        self.wrong = 0
        self.wrongs = {0}
        self.redis: dict[str, Statement] = {}
        self.redis_serves = True
        self.lives: list[Life] = []
        #: Machines that are suspended, and since when.
        self.asleep: dict[int, int] = {}
        #: What dead processes have noted in the folder of each machine.
        self.left: list[list[Statement]] = [[] for _ in range(machines)]
        #: When endpoints really took calls.
        self.taken: list[Interval] = []
        self.rows: list[Covered] = []
        self.gaps: list[Cut] = []
        self._born = 0
        self._steps = 0

    @property
    def clock(self) -> int:
        return self.now + self.wrong

    def up(self) -> int:
        return self.now - EPOCH + 3600 * SECOND

    def start(self, machine: int) -> None:
        if machine in self.asleep or len(self.lives) >= 4:
            return
        self._born += 1
        under_way = UnderWay()
        losses = Losses(self.up)
        coverage = EndpointCoverage(
            f"web:{self._born}", under_way, losses, f"boot {machine}", self.up, lambda: self.clock
        )
        coverage.start()
        life = Life(machine, self.now, coverage, under_way)
        self.lives.append(life)
        self._tell(life)

    def stop(self, life: Life) -> None:
        life.coverage.stop()
        life.coverage.end()
        self._tell(life)
        if not self.redis_serves:
            self.left[life.machine] += life.coverage.statements()
        self._gone(life)

    def kill(self, life: Life) -> None:
        self.left[life.machine] += life.note
        self._gone(life)

    def _gone(self, life: Life) -> None:
        self.lives.remove(life)
        if life.machine not in self.asleep:
            self.taken.append((life.began, max(self.now, life.began + 1)))

    def sleep(self, machine: int) -> None:
        if machine not in self.asleep:
            self.taken += [(life.began, max(self.now, life.began + 1)) for life in self._of(machine)]
            self.asleep[machine] = self.now

    def wake(self, machine: int) -> None:
        if machine not in self.asleep:
            return
        since = self.asleep.pop(machine)
        for life in self._of(machine):
            # A short while is none: calls wait that long.
            life.began = since if self.now + STEP - since <= STANDSTILL * SECOND else self.now
        self.pass_time(TICK)

    def _of(self, machine: int) -> list[Life]:
        return [life for life in self.lives if life.machine == machine]

    def jump(self, seconds: int) -> None:
        """The clock of all is set."""
        self.wrong += seconds * SECOND
        self.wrongs.add(self.wrong)

    def flush(self) -> None:
        self.redis.clear()

    def hang(self, life: Life) -> None:
        """A call comes in that gets no answer for now."""
        life.stuck.append(life.under_way.current)
        life.under_way.current.pending += 1

    def answer(self, life: Life) -> None:
        for cohort in life.stuck:
            cohort.pending -= 1
        life.stuck.clear()

    def pass_time(self, seconds: float) -> None:
        for _ in range(int(seconds / TICK)):
            self.now += STEP
            self._steps += 1
            for life in self.lives:
                if life.machine not in self.asleep:
                    life.coverage.tick()
                    if self._steps % MAINTENANCE == 0:
                        self._tell(life)
                    life.note = life.coverage.statements()
            if self._steps % LOOK == 0:
                self.look()

    def _tell(self, life: Life) -> None:
        if not self.redis_serves:
            return
        for one in self.left[life.machine]:
            self.redis[one.name] = one._replace(is_found=True)
        self.left[life.machine].clear()
        life.coverage.measured(Measured(self.clock, self.up(), self.up()))
        said = life.coverage.statements()
        self.redis |= {one.name: one for one in said}
        life.coverage.told(said)

    def look(self) -> None:
        """A worker looks for gaps."""
        if self.redis_serves:
            said = list(self.redis.values())
            self.rows = merged(self.rows, said, self.clock)
            self.gaps = absences(self.rows, self.gaps, self.clock)
            self.rows = settled(self.rows, self.clock)

    # --- what came of it ---

    def untaken(self) -> list[Interval]:
        """When no endpoint took calls, since the first one did."""
        going_on = [(life.began, self.now) for life in self.lives if life.machine not in self.asleep]
        taken = union([*self.taken, *going_on])
        return without([(taken[0][0], self.now)], taken) if taken else []

    def found(self) -> list[Interval]:
        """The gaps that were found, by the clock of all."""
        return [(gap.since, self.clock if gap.until is None else gap.until) for gap in self.gaps]


def length(intervals: Iterable[Interval]) -> float:
    """Seconds in all."""
    return sum(until - since for since, until in union(intervals)) / SECOND
