"""Which cores what runs on: what is measured and what measures it never share one, where there are two."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, Self


class Cores(NamedTuple):
    """The core of each part. Redis has one of its own from three cores on, before it is the server's."""

    server: int
    redis: int
    load: int

    @classmethod
    def among(cls, available: Iterable[int]) -> Self:
        """Divide the cores that there are."""
        first, *others = sorted(available)
        if not others:
            return cls(first, first, first)
        return cls(first, others[0] if len(others) > 1 else first, others[-1])

    @property
    def are_apart(self) -> bool:
        """Whether the load leaves the server alone."""
        return self.load not in (self.server, self.redis)


@contextmanager
def on(core: int) -> Iterator[None]:
    """Whatever is started within the block stays on that core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
