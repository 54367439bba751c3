"""What will happen: everything that a seed decides, decided before anything is started.

A plan is a pure function of its seed and length, so that a run that failed can be made again. What the machine
adds (which process gets the next connection, how long an fsync takes) cannot be planned, but the blows fall at the
same moments on the same parts.
"""

import random
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from ingest.failpoints import POINTS

#: Seconds of load before the first fault and after the last one ends.
QUIET = 1.5
#: Seconds from one fault to the next, on average: less than most of them last, so that they overlap.
GAP = 1.8
#: Bytes that are the limit of the backlog or of the spool in some runs: some ten seconds' load.
SMALL = 1024 * 1024
#: Seconds of silence from which on it is another kind of fault.
LONG = 13.0
#: What the proxies stand between.
WIRES = ("endpoint-redis", "worker-redis", "worker-postgres", "worker-mariadb")
#: The stream servers beside that of the queues, where there are several; and the wires to them.
BESIDE = ("redis-2", "redis-3")
WIRES_BESIDE = tuple(f"{kind}-{name}" for kind in ("endpoint", "worker") for name in BESIDE)
#: Machines of a run that has several; each has an endpoint, a stream server and a worker, the last the database.
MACHINES = ("one", "two", "three")
#: The links between them.
LINKS = ("one-two", "one-three", "two-three")
#: How a link may be: see `tests.chaos.network`. Cut, it may be cut in one direction only, from the first or to it.
LINK_WEATHER = ("cut", "cut", "cut there", "cut back", "slow", "lossy", "very lossy", "late")
#: How a wire misbehaves, see `tests.chaos.proxy`.
MISCHIEF = ("delay", "slow", "lossy", "cut", "swallow replies", "swallow requests", "half-close", "refuse", "deaf")
#: Faults that shift a clock.
CLOCKS = ("clock", "month")
#: What a process can be made to do at a fail point, and how often that is drawn.
ACTIONS = {"kill": 5, "raise": 3, "stop": 1, "sleep:0.5": 2, "sleep:8": 1}


@dataclass(frozen=True, slots=True)
class Setup:
    """The installation that the faults are done to, and the load on it."""

    database: str
    #: With signatures calls can be told apart when they are sent again, so then some are.
    signed: bool
    #: Calls per second, and connections that they come over at first.
    rate: int
    connections: int
    spool: bool
    #: Bytes of backlog in Redis and in the spool; 0: whatever the program's own default is.
    buffer_max: int
    spool_max: int
    handlers: bool
    #: Whether what was not taken is recovered in the end.
    recovers: bool
    #: Stream servers.
    streams: int = 1
    #: Machines, with a network of their own between them.
    machines: int = 1


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong, so many seconds after the load began and for so long."""

    at: float
    kind: str
    target: str
    lasts: float
    #: Which one, where there are several of the kind: from 0 to 1, the first to the last.
    pick: float = 0.0
    how: str = ""

    @property
    def ends(self) -> float:
        """Seconds after the beginning of the load."""
        return self.at + self.lasts

    def __str__(self) -> str:
        how = f" ({self.how})" if self.how else ""
        return f"{self.at:6.2f} s  {self.target}: {self.kind}{how}, for {self.lasts:.2f} s"


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole run."""

    seed: int
    seconds: float
    setup: Setup
    faults: tuple[Fault, ...]

    @property
    def small_disks(self) -> set[str]:
        """What is kept on disks that can be filled."""
        return {fault.target for fault in self.faults if fault.kind == "disk full"}

    @property
    def shifted_clocks(self) -> set[str]:
        """Whose clock will be changed."""
        return {fault.target for fault in self.faults if fault.kind in CLOCKS}

    @property
    def has_replica(self) -> bool:
        """Whether there is a second server that the first may fail over to."""
        return any(fault.kind == "fail over" for fault in self.faults)

    def as_dict(self) -> dict[str, Any]:
        """For a file."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault: what it may strike, how often it is drawn, and how long it lasts."""

    name: str
    targets: tuple[str, ...]
    weight: int
    lasts: tuple[float, float]
    how: Callable[[random.Random], str] = lambda _chance: ""
    #: Whether it belongs to a short run that has to be over soon.
    mild: bool = False


def _clock(chance: random.Random) -> str:
    """Seconds by which a clock is off: a little, an hour of summer time, or more than any signature may be old."""
    return f"{chance.choice((-1, 1)) * chance.choice((2, 30, 250, 400, 3600))}"


