"""An hour without the database at a million events per second: what docs/capacity.md shows of it."""

from pathlib import Path

from ingest.capacity.amounts import shown_size
from ingest.capacity.demand import Demand
from ingest.capacity.figures import PACKAGED
from ingest.capacity.planning import plan
from tests.simulation.history import History, Look
from tests.simulation.model import simulated
from tests.simulation.parameters import Rate, Setup
from tests.simulation.picture import Panel, drawn

RATE, ENDPOINTS = 1e6, 100
#: Seconds: when the database goes and comes back, and the end of the run.
AWAY, BACK, ENDS = 1800.0, 5400.0, 10_800.0
#: Minutes at which the table looks.
MINUTES = (0, 29, 45, 60, 75, 90, 105, 120, 135, 150)
PICTURE = Path(__file__).parents[2] / "docs" / "images" / "capacity-outage.svg"


def setup() -> Setup:
    """As many servers, workers and processors as `ingest plan --rate 1M` says, over a hundred endpoints."""
    parts = {part.name: part.values for part in plan(Demand(rate=RATE), PACKAGED).parts}
    servers = int(parts["Redis"]["servers"])
    return Setup(
        endpoints=ENDPOINTS,
        servers=servers,
        workers=int(parts["workers"]["workers"]),
        rates=(Rate(since=0.0, per_second=RATE),),
        grain=5.0,
        until=ENDS,
        outages=((AWAY, BACK),),
        database_processors=int(parts["database"]["processors_needed"]),
        memory=parts["Redis"]["memory_bytes"] / servers,
        sibling_batches=1,
        every=10.0,
    )


def run() -> History:
    """The run: some seconds of one processor."""
    return simulated(setup())


def table(history: History) -> str:
    """What stands in the page: Markdown."""
    lines = [
        "| minute | events that wait | the oldest has waited | Redis' memory, all servers | spooled |",
        "|---|---|---|---|---|",
    ]
    lines += [_line(minute, _at(history, minute * 60.0)) for minute in MINUTES]
    return "\n".join(lines)


def _at(history: History, second: float) -> Look:
    return next(look for look in history.looks if look.at >= second)


def _line(minute: int, look: Look) -> str:
    waited = f"{look.age:,.0f} s" if look.age < 120 else f"{look.age / 60:,.0f} min"
    wait = f"{look.backlog / 1e6:,.0f} million"
    return f"| {minute} | {wait} | {waited} | {shown_size(look.memory)} | {look.spooled:,} |"


def picture(history: History) -> str:
    """The run, drawn."""
    looks = history.looks[: int(ENDS / 10)]
    return drawn(
        "A million events per second, and an hour without the database",
        [look.at / 60 for look in looks],
        [
            Panel("events that wait, millions", [look.backlog / 1e6 for look in looks]),
            Panel("the oldest has waited, minutes", [look.age / 60 for look in looks]),
            Panel("memory of all Redis servers, GB", [look.memory / 1e9 for look in looks]),
        ],
        (AWAY / 60, BACK / 60),
    )
