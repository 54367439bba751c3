"""To whom messages were sent, which results do not tell: from events that we have, or from the profile.

Log files have it, so what is not found here is filled in when those of the day are there.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import NamedTuple

from sqlalchemy import select

from ingest.copernica.api.client import Copernica
from ingest.copernica.api.profiles import profile
from ingest.copernica.api.results import LISTS
from ingest.copernica.columns import fits_column
from ingest.copernica.events import EPOCH
from ingest.errors import NotFound, RequestRejected
from workers.catch_up.fetching import Period, together
from workers.catch_up.shelf import Person, Shelf, parts
from workers.reconcile.logfile import Watch
from workers.store import tables
from workers.store.store import Store

#: Messages that are looked for in one query, and in one look: the rest is left to the log files.
TOGETHER, MOST_MESSAGES = 200, 20_000
#: Profiles that Copernica is asked for in one look, one call each, and at once.
MOST_PROFILES, AT_ONCE = 10_000, 100
#: The type of a database's fields that hold an address.
EMAIL = "email"
_ADDRESS = re.compile(r"[^@\s<>]+@[^@\s<>]+\.[^@\s<>]+")


class _Sent(NamedTuple):
    """What an event says: which message it is of, and to whom that was sent."""

    message: str
    recipient: str
    person: Person


class Recipients:
    """Finds out to whom the messages on a shelf were sent."""

    def __init__(self, store: Store, shelf: Shelf, watch: Watch) -> None:
        self._store = store
        self._shelf = shelf
        self._watch = watch

    def from_events(self, period: Period) -> None:
        """From the events of a period, then older ones of the same messages, then those of the same people."""
        for rows in self._events(period):
            self._shelf.addressed((row.message, row.recipient) for row in rows)
        self._from_older()
        people = set(self._shelf.unreached(MOST_MESSAGES))
        if people:
            for rows in self._events(period):
                self._shelf.reach((row.person, row.recipient) for row in rows if row.person in people)

    def _events(self, period: Period) -> Iterator[list["_Sent"]]:
        """What events of a period say of to whom their messages were sent."""
        for kind in LISTS:
            yield from self._of_kind(kind, period)

    def _of_kind(self, kind: str, period: Period) -> Iterator[list["_Sent"]]:
        columns = tables.events.c
        moment, _ = self._store.seconds(columns.occurred_at)
        of_kind, more = self._store.by_time(kind)
        said = columns.message_id, columns.recipient, columns.profile, columns.subprofile
        query = select(moment, *more, *said).where(
            of_kind, columns.occurred_at < EPOCH + timedelta(seconds=period.until + 1)
        )
        first = columns.occurred_at >= EPOCH + timedelta(seconds=period.since)
        number = 0
        label = f"looking for recipients in {kind}"
        for rows in self._store.streamed(query, first, [moment, *more]):
            number += len(rows)
            self._watch(label, number, None)
            yield [
                _Sent(row.message_id, row.recipient, Person(row.profile, row.subprofile))
                for row in rows
                if row.message_id and row.recipient
            ]
        self._watch(label, number, number)

    def _from_older(self) -> None:
        """From all events of these messages, by the index."""
        left = MOST_MESSAGES
        for messages in self._shelf.without_recipient():
            for some in parts(messages[:left], TOGETHER):
                self._shelf.addressed(self._recipients_of(some))
            left -= len(messages)
            if left <= 0:
                return

    def _recipients_of(self, messages: Sequence[str]) -> list[tuple[str, str]]:
        columns = tables.events.c
        of_them = self._store.of_messages(messages), columns.recipient.is_not(None)
        query = select(columns.message_id, columns.recipient).where(*of_them).distinct()
        with self._store.reading(by_message=True) as connection:
            return [(row[0], row[1]) for row in connection.execute(query)]

    async def from_profiles(self, api: Copernica) -> None:
        """From the profiles: the field of their database that holds an address, if that is certain.

        Raises:
            RestError: Copernica does not tell.
        """
        fields: dict[int, str | None] = {}
        done = 0

        async def one(person: Person, found: dict[Person, str]) -> None:
            there = await profile(api, person.profile)
            if there is None:
                return
            database = there.database or 0
            if database not in fields:
                fields[database] = await self._email_field(api, database)
            address = address_of(there.fields, fields[database])
            if address:
                found[person] = address

        people = [person for person in self._shelf.unreached(MOST_PROFILES) if person.subprofile is None]
        for some in parts(people, AT_ONCE):
            found: dict[Person, str] = {}
            await together(one(person, found) for person in some)
            self._shelf.reach(found.items())
            done += len(some)
            self._watch("fetching profiles", done, len(people))

    async def _email_field(self, api: Copernica, database: int) -> str | None:
        """The name of the only field of a database that holds an address; None if there is none, or several."""
        if not database:
            return None
        names = []
        try:
            async for entry in api.pages(f"/database/{database}/fields", about="list the fields of a database"):
                if entry.get("type") == EMAIL and isinstance(entry.get("name"), str):
                    names.append(entry["name"])
        except (NotFound, RequestRejected):
            return None
        return names[0] if len(names) == 1 else None


def address_of(fields: dict[str, object], name: str | None) -> str | None:
    """The address of a profile: in the field of this name or, if there is none, the only one that it has."""
    candidates: Iterable[object] = fields.values() if name is None else [fields.get(name)]
    found = {one.strip() for one in candidates if isinstance(one, str) and _ADDRESS.fullmatch(one.strip())}
    address = found.pop() if len(found) == 1 else None
    return address if address and fits_column(address) else None
