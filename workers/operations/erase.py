"""Erasing a person, as the GDPR entitles them to: `ingest erase --recipient`.

Deleted is what is about the person: events sent to the address, events in whose fields the address stands alone
(a profile's `email`, a complaint's `emailfrom`), all events of the profiles found that way, and calls in which it
occurs that are kept raw: in quarantine, as dead letters, for handlers. Where the address is only mentioned in a
longer text, that text is kept and the address blanked.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, quote_plus, unquote, unquote_plus

import redis

from ingest import redis_client
from ingest.copernica.events import Event
from ingest.errors import SettingsError
from ingest.settings import Settings
from ingest.stream.consumer import Consumer
from workers.handlers.work_queue import WorkQueue
from workers.store import tables
from workers.store.store import MENTIONING, Store

#: What stands in place of an address that was only mentioned.
BLANK = "[erased]"
#: How JSON may write any character.
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")


@dataclass(slots=True)
class Erased:
    """What was found, by key; events that are `blanked` stay without the address."""

    deleted: set[bytes] = field(default_factory=set)
    blanked: dict[bytes, Event] = field(default_factory=dict)
    quarantined: list[bytes] = field(default_factory=list)
    unverified: list[tuple[bytes, bytes]] = field(default_factory=list)
    #: Calls that handlers could not take, or have not been given yet.
    handed_on: int = 0

    def as_dict(self) -> dict[str, int]:
        """The counts."""
        return {
            "events_deleted": len(self.deleted),
            "events_blanked": len(self.blanked),
            "quarantine_deleted": len(self.quarantined),
            "unverified_deleted": len(self.unverified),
            "handlers_deleted": self.handed_on,
        }


def erase(store: Store, recipient: str, dry_run: bool, step: Callable[[], object] = lambda: None) -> Erased:
    """Find a person by the address, and unless it is a dry run, delete them; `step` is called for each look.

    Raises:
        Unavailable: the database cannot be used; nothing was deleted.
    """
    person = _Person(recipient)
    found = Erased()
    profiles: set[tuple[int, int]] = set()
    for event in store.mentioning(person.spellings):
        step()
        if person.is_subject_of(event):
            found.deleted.add(event.delivery_id)
            if event.database is not None and event.profile is not None:
                profiles.add((event.database, event.profile))
        elif (blanked := person.blanked(event)) != event:
            found.blanked[event.delivery_id] = blanked
    for event in store.of_profiles(sorted(profiles)) if profiles else ():
        step()
        found.deleted.add(event.delivery_id)
        found.blanked.pop(event.delivery_id, None)
    found.quarantined = [
        row.delivery_id for row in store.rows(tables.quarantine) if person.occurs_in(row.body, row.path)
    ]
    found.unverified = [
        (row.delivery_id, row.body_hash)
        for row in store.rows(tables.unverified)
        if person.occurs_in(row.body, row.path.decode("utf-8", "replace"))
    ]
    found.handed_on = WorkQueue(store).forget(
        lambda record: (
            record.delivery_id in found.deleted
            or record.delivery_id in found.blanked
            or person.occurs_in(record.body, record.target.decode("utf-8", "replace"))
        ),
        dry_run,
    )
    if not dry_run:
        store.erase(sorted(found.deleted), list(found.blanked.values()), found.quarantined, found.unverified)
        store.scrub()
    return found


def waiting(settings: Settings) -> int | None:
    """How many batches lie in Redis, where nobody looks into them; None if that cannot be told."""
    try:
        client = redis_client.connect(settings.redis)
        try:
            backlog = Consumer(client)
            return backlog.batches() + backlog.dead_batches()
        finally:
            client.close()
    except (redis.RedisError, SettingsError):
        return None


class _Person:
    """One address, and how to recognise it."""

    def __init__(self, address: str) -> None:
        self._address = address.strip().lower()
        # Not as a part of a longer address: jan@example.nl is neither bertjan@example.nl nor jan@example.nl.org.
        self._mention = re.compile(rf"(?<![\w.+-]){re.escape(self._address)}(?![\w-]|\.\w)", re.IGNORECASE)

    @property
    def spellings(self) -> list[str]:
        """How the address may be written in a text, in a URL, in JSON; databases only know the case of ASCII."""
        found: set[str] = set()
        for plain in (self._address, self._address.upper()):
            escaped = plain.replace("\\", "\\\\").replace('"', '\\"')
            found |= {
                plain,
                escaped,
                quote(plain),
                quote_plus(plain),
                quote(plain, safe="+"),
                quote(plain, safe="@"),
            }
        return sorted(found)

    def is_subject_of(self, event: Event) -> bool:
        """Whether the event is about this person."""
        if event.recipient is not None and event.recipient.strip().lower() == self._address:
            return True
        return any(value.strip().lower() == self._address for value in _texts([event.payload, event.tags]))

    def occurs_in(self, body: bytes, path: str) -> bool:
        """Whether a raw call mentions the address, plainly or escaped in any way."""
        text = _ESCAPE.sub(lambda escape: chr(int(escape[1], 16)), f"{path} {body.decode('utf-8', 'replace')}")
        return any(self._mention.search(read) for read in (text, unquote(text), unquote_plus(text)))

    def blanked(self, event: Event) -> Event:
        """The event without the address; the same event if it does not occur."""
        columns = {name: self._without(getattr(event, name)) for name in MENTIONING}
        clean = event._replace(payload=self._without(event.payload), tags=self._without(event.tags), **columns)
        if clean != event or (event.raw is not None and self.occurs_in(event.raw, event.path)):
            return clean._replace(raw=None, raw_type=None)
        return event

    def _without(self, value: Any) -> Any:
        if isinstance(value, str):
            blanked = self._mention.sub(BLANK, value)
            # In a URL a plus may be a blank; anywhere else it is a part of the address.
            readings = (unquote(blanked), unquote_plus(blanked) if "://" in blanked else blanked)
            return BLANK if any(self._mention.search(reading) for reading in readings) else blanked
        if isinstance(value, list):
            return [self._without(item) for item in value]
        if isinstance(value, dict):
            return {self._without(name): self._without(item) for name, item in value.items()}
        return value


def _texts(value: Any) -> Iterator[str]:
    """All texts in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, dict):
        yield from _texts(list(value.values()))