def _month(chance: random.Random) -> str:
    """Seconds by which a clock is ahead in a later month, which has a partition of its own, or has none yet."""
    return f"{chance.choice((1, 1, 14)) * 31 * 86_400}"


def _fail_at(first: str, last: str, least: int, most: int) -> Callable[[random.Random], str]:
    """One to three of the fail points from `first` to `last`, at the `least` to `most`-th time they are passed."""
    points = POINTS[POINTS.index(first) : POINTS.index(last) + 1]

    def drawn(chance: random.Random) -> str:
        chosen = chance.sample(points, chance.choice((1, 1, 2, 3)))
        actions = chance.choices(list(ACTIONS), list(ACTIONS.values()), k=len(chosen))
        times = [int(least * (most / least) ** chance.random()) for _ in chosen]
        return ",".join(f"{point}:{n}={action}" for point, n, action in zip(chosen, times, actions, strict=True))

    return drawn


KINDS = (
    Kind("SIGKILL", ("endpoint child", "worker", "work-horse"), 12, (0.1, 1.0), mild=True),
    Kind("SIGKILL", ("worker and work-horse",), 3, (0.1, 1.0)),
    Kind("SIGKILL", ("endpoint",), 2, (0.1, 2.0), lambda chance: chance.choice(("alone", "with its children"))),
    Kind("SIGKILL", ("redis",), 6, (0.1, 10.0), mild=True),
    Kind("SIGKILL", ("postgres", "postgres session", "mariadb"), 6, (0.1, 6.0)),
    Kind("SIGKILL", BESIDE, 6, (0.1, 10.0)),
    Kind("SIGTERM", ("endpoint child", "worker", "work-horse"), 5, (0.1, 1.0), mild=True),
    Kind("SIGTERM", ("endpoint", "redis", "postgres", "mariadb"), 4, (0.1, 3.0)),
    Kind("SIGSTOP", ("endpoint child", "endpoint", "worker", "work-horse"), 8, (0.2, 8.0)),
    Kind("SIGSTOP", ("work-horse",), 2, (16.0, 20.0)),
    Kind("SIGSTOP", ("redis",), 5, (0.2, 8.0)),
    Kind("SIGSTOP", BESIDE, 5, (0.2, 16.0)),
    # So long that workers do without the server of the queues.
    Kind("SIGSTOP", ("redis",), 3, (LONG, 20.0)),
    Kind("SIGSTOP", ("mariadb",), 2, (0.5, 6.0)),
    Kind("SIGSTOP", ("postgres",), 2, (0.5, 6.0), lambda chance: chance.choice(("alone", "with its children"))),
    Kind("pause", ("redis",), 4, (0.2, 7.0), lambda chance: chance.choice(("WRITE", "ALL"))),
    Kind("wire", WIRES, 14, (0.1, 6.0), lambda chance: chance.choice(MISCHIEF), mild=True),
    Kind("wire", WIRES_BESIDE, 14, (0.1, 12.0), lambda chance: chance.choice(MISCHIEF)),
    Kind("memory full", ("redis",), 5, (0.5, 8.0)),
    Kind("disk full", ("redis", "spool", "database"), 6, (0.5, 6.0)),
    Kind("locked", ("database",), 2, (0.5, 7.0)),
    Kind("clock", ("endpoint", "worker", "redis"), 4, (0.5, 8.0), _clock),
    Kind("paused", ("drains", "handlers"), 4, (0.5, 8.0)),
    Kind("fail over", ("redis",), 4, (1.0, 6.0)),
    Kind("forgotten notes", ("redis",), 3, (0.1, 0.2)),
    Kind("month", ("endpoint",), 3, (1.0, 6.0), _month),
    Kind("fail point", ("endpoint",), 3, (3.0, 6.0), _fail_at("body-read", "answered", 20, 1000)),
    Kind("fail point", ("endpoint",), 3, (4.0, 8.0), _fail_at("spool-write", "segment-deleted", 1, 6)),
    Kind("fail point", ("worker",), 5, (3.0, 8.0), _fail_at("batches-claimed", "acked", 1, 20)),
)


