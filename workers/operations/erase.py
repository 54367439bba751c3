"""Erasing a person's data, as the GDPR entitles them to: `ingest erase --recipient`.

Everything about the person is deleted: events sent to the address, events with a field that holds nothing but the
address (a profile's `email`, a complaint's `emailfrom`), all events of the profiles found that way, and raw calls
that contain the address: those in quarantine, dead letters, and calls that wait for handlers. An event that only
mentions the address within a longer text is kept, with the address blanked.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import redis

from ingest import redis_client, spool
from ingest.copernica.events import Event
from ingest.errors import SettingsError, Unavailable
from ingest.settings import Settings
from ingest.stream.consumer import Consumer
from ingest.stream.heartbeats import Heartbeats
from ingest.stream.reports import SpoolReport, host_of
from workers.handlers.forgetting import forget
from workers.person import Person
from workers.reconcile import downloads
from workers.store import tables
from workers.store.store import Store


@dataclass(slots=True)
class Erased:
    """What is about a person, by key; events that are `blanked` are kept without the address."""

    deleted: set[bytes] = field(default_factory=set)
    blanked: dict[bytes, Event] = field(default_factory=dict)
    quarantined: list[bytes] = field(default_factory=list)
    unverified: list[tuple[bytes, bytes]] = field(default_factory=list)
    #: Calls that wait for handlers, or that these gave up.
    handed_on: int = 0

    def as_dict(self) -> dict[str, int]:
        """The counts, for `--json`."""
        return {
            "events_deleted": len(self.deleted),
            "events_blanked": len(self.blanked),
            "quarantine_deleted": len(self.quarantined),
            "unverified_deleted": len(self.unverified),
            "handlers_deleted": self.handed_on,
        }


def erase(store: Store, recipient: str, dry_run: bool, step: Callable[[], object] = lambda: None) -> Erased:
    """Find everything about a person by their address and, unless it is a dry run, delete it.

    `step` is called for each event that is looked at.

    Raises:
        Unavailable: the database cannot be used now; run it again to finish what it began.
    """
    person = Person(recipient)
    erased = Erased()
    if not dry_run:  # before the search: what is stored from here on is sifted
        store.entomb([recipient])
    profiles: set[tuple[int, int]] = set()
    for event in store.mentioning(person.address, person.spellings):
        step()
        if person.is_subject_of(event):
            erased.deleted.add(event.delivery_id)
            if event.database is not None and event.profile is not None:
                profiles.add((event.database, event.profile))
        elif (blanked := person.blanked(event)) != event:
            erased.blanked[event.delivery_id] = blanked
    if not dry_run and profiles:
        store.entomb([], sorted(profiles))
    for event in store.of_profiles(sorted(profiles)) if profiles else ():
        step()
        erased.deleted.add(event.delivery_id)
        erased.blanked.pop(event.delivery_id, None)
    erased.quarantined = [
        row.delivery_id for row in store.rows(tables.quarantine) if person.occurs_in(row.body, row.path)
    ]
    erased.unverified = [
        (row.delivery_id, row.digest)
        for row in store.rows(tables.unverified)
        if person.occurs_in(row.body, row.path.decode("utf-8", "replace"))
    ]
    erased.handed_on = forget(
        store,
        lambda record: (
            record.delivery_id in erased.deleted
            or record.delivery_id in erased.blanked
            or person.occurs_in(record.body, record.target.decode("utf-8", "replace"))
        ),
        dry_run,
    )
    if not dry_run:
        store.erase(sorted(erased.deleted), list(erased.blanked.values()), erased.quarantined, erased.unverified)
        store.scrub()
        downloads.remove_leftovers()
    return erased


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
        stream = Consumer(client)
        batches, dead = stream.batches(), stream.dead_batches()
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
