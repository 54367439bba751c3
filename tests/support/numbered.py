"""Simulated calls that can be told apart."""

from collections.abc import Iterator

from ingest.simulation.calls import Call, Simulator


class Numbered:
    """Simulated calls that each carry a number, with a note of which were sent."""

    def __init__(self, seed: int) -> None:
        self._calls = iter(Simulator(seed))
        self.sent = 0

    def __iter__(self) -> Iterator[Call]:
        return self

    def __next__(self) -> Call:
        call = next(self._calls)
        self.sent += 1
        return call._replace(body=call.body + b"&number=%d" % self.sent)
