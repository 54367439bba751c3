"""Calls, events and handlers made for tests: one home for each."""

import time
from collections.abc import Sequence
from typing import Any

from ingest.batch import Record
from ingest.copernica.events import DAY, Event, EventType
from workers.handlers.claims import Failure
from workers.handlers.registry import Handler
from workers.records import read

#: In µs.
SECOND = 1_000_000
#: 2026-11-20 09:00:00 UTC, in µs.
NINE = 1_795_165_200 * SECOND
#: When the calls of `record` came in, in µs.
RECEIVED = 1_795_165_965_000_000
FORM = "application/x-www-form-urlencoded"
FORM_BYTES = FORM.encode()
#: A text longer than what an index holds of it.
LONG = "a" * 320


def delivery_id(number: int, moment: int = NINE) -> bytes:
    """A delivery id as the endpoint makes them: its time first."""
    return (moment // SECOND).to_bytes(4, "big") + number.to_bytes(8, "big")


def event(number: int = 1, **changes: Any) -> Event:
    """An event with most of its fields filled."""
    plain = Event(
        delivery_id(number), EventType.OPEN, "5fd2", NINE, NINE + 1, "jan@example.nl", "192.0.2.1", None,
        "Mozilla/5.0", "", 4711, None, 7, None, None, 250, None, None, None, ["a", "b"],
        {"timestamp": "2026-11-20 09:00:00"}, "/copernica",
    )  # fmt: skip  # a list to be read across, not a column of single words
    return plain._replace(**changes)


def record(number: int, kind: str = "open", body: bytes | None = None, content_type: bytes = FORM_BYTES) -> Record:
    """A call as it lies in the stream, told apart by its number."""
    if body is None:
        body = b"type=%s&id=m%d&time=1795165964" % (kind.encode(), number)
    return Record(number.to_bytes(12, "big"), RECEIVED, b"/copernica", content_type, body)


def decoded(call: Record) -> Event:
    """The event that the drain reads in a call."""
    found = read(call)
    assert isinstance(found, Event)
    return found


def handler(name: str = "h", *types: str, **options: Any) -> Handler:
    return Handler(name, print, frozenset(types or ("open",)), **options)


def numbers(records: Sequence[Record]) -> list[int]:
    return [int.from_bytes(call.delivery_id, "big") for call in records]


def refused_body(number: int) -> bytes:
    return b"type=open&id=%d&recipient=refused%%40example.nl" % number


def failure(call: Record, delay: float | None) -> Failure:
    return Failure(call, "open", RECEIVED, "ValueError: no", "Traceback", delay)


def aged_call(age: float) -> Record:
    """A call of some days ago, that tells of something long past."""
    second = int(time.time() - age * DAY)
    delivery_id = second.to_bytes(4, "big") + int(age * 100).to_bytes(8, "big")
    return Record(delivery_id, second * 1_000_000, b"/", FORM.encode(), b"type=open&time=1000000000")
