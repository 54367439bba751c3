"""Handlers of a test, in a module of its own, and the jobs that call them, done in this process."""

import itertools
import sys
from collections.abc import Callable
from typing import Any

from workers.handlers.jobs import hand_on_job, handle_job
from workers.handlers.work_queue import WorkQueue
from workers.store import tables
from workers.store.store import Store

HEAD = """
import asyncio, time
from workers import GiveUp, TryLater, on
calls = []
def number(event):
    return int.from_bytes(event.delivery_id, "big")
"""
#: Names of modules, each for one test.
names = (f"handlers_of_a_test_{count}" for count in itertools.count())


class Plugged:
    """What a test has plugged in."""

    def __init__(self, name: str, store: Store) -> None:
        self.name, self.store, self.handoffs = name, store, WorkQueue(store)

    @property
    def module(self) -> Any:
        """What the piece of code has defined."""
        return sys.modules[self.name]

    @property
    def calls(self) -> list[Any]:
        found: list[Any] = self.module.calls
        return found

    def work(self, *handlers: str) -> dict[str, int]:
        """Hand on what was stored, and work on it; says what became of it all."""
        hand_on_job()
        done: dict[str, int] = {}
        for name in handlers or ("h",):
            for what, count in handle_job(name).items():
                done[what] = done.get(what, 0) + count
        return done

    def letters(self) -> list[Any]:
        return sorted(self.store.rows(tables.dead_letters), key=lambda row: bytes(row.delivery_id))


Plug = Callable[[str], Plugged]
