"""Which events a command is about: as conditions of a query, and as a test of a single event."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement

from ingest.copernica.addresses import folded
from ingest.copernica.events import Event
from workers.store import tables
from workers.store.backend import Backend
from workers.store.rows import micros


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events to look at; None means any. Times are in UTC, `since` is included and `until` is not.

    Recipients are compared as `ingest.copernica.addresses.folded` says: without regard to case, among others.
    """

    types: Sequence[str] = ()
    recipient: str | None = None
    message_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    @property
    def by_message(self) -> bool:
        """Whether it is about a message, wherever that one's events are."""
        return self.message_id is not None

    def conditions(self, backend: Backend) -> list[ColumnElement[bool]]:
        """The filter as conditions of a WHERE clause."""
        columns = tables.events.c
        conditions = backend.about(self.recipient, self.message_id)
        if self.types:
            conditions.append(columns.type.in_(self.types))
        if self.since is not None:
            conditions.append(columns.occurred_at >= self.since)
        if self.until is not None:
            conditions.append(columns.occurred_at < self.until)
        return conditions

    def fits(self, event: Event) -> bool:
        """Whether an event is one of those that the filter selects."""
        return (
            (not self.types or event.type in self.types)
            and (self.recipient is None or _same_address(event.recipient, self.recipient))
            and (self.message_id is None or event.message_id == self.message_id)
            and (self.since is None or event.occurred_at >= micros(self.since))
            and (self.until is None or event.occurred_at < micros(self.until))
        )


def _same_address(address: str | None, other: str) -> bool:
    return address is not None and folded(address) == folded(other)
