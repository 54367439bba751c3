"""A step ahead: a thread reads what comes next, while what came before is written."""

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, TypeVar

T = TypeVar("T")
_END: Any = object()


def ahead(items: Generator[T, None, None]) -> Generator[T, None, None]:
    """What a generator yields; it runs in a thread from its beginning to its end, one item ahead.

    What it raises is raised here, once everything before that was taken.
    """
    with ThreadPoolExecutor(1, "reading") as thread:
        coming = thread.submit(next, items, _END)
        try:
            while (item := coming.result()) is not _END:
                coming = thread.submit(next, items, _END)
                yield item
        finally:
            wait([coming])
            thread.submit(items.close).result()
