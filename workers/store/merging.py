"""One event that came from two sources: which of its values count. See docs/decisions/three-sources.md."""

from collections.abc import Mapping
from typing import Any

from ingest.copernica.events import LOGFILE, NUMBER_COLUMNS, REST, TEXT_COLUMNS, WEBHOOK, WITH_COLUMN, Event

#: The sources, the richest first. One that nobody knows counts as a call.
RANKS: Mapping[str, int] = {WEBHOOK: 0, LOGFILE: 1, REST: 2}
#: Columns of which what the better source lacks is filled in, and the name of the field of each.
FILLED: Mapping[str, str] = {
    **{column: field for field, column in TEXT_COLUMNS.items()},
    **{name: name for name in NUMBER_COLUMNS},
}


def merged(stored: Event, given: Event) -> Event:
    """A stored event with what another source tells of the same event.

    The better source's values count, and those of the stored event if both are as good; what it lacks is filled in
    from the other. The delivery id stays.
    """
    better, other = (given, stored) if _rank(given) < _rank(stored) else (stored, given)
    filled: dict[str, Any] = {
        column: getattr(other, column)
        for column in FILLED
        if getattr(better, column) in (None, "") and getattr(other, column) not in (None, "")
    }
    names = {FILLED[column] for column in filled}
    if better.occurred_at == better.received_at and other.occurred_at != other.received_at:
        filled["occurred_at"] = other.occurred_at
        names.add("time")
    if not better.tags and other.tags:
        filled["tags"] = other.tags
        names.add("tags")
    return better._replace(
        **filled,
        delivery_id=stored.delivery_id,
        received_at=better.received_at if better.source == WEBHOOK else stored.received_at,
        payload=better.payload if better.raw is not None else _payload(better, other, names),
    )


def _rank(event: Event) -> int:
    return RANKS.get(event.source, 0)


def _payload(better: Event, other: Event, filled: set[str]) -> dict[str, Any]:
    """All fields without a column, of both; fields that are `filled` in are no longer absent."""
    more = {name: value for name, value in other.payload.items() if name not in WITH_COLUMN}
    own = {name: value for name, value in better.payload.items() if value is not None or name not in filled}
    return {**more, **own}
