"""A database that holds millions of events already, as those of a large sender do."""

import random
from itertools import islice
from typing import Any

from ingest.copernica.events import Event, decode
from ingest.simulation.calls import SEEDED_START, Simulator
from tests.benchmarks import plan
from workers.store.schema import upgrade
from workers.store.store import Store

#: Events that are made in full; the millions are these with other people and messages.
SAMPLES = 2000
#: People that they are about, of the 800,000 that the simulator can name.
PEOPLE = 500_000
#: Events of one transaction while filling.
CHUNK = 25_000
#: Events per second of simulated time: a mailing at full speed.
PER_SECOND = 500


def fill(database: str, events: int) -> None:
    """Make the tables and store this many events, all of before the simulator's start."""
    upgrade(database)
    store = Store.open(database)
    draw = random.Random(plan.SEED)
    samples = _samples()
    people = [f"{draw.getrandbits(40):010x}.jansen@example.nl" for _ in range(PEOPLE)]
    first = SEEDED_START - events // PER_SECOND - 1
    for start in range(0, events, CHUNK):
        chunk = [
            _varied(samples[number % SAMPLES], first + number // PER_SECOND, draw.choice(people), draw)
            for number in range(start, min(start + CHUNK, events))
        ]
        store.add(chunk)
        store.tidy()
    store.close()


def _samples() -> list[Event]:
    calls = islice(Simulator(plan.SEED + 1), SAMPLES)
    return [decode(call.body, call.content_type, plan.PATH, SEEDED_START * 1_000_000) for call in calls]


def _varied(sample: Event, second: int, recipient: str, draw: random.Random) -> Event:
    micros = second * 1_000_000
    changes: dict[str, Any] = {} if sample.recipient is None else {"recipient": recipient}
    if sample.message_id is not None:
        changes["message_id"] = f"{draw.getrandbits(48):012x}"
    return sample._replace(
        delivery_id=second.to_bytes(4, "big") + draw.randbytes(8),
        occurred_at=micros,
        received_at=micros,
        **changes,
    )
