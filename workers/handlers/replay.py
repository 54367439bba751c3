"""`ingest replay`: hand stored events to a handler again."""

import dataclasses
import hashlib
import time
from collections.abc import Callable

from sqlalchemy import Connection, select

from ingest.copernica.events import EventType
from ingest.errors import SettingsError
from workers.handlers.registry import Handler
from workers.handlers.work_queue import WorkQueue
from workers.records import record_of
from workers.store.filters import Filter
from workers.store.store import Store
from workers.store.tables import replays

#: Events that are handed on in one transaction, which also records how far the replay has come.
PORTION = 500


def narrowed(handler: Handler, wanted: Filter) -> Filter:
    """What is wanted, without the types that the handler does not take. Its `where` is asked when it is called.

    Raises:
        SettingsError: it takes none of the types that are wanted.
    """
    if handler.types.issuperset(wanted.types or EventType):
        return wanted
    types = tuple(kind for kind in wanted.types or EventType if kind in handler.types)
    if not types:
        raise SettingsError(
            f"--type: {handler.name} takes {', '.join(sorted(handler.types))}, not {' or '.join(wanted.types)}; "
            "add --force-types to hand it these all the same."
        )
    return dataclasses.replace(wanted, types=types)


def name_of(handler: str, wanted: Filter) -> str:
    """The name under which a replay's progress is kept: the same for the same handler and the same events."""
    return f"{handler}:{hashlib.sha256(repr(wanted).encode()).hexdigest()[:16]}"


def begun(store: Store, name: str) -> int:
    """How many events an unfinished replay of this name has handed on; 0 if there is none."""
    with store.reading() as connection:
        return connection.execute(select(replays.c.done).where(replays.c.name == name)).scalar() or 0


def forget(store: Store, name: str) -> None:
    """Forget a replay's progress, so that it starts from the beginning."""
    with store.writing() as connection:
        connection.execute(replays.delete().where(replays.c.name == name))


def replay(store: Store, handler: str, wanted: Filter, rate: float | None, step: Callable[[int], object]) -> int:
    """Hand events to a handler, from where the same replay was interrupted before; returns how many.

    `rate` limits the events handed over per second (the handler has a rate of its own); None means no limit.
    `step` is called with the number of events of each portion.

    Raises:
        Unavailable: the database cannot be used now; the same replay goes on from here.
    """
    name = name_of(handler, wanted)
    queue = WorkQueue(store)
    done = 0
    started = time.monotonic()
    for portion in store.pages(wanted, _after(store, name), min(PORTION, int(rate or PORTION) or 1)):
        with store.writing() as connection:
            queue.give(connection, handler, [record_of(event) for event in portion])
            _remember(connection, name, portion[-1].delivery_id, len(portion))
        done += len(portion)
        step(len(portion))
        if rate:
            time.sleep(max(0.0, done / rate - (time.monotonic() - started)))
    forget(store, name)
    return done


def _after(store: Store, name: str) -> bytes:
    with store.reading() as connection:
        return connection.execute(select(replays.c.after).where(replays.c.name == name)).scalar() or b""


def _remember(connection: Connection, name: str, after: bytes, count: int) -> None:
    progress = replays.update().where(replays.c.name == name).values(after=after, done=replays.c.done + count)
    if not connection.execute(progress).rowcount:
        connection.execute(replays.insert().values(name=name, after=after, done=count))
