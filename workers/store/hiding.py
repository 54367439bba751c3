"""What of people is stored: pseudonyms in the place of addresses, where the settings say so."""

from collections.abc import Mapping, Sequence
from typing import Self

from sqlalchemy import Engine, select

from ingest.batch import Record
from ingest.copernica.addresses import folded
from ingest.copernica.events import Event
from ingest.errors import SettingsError
from ingest.settings import Settings
from workers.records import Quarantined, record_of
from workers.store import pseudonym_mark, tables
from workers.store.backend import Backend, Row
from workers.store.counting import Counting
from workers.store.filters import Filter
from workers.store.pseudonym_mark import Mark
from workers.store.pseudonymising import Pseudonymiser
from workers.store.pseudonyms import Pseudonyms, is_pseudonym
from workers.store.rows import KEY, event_of_new, event_row
from workers.store.tombstones import Tombstones

#: Events, the oldest, in which one looks for addresses from before there were pseudonyms.
FIRST = 1000


class Hiding(Counting):
    """A database that has people under pseudonyms, or under their addresses."""

    def __init__(self, backend: Backend, engine: Engine) -> None:
        super().__init__(backend, engine)
        self._pseudonymiser: Pseudonymiser | None = None
        self._is_key_known = False
        #: Why the key is not known, if it should be.
        self._keyless: SettingsError | None = None

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Connect to the database that settings name, and keep people in it as they say.

        Raises:
            Unavailable: the database cannot be reached or used.
            SchemaMissing, SchemaMismatch: it has no tables, or those of another release.
        """
        store = cls.open(settings.database)
        try:
            store.use_pseudonyms(Pseudonyms.from_settings(settings))
        except SettingsError as error:  # only whoever stores something, or looks for somebody, needs the key
            store._keyless = error
        return store

    @property
    def pseudonyms(self) -> Pseudonyms | None:
        """The pseudonyms under which people are stored; None if that is by their addresses."""
        return self._pseudonymiser.pseudonyms if self._pseudonymiser else None

    def use_pseudonyms(self, pseudonyms: Pseudonyms | None) -> None:
        """From now on, store people under these."""
        self._pseudonymiser = Pseudonymiser(pseudonyms) if pseudonyms else None
        self._is_key_known = False

    def pseudonym_mark(self) -> Mark | None:
        """What the database says of its pseudonyms; None if it has none."""
        with self.reading() as connection:
            return Mark.read(connection)

    def has_addresses(self) -> bool:
        """Whether one of the first events that are stored has an address: from before there were pseudonyms."""
        columns = tables.events.c
        query = select(columns.recipient).order_by(columns.delivery_id).limit(FIRST)
        with self.reading() as connection:
            return any(one and not is_pseudonym(one) for one in connection.execute(query).scalars())

    def require_key(self) -> None:
        """See that what is stored here goes with the pseudonyms that the database has.

        Raises:
            SettingsError: the key is not known here.
            OtherKey: it does not.
            Unavailable: the database cannot be used now.
        """
        if self._is_key_known:
            return
        if self._keyless:
            raise self._keyless
        mark = self.pseudonym_mark()
        if pseudonym_mark.following(mark, self.pseudonyms) != mark:
            with self.writing() as connection:
                self.take_turns(connection, pseudonym_mark.NAME)
                if (new := pseudonym_mark.following(Mark.read(connection), self.pseudonyms)) is not None:
                    new.write(connection)
        self._is_key_known = True

    # --- storing ---

    def hidden(self, event: Event) -> Event:
        """An event as it is stored."""
        return self._pseudonymiser.event(event) if self._pseudonymiser else event

    def hidden_rows(self, rows: Sequence[Row]) -> Sequence[Row]:
        """Rows of events as they are stored."""
        return self._pseudonymiser.rows(rows) if self._pseudonymiser else rows

    def hidden_calls(
        self, rows: Sequence[Row], quarantined: Sequence[Quarantined], erased: Tombstones | None
    ) -> tuple[Sequence[Row], Sequence[Quarantined]]:
        """Rows and calls as they are stored, without people who were erased by their pseudonyms."""
        if self._pseudonymiser is None:
            return rows, quarantined
        rows = self._pseudonymiser.rows(rows)
        if erased:
            kept, *_ = erased.sift([event_of_new(row) for row in rows], (), (), None)
            rows = [event_row(event) for event in kept]
        return rows, [self._pseudonymiser.quarantined(call) for call in quarantined]

    def handed_on(self, rows: Sequence[Row], calls: Mapping[bytes, Record]) -> Mapping[bytes, Record]:
        """What handlers get for these rows of events, which the calls brought."""
        if self._pseudonymiser is None or not self._pseudonymiser.pseudonyms.for_handlers:
            return calls
        return {row[KEY]: record_of(event_of_new(row)) for row in rows}

    # --- looking for people ---

    def addresses(self, address: str) -> list[str]:
        """What a person may be stored as: their address, and their pseudonyms of each key.

        Raises:
            OtherKey: that is another pseudonym, which is not known here.
            Unavailable: the database cannot be used now.
        """
        self._require_to_find(address)
        return [address, *(self.pseudonyms.aliases(address) if self.pseudonyms else ())]

    def known(self, wanted: Filter) -> Filter:
        """A filter that finds a person by their pseudonyms, too.

        Raises:
            OtherKey: it is about somebody who is stored under another pseudonym, which is not known here.
            Unavailable: the database cannot be used now.
        """
        if wanted.recipient is None or wanted.aliases:
            return wanted
        _, *aliases = self.addresses(wanted.recipient)
        return wanted.with_aliases(aliases)

    def _require_to_find(self, address: str) -> None:
        """Find nobody rather than not all of somebody."""
        if not self._is_key_known and not is_pseudonym(folded(address)):
            if self._keyless:
                raise self._keyless
            pseudonym_mark.following(self.pseudonym_mark(), self.pseudonyms)

    def count(self, wanted: Filter) -> int:
        """How many events a filter selects."""
        return super().count(self.known(wanted))

    def counts(self, wanted: Filter, by: str) -> list[tuple[str, str, int]]:
        """How many events a filter selects, by period and type."""
        return super().counts(self.known(wanted), by)
