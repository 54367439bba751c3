"""What is read a step ahead comes as it would without: in its order, with its faults, and with its end."""

import inspect
import threading
from collections.abc import Generator

import pytest

from workers.store.ahead import ahead


class Counting:
    """A generator of some numbers that fails before one of them, and what became of it."""

    def __init__(self, last: int, fails_at: int | None = None) -> None:
        self.made, self.threads = list[int](), set[int]()
        self.items = self._items(last, fails_at)

    def _items(self, last: int, fails_at: int | None) -> Generator[int, None, None]:
        try:
            for number in range(last):
                self.threads.add(threading.get_ident())
                if number == fails_at:
                    raise ValueError(number)
                self.made.append(number)
                yield number
        finally:
            self.threads.add(threading.get_ident())


@pytest.mark.parametrize("last", [0, 1, 5])
def test_all_comes_in_its_order_from_one_thread_that_ends(last: int) -> None:
    counting = Counting(last)
    assert list(ahead(counting.items)) == list(range(last))
    assert len(counting.threads) == 1
    assert threading.get_ident() not in counting.threads
    assert all(one.ident not in counting.threads for one in threading.enumerate())


def test_a_fault_comes_once_all_before_it_was_taken() -> None:
    taken = list[int]()
    with pytest.raises(ValueError, match="3"):
        taken.extend(ahead(Counting(5, fails_at=3).items))
    assert taken == [0, 1, 2]


def test_whoever_takes_no_more_ends_it_in_its_own_thread() -> None:
    """A connection that only one thread may use is closed by that one, however the export ends."""
    counting = Counting(100)
    taking = ahead(counting.items)
    assert [next(taking), next(taking)] == [0, 1]
    assert len(counting.made) <= 3
    taking.close()
    assert len(counting.made) <= 3
    assert inspect.getgeneratorstate(counting.items) == inspect.GEN_CLOSED
    assert len(counting.threads) == 1
