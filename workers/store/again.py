"""Does a transaction again that the database has undone in favour of another, as after a deadlock."""

import random
import time
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from ingest.errors import Collided

P = ParamSpec("P")
T = TypeVar("T")

#: Times that it is tried in all: whoever asked then tries again later, as when the database is away.
ATTEMPTS = 8
#: Seconds before the second attempt, at most, chosen at random so that two do not collide again; longer each time.
PAUSE = 0.05


def again(transaction: Callable[P, T]) -> Callable[P, T]:
    """Have a function tried some times that changes nothing before its only transaction has ended."""

    @wraps(transaction)
    def tried(*arguments: P.args, **named: P.kwargs) -> T:
        for attempt in range(1, ATTEMPTS):
            try:
                return transaction(*arguments, **named)
            except Collided:
                time.sleep(random.random() * PAUSE * attempt)  # noqa: S311
        return transaction(*arguments, **named)

    return tried
