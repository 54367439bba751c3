"""Which events a command is about: as conditions of a query, and as a test of a single event."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Self

from sqlalchemy import ColumnElement, Text, and_, cast, func, or_, true

from ingest.copernica.addresses import folded
from workers.store import tables
from workers.store.backend import Backend
from workers.store.rows import json_text, micros
from workers.store.search_index import lower

if TYPE_CHECKING:
    from ingest.copernica.events import Event
    from workers.store.lines import Line

#: Columns in which a text is searched for, besides the tags.
SEARCHED = (
    "recipient", "message_id", "ip", "url", "user_agent", "referer", "extended", "state", "description",
)  # fmt: skip  # a list to be read across


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events to look at; None means any. Times are in UTC, `since` is included and `until` is not.

    Recipients are compared as `ingest.copernica.addresses.folded` says: without regard to case, among others.
    `text` is anywhere in one of the columns `SEARCHED` or in a tag; the case of ASCII letters does not matter.
    """

    types: Sequence[str] = ()
    recipient: str | None = None
    message_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    mailing: int | None = None
    profile: int | None = None
    tag: str | None = None
    source: str | None = None
    text: str | None = None
    #: The pseudonyms of the recipient, who may be stored under any of them.
    aliases: Sequence[str] = ()

    def with_aliases(self, aliases: Sequence[str]) -> Self:
        """The same, with the pseudonyms of the recipient."""
        return replace(self, aliases=tuple(aliases))

    @property
    def recipients(self) -> Sequence[str | None]:
        """What the recipient may be stored as; just None if it is about anybody."""
        return (*self.aliases, self.recipient) if self.recipient is not None else (None,)

    def about(self, backend: Backend, newest: int = 0) -> list[ColumnElement[bool]]:
        """The conditions on recipient and message by an index; for `newest`, see `Backend.about`."""
        ways = [and_(true(), *backend.about(one, self.message_id, newest)) for one in self.recipients]
        return [or_(*ways)] if len(ways) > 1 else backend.about(self.recipient, self.message_id, newest)

    @property
    def by_message(self) -> bool:
        """Whether it is about a message, wherever that one's events are."""
        return self.message_id is not None

    @property
    def is_pointed(self) -> bool:
        """Whether an index leads to its events, which are few."""
        return self.recipient is not None or self.message_id is not None

    def conditions(self, backend: Backend) -> list[ColumnElement[bool]]:
        """The filter as conditions of a WHERE clause."""
        return [*self.about(backend), *self.others(backend), *self.within()]

    def within(self) -> list[ColumnElement[bool]]:
        """The conditions on the time."""
        occurred_at = tables.events.c.occurred_at
        conditions = []
        if self.since is not None:
            conditions.append(occurred_at >= self.since)
        if self.until is not None:
            conditions.append(occurred_at < self.until)
        return conditions

    def others(self, backend: Backend) -> list[ColumnElement[bool]]:
        """The conditions on neither recipient, message nor time."""
        columns = tables.events.c
        conditions: list[ColumnElement[bool]] = []
        if self.types:
            conditions.append(columns.type.in_(self.types))
        for column, value in (
            (columns.mailing, self.mailing),
            (columns.profile, self.profile),
            (columns.source, self.source),
        ):
            if value is not None:
                conditions.append(column == value)
        if self.tag is not None:
            conditions.append(backend.tagged(self.tag))
        if self.text is not None:
            piece = lower(self.text)
            searched: list[tuple[ColumnElement[str], str]]
            searched = [(func.coalesce(columns[name], ""), piece) for name in SEARCHED]
            searched.append((cast(columns.tags, Text), json_text(piece)[1:-1]))
            conditions.append(or_(*(backend.holds(column, written) for column, written in searched)))
        return conditions

    def fits(self, event: "Event | Line") -> bool:
        """Whether an event is one of those that the filter selects."""
        return (
            (not self.types or event.type in self.types)
            and (self.recipient is None or any(_same_address(event.recipient, one) for one in self.recipients))
            and (self.message_id is None or event.message_id == self.message_id)
            and (self.since is None or event.occurred_at >= micros(self.since))
            and (self.until is None or event.occurred_at < micros(self.until))
            and (self.mailing is None or event.mailing == self.mailing)
            and (self.profile is None or event.profile == self.profile)
            and (self.tag is None or self.tag in event.tags)
            and (self.source is None or event.source == self.source)
            and (self.text is None or _holds(event, lower(self.text)))
        )


def _same_address(address: str | None, other: str | None) -> bool:
    return address is not None and other is not None and folded(address) == folded(other)


def _holds(event: "Event | Line", piece: str) -> bool:
    texts = [*(getattr(event, name) or "" for name in SEARCHED), *event.tags]
    return any(piece in lower(text) for text in texts)
