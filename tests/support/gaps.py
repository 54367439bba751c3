"""What happened around a gap: told to the store by calls, and to the fake API by results."""

import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ingest.copernica.events import MICROS, Event, EventType, event_of
from ingest.simulation.truth import Truth
from workers.gaps import Cause, State
from workers.gaps.gap import Cut, cuts
from workers.store.filters import Filter
from workers.store.store import Store

#: The kinds of events of which there are results.
KINDS = ("open", "click", "delivery", "failure", "unsubscribe")


def documented() -> list[set[str]]:
    """The fields that docs/gaps.md names: of `gaps --json`, of one of its gaps, and of `catch-up --json`."""
    page = (Path(__file__).parents[2] / "docs" / "gaps.md").read_text()
    parts = re.split("One of `gaps`:|## `ingest catch-up --json`", page)
    return [set(re.findall(r"^\| `(\w+)`", part, re.MULTILINE)) for part in parts]


def happened(number: int, second: int, kind: str = "", **changes: Any) -> dict[str, Any]:
    """The fields of an event's webhook, and what only Copernica knows beside them."""
    draw = random.Random(number)  # the same each time
    kind = kind or draw.choice(KINDS)
    fields: dict[str, Any] = {
        "type": kind,
        "id": f"m{number:08x}",
        "time": second,
        "recipient": f"a{number}@example.nl",
        "profile": number + 1,
        "mailing": 7 + number % 2,
        "destination": 1_000_000 + number,
        "sent": second - 3600,
    }
    if kind in ("open", "click"):
        fields |= {"ip": f"192.0.2.{number % 250}", "useragent": "Mozilla/5.0"}
    if kind == "click":
        fields |= {"original": f"https://example.nl/{number % 3}", "link": f"https://example.nl/{number % 3}"}
    if kind == "failure":
        fields |= {"code": "550", "extended": "5.1.1", "description": "no such user"}
    return fields | changes


def spread(since: int, until: int, number: int) -> list[dict[str, Any]]:
    """Some events, evenly over a period."""
    return [happened(at, since + (until - since) * at // number) for at in range(number)]


#: What only Copernica knows.
_HIDDEN = ("destination", "sent", "link", "product")


def call(number: int, fields: dict[str, Any]) -> Event:
    """The event that the webhook brings."""
    told = {name: str(value) for name, value in fields.items() if name not in _HIDDEN}
    moment = fields["time"] * MICROS + 300_000
    delivery_id = fields["time"].to_bytes(4, "big") + (number + 1).to_bytes(8, "big")
    return event_of(told, "/copernica", moment, delivery_id)


def truth_of(events: Sequence[dict[str, Any]]) -> Truth:
    """What the fake knows of them."""
    return Truth.of((fields["type"], fields) for fields in events)


def keep_gap(store: Store, since: int, until: int, cause: Cause = Cause.NO_ENDPOINT) -> None:
    """A gap that has ended, in Unix seconds."""
    with store.writing() as connection:
        Cut(since * MICROS, cause, until * MICROS, State.ENDED, until * MICROS).put(store, connection)


def told(store: Store) -> Counter[tuple[str, str | None, int]]:
    """The type, the message and the second of every event of the store."""
    return Counter((event.type.value, event.message_id, event.occurred_at // MICROS) for event in found(store))


def found(store: Store) -> Iterator[Event]:
    """Every event of the store."""
    return store.find(Filter())


def known(events: Sequence[dict[str, Any]]) -> Counter[tuple[str, str | None, int]]:
    """The same of what happened."""
    return Counter((EventType(one["type"]).value, one["id"], one["time"]) for one in events)


def causes(store: Store) -> list[Cause]:
    """Why calls may be missing, of gaps that are over and not filled yet."""
    with store.reading() as connection:
        found = cuts(connection)
    assert all(gap.state is State.ENDED and gap.until is not None for gap in found)
    return [gap.cause for gap in found]
