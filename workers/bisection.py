"""Finding the few rows that the database rejects among many that it takes."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from ingest.errors import RowsRejected

T = TypeVar("T")


def take_all(
    items: Sequence[T], take: Callable[[Sequence[T]], object], give_up: Callable[[T, RowsRejected], object]
) -> None:
    """Call `take` with all of `items` or, if that raises `RowsRejected`, with ever smaller halves.

    `give_up` is called with each single item that was rejected, and the error.
    """
    try:
        take(items)
    except RowsRejected as rejection:
        if len(items) == 1:
            give_up(items[0], rejection)
            return
        middle = len(items) // 2
        take_all(items[:middle], take, give_up)
        take_all(items[middle:], take, give_up)
