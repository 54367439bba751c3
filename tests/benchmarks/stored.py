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
    Growing(database, events, events // PER_SECOND, SEEDED_START).grow(events)


class Growing:
    """A database that grows to one size after the other, its events in the order of their time."""

    def __init__(self, database: str, most: int, seconds: int, until: int) -> None:
        """`most` events in all are of the `seconds` before `until` (Unix time). The tables are there already."""
        self._database = database
        self._most = max(most, 1)
        self._seconds = seconds
        self._first = until - seconds - 1
        self._draw = random.Random(plan.SEED)
        self._samples = _samples()
        self.people = [f"{self._draw.getrandbits(40):010x}.jansen@example.nl" for _ in range(PEOPLE)]
        self.size = 0

    def second(self, number: int) -> int:
        """When an event took place (Unix time)."""
        return self._first + number * self._seconds // self._most

    def grow(self, size: int) -> None:
        """Store what is missing."""
        store = Store.open(self._database)
        for start in range(self.size, size, CHUNK):
            store.add([self._event(number) for number in range(start, min(start + CHUNK, size))])
            store.tidy()
        store.close()
        self.size = max(size, self.size)

    def _event(self, number: int) -> Event:
        person = self._draw.choice(self.people)
        return _varied(self._samples[number % SAMPLES], self.second(number), person, self._draw)


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
