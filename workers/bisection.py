"""Finding what the database refuses among what it would take."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from ingest.errors import RowsRejected

T = TypeVar("T")


def take_all(
    items: Sequence[T], take: Callable[[Sequence[T]], object], give_up: Callable[[T, RowsRejected], object]
) -> None:
    """Call `take` with all of `items`, or, where it raises `RowsRejected`, with halves and halves of halves.

    `give_up` gets each single item that was refused.
    """
    try:
        take(items)
    except RowsRejected as refusal:
        if len(items) == 1:
            give_up(items[0], refusal)
            return
        middle = len(items) // 2
        take_all(items[:middle], take, give_up)
        take_all(items[middle:], take, give_up)
