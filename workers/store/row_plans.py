"""Rows and events straight from bodies: what a form becomes depends on its fields' names, of which few sets occur.

For each set of names, and each type that comes with it, a plan is made once: which value goes into which column,
and what is left for the payload. The rules for that are not repeated here, but found out: a form of these names
whose values are numbers, each another, is decoded as any other (`ingest.copernica.events.decode`), and where each
number ends up, the value of that field will. A form that is unusual, or has a value that decides where others go,
is read as if there were no plans.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple
from urllib.parse import urlencode

from rq.timeouts import BaseTimeoutException

from ingest.batch import Record
from ingest.copernica.bodies import is_utf8
from ingest.copernica.columns import MAX_NUMBER_DIGITS, whole
from ingest.copernica.events import (
    MAX_TIME_DIGITS,
    MICROS,
    TYPES,
    WEBHOOK,
    Event,
    EventType,
    credible_second,
    decode,
)
from ingest.copernica.plain_forms import split
from workers.records import Quarantined, read
from workers.store.backend import Row
from workers.store.rows import event_row, folded_recipient, json_text, stored_time

log = logging.getLogger(__name__)

#: Sets of names, and plans, that are remembered, each of some KiB: far more than there are in practice, so all are
#: forgotten at once if somebody sends ever others …
MAX_REMEMBERED = 300
#: … and most characters of the names in a set.
MAX_CHARACTERS = 2000
#: Sets of names of which it is remembered, by a hash, that they came once. A plan costs as much as reading ten
#: bodies without one, so there is one only for what comes again and again.
MAX_SEEN = 5000
#: Most times whose text is remembered: events of one drain cluster around the same seconds.
REMEMBERED_TIMES = 4096
#: Paths that are remembered as text: a site has a few.
REMEMBERED_PATHS = 64
#: The value of the first field of a probe, which those of the others follow: a credible time, and no date.
FIRST_PROBE = 1_000_000_000
#: When a probe came in: a time that none of its fields says.
PROBED_AT = 1

#: What is appended to the parts of a form, in this order, and then numbers: a row is a choice among all these, and
#: so is an event, whose attributes are in the order of the columns.
NONE, ID, TYPE, OCCURRED, RECEIVED, TAGS, PAYLOAD, PATH, SOURCE, FOLDED, NUMBERS = range(11)


class Plan(NamedTuple):
    """What becomes of the values of a form, each of which is named by its place among the parts of `split`."""

    type: str
    #: Unix seconds. None: it happened when it came in.
    time: int | None
    recipient: int | None
    #: Those that columns of numbers have.
    numbers: Sequence[int]
    tags: Sequence[int]
    #: The payload, with places for values.
    payload: Mapping[str, Any]
    #: Chooses the columns.
    columns: Callable[[list[Any]], Row]
    #: The type again, as an event has it.
    event_type: EventType


class _Names(NamedTuple):
    """A set of names: where among the parts the type is, and the plan for each type; None: there can be none."""

    type_at: int
    plans: dict[str, Plan | None]


class RowPlans:
    """Makes rows of `events`, or the events themselves, and remembers the plans for it."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, ...], _Names] = {}
        self._seen: set[int] = set()
        self._remembered = 0

    def read(self, record: Record) -> Row | Quarantined:
        """The row of the event that a call brought, or the reason why there is none."""
        try:
            row = self.planned(record)
        except BaseTimeoutException:
            raise
        except Exception:  # a fault of ours must not hold up what can be read without plans
            log.exception("a row could not be made by plan")
            row = None
        if row is not None:
            return row
        event = read(record)
        return event if isinstance(event, Quarantined) else event_row(event)

    def read_event(self, record: Record) -> Event | Quarantined:
        """The event itself, as `workers.records.read` reads it."""
        try:
            event = self.planned_event(record)
        except BaseTimeoutException:
            raise
        except Exception:
            log.exception("an event could not be read by plan")
            event = None
        return read(record) if event is None else event

    def planned(self, record: Record) -> Row | None:
        """The row, if all of the call is as a plan has it."""
        delivery_id, received_at, target, content_type, body, _, flags = record
        found = None if flags else self._found(body, content_type)
        if found is None:
            return None
        parts, (kind, time, recipient, numbers, tags, payload, columns, _) = found
        received = stored_time(received_at)
        occurred = received if time is None else _stored(parts[time])
        if occurred is None:
            return None
        folded = folded_recipient(parts[recipient]) if recipient and parts[recipient] else None
        parts.append(None)
        parts += (
            delivery_id,
            kind,
            occurred,
            received,
            json_text([parts[at] for at in tags]) if tags else "[]",
            json_text(
                {name: parts[at] if type(at) is int else _filled(at, parts) for name, at in payload.items()}
            ),
            _path(target),
            WEBHOOK,
            folded,
        )
        return columns(parts) if _append_numbers(parts, numbers) else None

    def planned_event(self, record: Record) -> Event | None:
        """The event, likewise."""
        delivery_id, received_at, target, content_type, body, _, flags = record
        found = None if flags else self._found(body, content_type)
        if found is None:
            return None
        parts, (_, time, _, numbers, tags, payload, columns, kind) = found
        occurred = received_at if time is None else _micros(parts[time])
        if occurred is None:
            return None
        parts.append(None)
        parts += (
            delivery_id,
            kind,
            occurred,
            received_at,
            [parts[at] for at in tags],
            {name: parts[at] if type(at) is int else _filled(at, parts) for name, at in payload.items()},
            _path(target),
            WEBHOOK,
            None,
        )
        return Event._make(columns(parts)[:-1]) if _append_numbers(parts, numbers) else None

    def _found(self, body: bytes, content_type: bytes) -> tuple[list[Any], Plan] | None:
        """The parts of a form, and the plan for it."""
        if b";" in content_type and not is_utf8(content_type.decode("latin-1")):
            return None
        parts: list[Any] | None = split(body)
        if parts is None:
            return None
        names = tuple(parts[::2])
        known = self._known.get(names)
        plan = known.plans.get(parts[known.type_at]) if known else None
        plan = plan or self._plan(names, known, parts)
        return None if plan is None else (parts, plan)

    def _plan(self, names: tuple[str, ...], known: "_Names | None", parts: list[Any]) -> Plan | None:
        """A new plan for these names and this type, if there can be one and it is worth its while."""
        if known is None:
            self._meet(names)
            return None
        kind = parts[known.type_at]
        return self._new(names, known, kind) if kind in TYPES and kind not in known.plans else None

    def _meet(self, names: tuple[str, ...]) -> None:
        """Remember a set of names if it has come before, so that there will be a plan when it comes again."""
        if "type" not in names or sum(map(len, names)) > MAX_CHARACTERS:
            return
        seen = hash(names)
        if seen in self._seen:
            self._make_room()
            self._known[names] = _Names(2 * names.index("type") + 1, {})
            return
        if len(self._seen) == MAX_SEEN:
            self._seen.clear()
        self._seen.add(seen)

    def _new(self, names: tuple[str, ...], known: _Names, kind: str) -> Plan | None:
        self._make_room()
        plan = known.plans[kind] = make_plan(names, kind)
        return plan

    def _make_room(self) -> None:
        self._remembered += 1
        if self._remembered > MAX_REMEMBERED:
            self._known.clear()
            self._remembered = 0


