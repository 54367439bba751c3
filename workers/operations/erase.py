"""Erasing a person's data, as the GDPR entitles them to: `ingest erase --recipient`.

Everything about the person is deleted: events sent to the address, events with a field that holds nothing but the
address (a profile's `email`, a complaint's `emailfrom`), all events of the profiles found that way, and raw calls
that contain the address: those in quarantine, dead letters, and calls that wait for handlers. An event that only
mentions the address within a longer text is kept, with the address blanked.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import redis

from ingest import partitions, redis_client, spool
from ingest.copernica.events import Event
from ingest.errors import SettingsError, Unavailable
from ingest.settings import Settings
from ingest.stream.consumer import Consumer
from ingest.stream.heartbeats import Heartbeats
from ingest.stream.reports import SpoolReport, host_of
from workers.catch_up import keeping
from workers.handlers import history
from workers.handlers.forgetting import forget
from workers.person import Person
from workers.reconcile import downloads
from workers.store import tables
from workers.store.filters import Filter
from workers.store.store import Store

#: Most events that a dry run reads in any case: about half a second's work.
READ_AT_ONCE = 100_000
#: Stands for the profiles of a person while none are known.
NO_PROFILE = (0, 0)


@dataclass(slots=True)
class Erased:
    """What is about a person, by key; events that are `blanked` are kept without the address."""

    deleted: set[bytes] = field(default_factory=set)
    blanked: dict[bytes, Event] = field(default_factory=dict)
    quarantined: list[bytes] = field(default_factory=list)
    unverified: list[tuple[bytes, bytes]] = field(default_factory=list)
    #: The messages that were sent to the person, and the numbers of their profiles.
    messages: set[str] = field(default_factory=set)
    profiles: set[int] = field(default_factory=set)
    #: Calls that wait for handlers, or that these gave up.
    handed_on: int = 0
    #: Events that a dry run did not read, and how many seconds that takes, about. Then `deleted` are only those
    #: that were sent to the address.
    unread: int = 0
    seconds: float = 0.0
    #: Whether the rows are deleted; their bytes may still be in the files of SQLite then.
    committed: bool = False
    #: What the person is in the audit: a keyed hash, which says nothing to who does not know the address.
    person: str = ""

    def noted(self) -> dict[str, object]:
        """What the audit keeps: who it was, for whoever knows the address, and how much."""
        parts = {
            "events": len(self.deleted),
            "blanked": len(self.blanked),
            "quarantine": len(self.quarantined),
            "unverified": len(self.unverified),
            "handlers": self.handed_on,
        }
        return {"person": self.person} | {name: number for name, number in parts.items() if number}

    def as_dict(self) -> dict[str, int | None]:
        """The counts, for `--json`; None where it was not counted."""
        return {
            "events_deleted": len(self.deleted),
            "events_blanked": None if self.unread else len(self.blanked),
            "quarantine_deleted": len(self.quarantined),
            "unverified_deleted": len(self.unverified),
            "handlers_deleted": self.handed_on,
            "events_unread": self.unread,
            "seconds_to_read_them": round(self.seconds),
        }


def erase(
    store: Store,
    recipient: str,
    dry_run: bool,
    thorough: bool = False,
    progress: Callable[[float], object] = lambda part: None,
    erased: Erased | None = None,
) -> Erased:
    """Find everything about a person by their address and, unless it is a dry run, delete it.

    What was sent to the address is found by an index, and all else only by reading every event. A dry run does
    that only if it is `thorough`, or there are few events; otherwise it finds out how long it will take.
    `progress` is called with the part that is read, from 0 to 1. What is found goes into `erased`, if given.

    Raises:
        OtherKey: the person is stored under a pseudonym that is not known here.
        Unavailable: the database cannot be used now; run it again to finish what it began.
    """
    known = store.addresses(recipient)
    person = Person(recipient, known)
    erased = erased or Erased()
    if not dry_run:  # before the search: what is stored from here on is sifted
        erased.person = store.entomb(known)
    stored = store.stored()
    if dry_run and not thorough and stored > READ_AT_ONCE:
        erased.deleted.update(store.ids(Filter(recipient=person.address)))
        erased.unread, erased.seconds = stored, _seconds_to_read(store, person, stored)
    else:
        _read_all(store, person, erased, dry_run, _Reading(2 * stored, progress))
    erased.quarantined = [
        row.delivery_id for row in store.rows(tables.quarantine) if person.occurs_in(row.body, row.path)
    ]
    erased.unverified = [
        (row.delivery_id, row.digest)
        for row in store.rows(tables.unverified)
        if person.occurs_in(row.body, row.path.decode("utf-8", "replace"))
    ]
    erased.handed_on = _forget_at_handlers(store, person, erased, dry_run)
    if not dry_run:
        store.erase(erased.deleted, erased.blanked, erased.quarantined, erased.unverified, person.blanked)
        erased.committed = True
        store.scrub()
        downloads.remove_leftovers()
    return erased


def _forget_at_handlers(store: Store, person: Person, erased: Erased, dry_run: bool) -> int:
    """Delete the calls at handlers that are about a person, and what errors say of them; returns how many."""

    def mentions(text: str) -> bool:
        return person.occurs_in(text.encode(errors="replace"), "")

    handed_on = forget(
        store,
        lambda record: (
            record.delivery_id in erased.deleted
            or record.delivery_id in erased.blanked
            or person.occurs_in(record.body, record.target.decode("utf-8", "replace"))
        ),
        dry_run,
        mentions,
    )
    if not dry_run:  # after these are gone: no worker adds to it any more
        history.forget(store, erased.deleted | erased.blanked.keys(), mentions)
    return handed_on


class _Reading:
    """How many rows were read; tells which part of all that is."""

    def __init__(self, of: int = 0, progress: Callable[[float], object] = lambda part: None) -> None:
        self.rows, self._of, self._progress = 0, max(1, of), progress

    def __call__(self, rows: int) -> None:
        self.rows += rows
        self._progress(min(1.0, self.rows / self._of))


def _read_all(store: Store, person: Person, erased: Erased, dry_run: bool, reading: _Reading) -> None:
    """Look for the person in every event, and then for their profiles."""
    profiles: set[tuple[int, int]] = set()
    for event in store.mentioning(person.address, person.pieces, person.spellings, reading):
        if person.is_subject_of(event):
            erased.deleted.add(event.delivery_id)
            if event.message_id:
                erased.messages.add(event.message_id)
            if event.database is not None and event.profile is not None:
                profiles.add((event.database, event.profile))
        elif (blanked := person.blanked(event)) != event:
            erased.blanked[event.delivery_id] = blanked
    if not dry_run and profiles:
        store.entomb([], sorted(profiles))
    for event in store.of_profiles(sorted(profiles), reading) if profiles else ():
        erased.deleted.add(event.delivery_id)
        erased.blanked.pop(event.delivery_id, None)
    erased.profiles = {number for _, number in profiles}
    erased.deleted.update(keeping.without_recipient(store, erased.messages))
    if not dry_run:
        keeping.erase(store, erased.messages, erased.profiles)


def _seconds_to_read(store: Store, person: Person, stored: int) -> float:
    """How long it will take to read all events, and again for the person's profiles, by the first of them."""
    reading, began = _Reading(), time.perf_counter()
    for _ in store.mentioning(person.address, person.pieces, person.spellings, reading, portions=1):
        pass
    for _ in store.of_profiles([NO_PROFILE], portions=1):
        pass
    return (time.perf_counter() - began) * stored / max(1, reading.rows)


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What an erasure does not search, by number; None where that is unknown.

    Calls that wait are sifted when they are stored. What cannot be read has to be deleted by hand, or expires.
    """

    batches_waiting: int | None = None
    dead_batches: int | None = None
    spooled_calls: int | None = None
    bad_files: int | None = None


def elsewhere(settings: Settings) -> Elsewhere:
    """Look at what lies outside the database."""
    batches = dead = None
    spooled: dict[str, SpoolReport] = {}
    with suppress(redis.RedisError, SettingsError), redis_client.connect(settings.redis) as client:
        with partitions.opened(settings, client) as streams:
            batches, dead = sum(streams.every(Consumer.batches)), sum(streams.every(Consumer.dead_batches))
        reports = Heartbeats(client).reports().endpoints
        spooled = {name: report.spool for name, report in reports.items() if report.spool is not None}
    if spooled:
        # Processes of one machine may share a folder, and each counts what is damaged in all of it.
        bad = {host_of(name): report.bad_records for name, report in spooled.items()}
        calls = sum(report.events for report in spooled.values())
        return Elsewhere(batches, dead, calls, sum(bad.values()))
    if settings.spool_dir is None:
        return Elsewhere(batches, dead, 0, 0)
    with suppress(Unavailable):
        folder = spool.look(settings.spool_dir)
        return Elsewhere(batches, dead, folder.events, folder.bad_files)
    return Elsewhere(batches, dead)
