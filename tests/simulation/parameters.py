"""What a run is made of: the figures of `ingest plan`, and the set-up."""

from dataclasses import dataclass

from ingest.capacity.figures import PACKAGED, Figures
from ingest.stream.producer import MOST_WRITES
from workers.drain.drain import LINGER_MS, SIBLING_BATCHES
from workers.drain.group import COMMIT_CALLS
from workers.drain.source import CLAIM_MAX
from workers.runtime import RETRY_FIRST, RETRY_MOST, SLICE

__all__ = ["CLAIM_MAX", "COMMIT_CALLS", "LINGER_MS", "MOST_WRITES", "RETRY_FIRST", "RETRY_MOST", "SLICE"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Calls per second, from a moment on (seconds)."""

    since: float
    per_second: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is measured and simulated alike: seconds, and calls per second (0: as fast as they are answered)."""

    name: str
    rate: float
    seconds: float
    #: When the database is away: from, until.
    outage: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """How many of everything, what comes in, and what fails."""

    figures: Figures = PACKAGED
    endpoints: int = 1
    servers: int = 1
    workers: int = 1
    #: Workers of the queue `handlers`, and handlers that each event is given to.
    handler_workers: int = 0
    handlers: int = 0
    #: What comes in: the last of these that has begun. Empty: `connections` send as fast as they are answered.
    rates: tuple[Rate, ...] = ()
    #: Connections of the sender; 0: as many as there are calls.
    connections: int = 0
    #: Seconds of calls that come at once; a bigger grain makes a run of hours short, and batches meaningless.
    grain: float = 0.001
    #: Calls are sent until then (seconds).
    until: float = 10.0
    #: When the database is away: from, until.
    outages: tuple[tuple[float, float], ...] = ()
    #: Whether PostgreSQL is the database, whose work is its own, on so many processors.
    postgresql: bool = True
    database_processors: int = 64
    #: Seconds until Redis has confirmed a write beyond its own work, which is what is left of the latency that
    #: `make bench` measures at half the rate; of a commit; and from a wake-up until a drain has begun.
    fsync: float = 0.0009
    commit: float = 0.002
    wake: float = 0.15
    #: Seconds that the sender takes for one call.
    send: float = 7e-6
    #: Batches that wait from which one more worker is woken.
    sibling_batches: int = SIBLING_BATCHES
    #: Bytes of memory of each stream server, of which 60 % may be backlog.
    memory: float = 64e9
    #: Seconds between two looks that are noted.
    every: float = 1.0
