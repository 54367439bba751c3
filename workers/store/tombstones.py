"""Who was erased: of them, nothing that is older than the erasure is stored any more.

Such calls may still lie in Redis, in a spool, among those that wait for a key, or in Copernica's log files. What
is kept of a person is a keyed hash, and when they were erased: it says nothing to who does not know the address.
Events that come in later are theirs to have: a person may have subscribed anew.
"""

import hmac
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from sqlalchemy import Connection, func, select

from ingest.batch import Record
from ingest.copernica.addresses import folded
from ingest.copernica.events import DAY, Event
from workers.person import MENTIONING, Person, readings, texts
from workers.records import Quarantined, record_of
from workers.store.tables import tombstones

#: Bytes of the key that all hashes share while there are any, and of a hash.
KEY_SIZE, DIGEST_SIZE = 16, 16
#: Seconds for which a tombstone is kept: as long as log files can bring events back.
KEPT = 400 * DAY
#: What may be an address within a text.
_ADDRESS = re.compile(r"""[^\s<>()\[\]{}"',;:=&?/\\|]+@[\w.\-]+""")


def bury(connection: Connection, addresses: Sequence[str], profiles: Sequence[tuple[int, int]], now: int) -> str:
    """Add tombstones for these, or bring them up to date; `now` in Unix seconds.

    Returns the hash of the first address, which is the person's pseudonym where there is one; empty if none is
    given.
    """
    key = connection.execute(select(tombstones.c.key).limit(1)).scalar() or secrets.token_bytes(KEY_SIZE)
    # What comes from a result names the profile without its database.
    names = [_name(pair) for database, profile in profiles for pair in ((database, profile), (None, profile))]
    digests = {_digest(bytes(key), text) for text in (*map(folded, addresses), *names)}
    connection.execute(tombstones.delete().where(tombstones.c.digest.in_(digests)))
    rows = [{"digest": digest, "key": key, "erased_at": now} for digest in digests]
    connection.execute(tombstones.insert(), rows)
    return _digest(bytes(key), folded(addresses[0])).hex() if addresses else ""


def digests(connection: Connection, addresses: Sequence[str]) -> list[str]:
    """The hashes that `bury` gives for these addresses, as long as nobody's tombstone has expired."""
    key = connection.execute(select(tombstones.c.key).limit(1)).scalar()
    return [] if key is None else [_digest(bytes(key), folded(address)).hex() for address in addresses]


def _name(profile: tuple[int | None, int | None]) -> str:
    return "profile {} {}".format(*profile)


def _digest(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode("utf-8", "replace"), "sha256")[:DIGEST_SIZE]


@dataclass(frozen=True, slots=True)
class Tombstones:
    """All of them."""

    key: bytes
    #: When each was erased, in Unix seconds, by the hash.
    erased_at: Mapping[bytes, int]
    #: When somebody was erased last, in Unix seconds.
    latest: int

    @classmethod
    def read(cls, connection: Connection, oldest: int) -> Self | None:
        """All, if one of them is not older than `oldest` (Unix seconds); else None, as they would say nothing."""
        latest = connection.execute(select(func.max(tombstones.c.erased_at))).scalar()
        if latest is None or latest < oldest:
            return None
        rows = connection.execute(select(tombstones)).all()
        erased_at = {bytes(row.digest): row.erased_at for row in rows}
        return cls(bytes(rows[0].key), erased_at, max(erased_at.values()))

    def sift(
        self,
        events: Sequence[Event],
        quarantined: Sequence[Quarantined],
        unverified: Sequence[Record],
        hand_on: Mapping[bytes, Record] | None,
    ) -> tuple[list[Event], list[Quarantined], list[Record], Mapping[bytes, Record] | None]:
        """What may be stored: events that only mention a person are blanked, and handed on as they are then."""
        kept = [rest for event in events if (rest := self._rest_of(event)) is not None]
        if hand_on is not None:
            blanked = [event for event, was in zip(kept, _same(kept, events), strict=True) if event != was]
            hand_on = {**hand_on, **{event.delivery_id: record_of(event) for event in blanked}}
        return (
            kept,
            [call for call in quarantined if not self._occurs_in(call.record)],
            [record for record in unverified if not self._occurs_in(record)],
            hand_on,
        )

    def _rest_of(self, event: Event) -> Event | None:
        """The event without those who were erased; None if it is about one of them."""
        when = int.from_bytes(event.delivery_id[:4], "big")
        if when > self.latest:  # nearly all
            return event
        profile = event.database, event.profile
        if event.profile is not None and self._is_buried(_name(profile), when):
            return None
        whole = [text for text in (event.recipient, *texts([event.payload, event.tags])) if text and "@" in text]
        mentions = [text for name in MENTIONING if isinstance(text := getattr(event, name), str)]
        mentions.append(str((event.payload, event.tags)))  # which has the names of fields, too
        if event.raw is not None:
            mentions += readings(event.raw, event.path)
        for address in {*map(folded, whole), *_addresses(mentions)}:
            if self._is_buried(address, when):
                person = Person(address)
                if person.is_subject_of(event):
                    return None
                event = person.blanked(event)
        return event

    def _occurs_in(self, record: Record) -> bool:
        when = int.from_bytes(record.delivery_id[:4], "big")
        found = _addresses(readings(record.body, record.target.decode("utf-8", "replace")))
        return any(self._is_buried(address, when) for address in found)

    def _is_buried(self, text: str, when: int) -> bool:
        return when <= self.erased_at.get(_digest(self.key, text), -1)


def _addresses(mentions: Sequence[str]) -> Iterator[str]:
    for text in mentions:
        if "@" in text or "%40" in text:
            for reading in {text, *readings(text.encode("utf-8", "replace"), "")}:
                for found in _ADDRESS.findall(reading):
                    yield folded(found.rstrip(".-"))


def _same(kept: Sequence[Event], events: Sequence[Event]) -> Iterator[Event]:
    by_id = {event.delivery_id: event for event in events}
    return (by_id[event.delivery_id] for event in kept)