#: The same where there are several machines, besides those above.
KINDS_APART = (
    Kind("link", LINKS, 60, (0.3, 12.0), lambda chance: chance.choice(LINK_WEATHER)),
    # From and to the load, which then has no way to that machine's endpoint.
    Kind("uplink", MACHINES, 8, (0.3, 4.0), lambda chance: chance.choice(LINK_WEATHER)),
    Kind("alone", MACHINES, 12, (0.5, 12.0), lambda chance: chance.choice(("cut", "slow", "lossy"))),
    Kind("power", MACHINES, 8, (1.0, 6.0)),
    Kind("suspended", MACHINES, 6, (0.5, 8.0)),
)


def plan(
    seed: int, seconds: float, mild: bool = False, streams: int = 0, database: str = "", machines: int = 1
) -> Plan:
    """What happens under this seed; `mild` is for a run that has to be over soon.

    The seed also says how many stream servers there are, and which database, unless that is given. Several
    machines are three, with a stream server each, and a database that can be reached from another.
    """
    chance = random.Random(seed)
    drawn = chance.choice(("sqlite", "postgresql"))
    # By chances of their own, so that the same seeds still have the same load.
    if random.Random(f"{seed} mysql").random() < 0.25:
        drawn = "mysql"
    several = 3 if random.Random(f"{seed} streams").random() < 0.4 else 1
    if machines > 1:
        streams = machines = len(MACHINES)
        drawn = database = "mysql" if "mysql" in (database or drawn) else "postgresql"
    setup = Setup(
        database="sqlite" if mild else database or drawn,
        signed=chance.random() < 0.5,
        rate=chance.randrange(300, 1001, 50),
        connections=chance.choice((8, 24, 64)),
        spool=chance.random() < 0.85,
        buffer_max=chance.choice((0, 0, 0, SMALL)),
        spool_max=chance.choice((0, 0, 0, SMALL)),
        handlers=not mild and chance.random() < 0.25,
        # By a chance of its own, so that the same seeds still break the same things.
        recovers=not mild and random.Random(f"{seed} recovers").random() < 0.7,
        streams=1 if mild else streams or several,
        machines=machines,
    )
    faults: list[Fault] = []
    at = QUIET
    while at < seconds - QUIET:
        fault = _draw(chance, at, setup, mild)
        if fault.ends < seconds - QUIET and not any(_clash(fault, other) for other in faults):
            faults.append(fault)
            at += chance.expovariate(1 / GAP)
        else:
            at += 0.1
    return Plan(seed, seconds, setup, tuple(faults))


def _draw(chance: random.Random, at: float, setup: Setup, mild: bool) -> Fault:
    kinds = [kind for kind in KINDS if kind.mild or not mild]
    if setup.machines > 1:  # links are what is between them; and the replica has no place on any
        kinds = [*(kind for kind in kinds if kind.name not in ("wire", "fail over")), *KINDS_APART]
    while True:
        kind = chance.choices(kinds, [kind.weight for kind in kinds])[0]
        target = chance.choice(kind.targets)
        shortest, longest = kind.lasts
        lasts = chance.uniform(shortest, min(longest, 1.5) if mild else longest)
        fault = Fault(
            round(at, 2), kind.name, target, round(lasts, 2), round(chance.random(), 3), kind.how(chance)
        )
        if _possible(fault, setup):
            return fault


def _possible(fault: Fault, setup: Setup) -> bool:
    for target, database in {"mariadb": "mysql", "postgres": "postgresql", "database": "sqlite"}.items():
        if target in fault.target:
            return setup.database == database
    is_long = (fault.kind, fault.target) == ("SIGSTOP", "redis") and fault.lasts >= LONG
    if fault.target.endswith(BESIDE) or is_long:
        return setup.streams > 1
    if (fault.kind, fault.target) == ("clock", "redis"):
        # Workers that share a SQLite file go by this clock: what is due while it is ahead is due later for all.
        return not setup.handlers or setup.database != "sqlite"
    if (fault.kind, fault.target) == ("paused", "handlers"):
        return setup.handlers
    if fault.kind == "month":  # nothing that is signed may be as old as that
        return not setup.signed
    return fault.target != "spool" or setup.spool


def _clash(one: Fault, other: Fault) -> bool:
    """Whether two faults are at the same thing at the same time: the second would only undo the first."""
    same = (one.target, one.kind) == (other.target, other.kind) or one.kind == other.kind == "fail point"
    same = same or (one.target == other.target and {one.kind, other.kind} == set(CLOCKS))
    # Which server is the primary, and what it holds, must be certain while that changes.
    same = same or (one.target == other.target == "redis" and "fail over" in (one.kind, other.kind))
    return same and one.at < other.ends + 0.5 and other.at < one.ends + 0.5
