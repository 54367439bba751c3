"""How much is measured, and the calls that it is measured with."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice

from ingest.simulation.calls import Call, Simulator

#: Connections that are kept open and busy: each has one call under way at a time.
CONNECTIONS = 64
#: Distinct calls; they are sent again and again. More than a batch can hold, so that none compresses a repetition.
DISTINCT = 5000
#: Distinct signed calls: each takes half a millisecond to sign before the clock starts.
DISTINCT_SIGNED = 1000
#: Each run sends the same calls, byte for byte.
SEED = 20261120
#: Records in one batch of the backlog that is drained.
BATCH = 64
#: Where calls are posted to, at every contender.
PATH = "/copernica"

#: Surrounds one sample: tells the progress bar what is being measured, then that it is done.
Step = Callable[[str], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class Plan:
    """The size of one run."""

    repeat: int
    #: Seconds of sending before the clock starts.
    warm_seconds: float = 1.0
    #: Seconds of sending while it runs.
    seconds: float = 4.0
    #: Events in the backlog that our drain processes.
    events: int = 200_000
    #: Events that a database holds already when that is to make a difference.
    stored: int = 5_000_000
    #: Events that wait for a handler.
    handled: int = 50_000
    #: Lines of the log file that is reconciled.
    logged: int = 5_000_000
    #: Destinations of the mailing in whose midst there is a gap, and results within it.
    destinations: int = 1_000_000
    results: int = 300_000
    #: Seconds for which all processes are looked at while nothing happens.
    rest_seconds: float = 30.0
    #: Jobs in the queue that the RQ worker works through.
    jobs: int = 2000


def quick(repeat: int) -> Plan:
    """A run to see that everything works; its figures are rough."""
    return Plan(
        repeat,
        warm_seconds=0.5,
        seconds=1.0,
        events=30_000,
        stored=200_000,
        handled=5000,
        logged=100_000,
        destinations=20_000,
        results=6000,
        rest_seconds=3.0,
        jobs=300,
    )


def varied_calls(round_: int, count: int) -> list[Call]:
    """Calls about as many people as a mailing has: an index notices whether they are few or many."""
    return list(islice(Simulator(SEED + 100 + round_, ["open"]), count))


def calls() -> list[Call]:
    """The calls, all of them opens: the most frequent event that carries what a person did."""
    return list(islice(Simulator(SEED, ["open"]), DISTINCT))