def make_plan(names: Sequence[str], kind: str) -> Plan | None:
    """The plan for forms with fields of these names, in this order, of which `type` says `kind`."""
    places: dict[Any, int] = {}
    probe = []
    for number, name in enumerate(names):
        value = kind if name == "type" else str(FIRST_PROBE + number)
        places[value] = 2 * number + 1
        probe.append((name, value))
    event = decode(urlencode(probe).encode(), "", "/", PROBED_AT)
    payload = event.payload
    time = places.get(str(event.occurred_at // MICROS))
    # Tags may be empty, and a written time is read in many ways.
    depends_on_values = "tags" in payload or (time is None and (payload.get("time") or payload.get("timestamp")))
    if event.raw is not None or depends_on_values:
        return None
    end = 2 * len(names)
    places[None] = end + NONE
    numbers = []

    def place(value: Any) -> int:
        if isinstance(value, int):
            numbers.append(places[str(value)])
            return end + NUMBERS + len(numbers) - 1
        return places[value]

    return Plan(
        event.type.value,
        time,
        places[event.recipient] if event.recipient else None,
        numbers,
        [places[tag] for tag in event.tags],
        _placed(payload, places),
        itemgetter(
            end + ID, end + TYPE, place(event.message_id), end + OCCURRED, end + RECEIVED,
            *map(place, event[5:19]),
            end + TAGS, end + PAYLOAD, end + PATH, end + SOURCE, end + NONE, end + NONE, end + FOLDED,
        ),
        event.type,
    )  # fmt: skip  # the order of the columns


def _placed(value: Any, places: Mapping[Any, int]) -> Any:
    """A payload with places for values."""
    if isinstance(value, dict):
        return {name: _placed(inner, places) for name, inner in value.items()}
    return [_placed(inner, places) for inner in value] if isinstance(value, list) else places[value]


def _append_numbers(parts: list[Any], numbers: Sequence[int]) -> bool:
    """Append what columns of numbers have; False, with only some of it, if one would not give it back as sent."""
    for at in numbers:
        text = parts[at]
        number = whole(text, MAX_NUMBER_DIGITS)
        if number is None or str(number) != text:
            return False
        parts.append(number)
    return True


def _filled(placed: Any, parts: list[Any]) -> Any:
    """A payload with values for places."""
    if type(placed) is int:
        return parts[placed]
    if type(placed) is list:
        return [_filled(inner, parts) for inner in placed]
    return {name: _filled(inner, parts) for name, inner in placed.items()}


@lru_cache(REMEMBERED_PATHS)
def _path(target: bytes) -> str:
    return target.decode("utf-8", "replace")


def _stored(time: str) -> str | None:
    """A time as it is stored; None if it is no ordinary one."""
    return _stored_second(time) if len(time) <= MAX_TIME_DIGITS else None


@lru_cache(REMEMBERED_TIMES)
def _stored_second(time: str) -> str | None:
    micros = _micros(time)
    return None if micros is None else stored_time(micros)


def _micros(time: str) -> int | None:
    """A time in µs; None if it is no ordinary one."""
    second = credible_second(time)
    return None if second is None or str(second) != time else second * MICROS
