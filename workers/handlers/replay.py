"""`ingest replay`: hand stored events to a handler again."""

import hashlib
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

import orjson
from sqlalchemy import text

from ingest.batch import FROM_LOGFILE, Record
from ingest.copernica.bodies import parse
from ingest.copernica.events import LOGFILE, Event
from ingest.errors import Undecodable
from workers.handlers.work_queue import WorkQueue
from workers.store.store import Filter, Store

FORM = b"application/x-www-form-urlencoded"
JSON = b"application/json"
#: Events that are handed on in one transaction, which also notes how far the replay has come.
PORTION = 500


def name_of(handler: str, wanted: Filter) -> str:
    """What a replay is remembered under: the same handler and the same events are the same replay."""
    return f"{handler}:{hashlib.sha256(repr(wanted).encode()).hexdigest()[:16]}"


def begun(store: Store, name: str) -> int:
    """How many events an unfinished replay of that name has handed on; 0 if there is none."""
    with store.reading() as connection:
        found = connection.execute(text("SELECT done FROM replays WHERE name = :name"), {"name": name}).scalar()
    return int(found or 0)


def forget(store: Store, name: str) -> None:
    """Let a replay begin anew."""
    with store.writing() as connection:
        connection.execute(text("DELETE FROM replays WHERE name = :name"), {"name": name})


def replay(store: Store, handler: str, wanted: Filter, rate: float | None, step: Callable[[int], object]) -> int:
    """Hand events to a handler, from where an earlier replay of the same was broken off; returns how many.

    `rate` is in events per second, and how fast they are handed over; the handler has a rate of its own. `step` is
    told of each portion.
    """
    name = name_of(handler, wanted)
    handoffs = WorkQueue(store)
    done = 0
    began = time.monotonic()
    for portion in store.portions(wanted, _after(store, name), min(PORTION, int(rate or PORTION) or 1)):
        with store.writing() as connection:
            handoffs.give(connection, handler, [record_of(event) for event in portion])
            _remember(connection, name, portion[-1].delivery_id, len(portion))
        done += len(portion)
        step(len(portion))
        if rate:
            time.sleep(max(0.0, done / rate - (time.monotonic() - began)))
    forget(store, name)
    return done


def _after(store: Store, name: str) -> bytes:
    with store.reading() as connection:
        found = connection.execute(text("SELECT after FROM replays WHERE name = :name"), {"name": name}).scalar()
    return bytes(found or b"")


def _remember(connection: Any, name: str, after: bytes, count: int) -> None:
    values = {"name": name, "after": after, "count": count}
    known = connection.execute(
        text("UPDATE replays SET after = :after, done = done + :count WHERE name = :name"), values
    ).rowcount
    if not known:
        connection.execute(text("INSERT INTO replays (name, after, done) VALUES (:name, :after, :count)"), values)


def record_of(event: Event) -> Record:
    """A stored event as a call again: with its own body if that was kept, else with one that says the same."""
    if event.raw is not None:
        body, content_type = event.raw, (event.raw_type or "").encode("latin-1", "replace")
    else:
        body, content_type = _written(event.fields)
    flags = FROM_LOGFILE if event.source == LOGFILE else 0
    return Record(event.delivery_id, event.received_at, event.path.encode(), content_type, body, flags=flags)


def _written(fields: dict[str, Any]) -> tuple[bytes, bytes]:
    """A form, as Copernica sends it, or JSON if there is something in it that a form cannot say."""
    pairs: list[tuple[str, str]] = []
    if all(_flatten(name, value, pairs) for name, value in fields.items()):
        body = urlencode(pairs).encode()
        with suppress(Undecodable):
            if parse(body, FORM.decode()) == (fields, True):
                return body, FORM
    return orjson.dumps(fields), JSON


def _flatten(name: str, value: Any, pairs: list[tuple[str, str]]) -> bool:
    """Add a field in PHP's way; False if that has no way to say it."""
    if isinstance(value, str):
        pairs.append((name, value))
        return True
    if isinstance(value, list):
        value = {str(place): inner for place, inner in enumerate(value)}
    if not isinstance(value, dict) or not value:
        return False
    return all(_flatten(f"{name}[{key}]", inner, pairs) for key, inner in value.items())
