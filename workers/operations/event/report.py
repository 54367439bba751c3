"""One event with its way, for scripts: what `ingest event --json` prints and the console offers to download."""

from dataclasses import dataclass
from typing import Any

from workers.operations.event.finding import Found, find
from workers.operations.event.way import Way, way_of
from workers.operations.exporting import as_row
from workers.store.store import Store

#: Raised by a release in which a field of the JSON is renamed, removed or means something else.
SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Report:
    """What there is of a delivery id; `way` is None where there is no event."""

    found: Found
    way: Way | None

    def as_json(self) -> dict[str, Any]:
        """What `ingest event --json` prints; docs/event.md describes it."""
        found, way = self.found, self.way
        return {
            "schema_version": SCHEMA_VERSION,
            "delivery_id": found.delivery_id.hex(),
            "where": found.where.value,
            "other": found.other and found.other.hex(),
            "reason": found.reason or None,
            "handlers": list(found.handlers),
            "event": found.event and as_row(found.event),
            "fields": found.event and found.event.fields,
            "way": way and way.as_json(),
            "way_complete": None if way is None else way.is_complete,
        }


def report(store: Store, delivery_id: bytes, retention_days: int = 0) -> Report:
    """Find an event and its way; a call that upgraded a recovered event leads to that.

    Raises:
        Unavailable: the database cannot be used now.
    """
    found = find(store, delivery_id, retention_days)
    return Report(found, None if found.event is None else way_of(store, found.event))
