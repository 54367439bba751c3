"""What a drain gathers for one database commit, and how it gets into the store."""

import logging
from collections.abc import Sequence
from mmap import PAGESIZE
from pathlib import Path
from typing import NamedTuple

from ingest.batch import UNVERIFIED, Record
from ingest.copernica.events import Event
from ingest.errors import RowsRejected
from ingest.stream.consumer import Entry
from workers.bisection import take_all
from workers.records import Quarantined, Why, read
from workers.runtime import patiently
from workers.store.backend import Row
from workers.store.commits import Batch, Commit
from workers.store.row_plans import RowPlans
from workers.store.rows import Added
from workers.store.store import Store

log = logging.getLogger(__name__)

#: Calls that go into one database commit: more would gain nothing, and hold others up for longer …
COMMIT_CALLS = 8192
#: … and bytes of their bodies, so that large ones do not fill the memory.
COMMIT_BYTES = 8 * 1024 * 1024
#: Bytes by which the process has grown since a group was begun, from which on it is committed as well: many small
#: fields take far more memory than the bodies that they come in …
COMMIT_GROWTH = 128 * 1024 * 1024
#: … and bytes of bodies after which that is looked at again, which takes some ten microseconds.
LOOK_EVERY = 256 * 1024

_STATM = Path("/proc/self/statm")


class Group:
    """The calls that go into the next commit, by what becomes of them, and the batches that brought them."""

    __slots__ = (
        "_began_with", "_bytes", "_look_at", "_plans", "_swollen",
        "batches", "ids", "quarantined", "records", "rows", "unverified",
    )  # fmt: skip

    def __init__(self, plans: RowPlans) -> None:
        """Calls are read by `plans`."""
        self._plans = plans
        #: The ids of batches, to be acknowledged after the commit.
        self.ids: list[bytes] = []
        #: The same batches, with how many events each had.
        self.batches: list[Batch] = []
        #: The events, as rows of their table.
        self.rows: list[Row] = []
        #: The calls that brought them, in the same order.
        self.records: list[Record] = []
        self.quarantined: list[Quarantined] = []
        self.unverified: list[Record] = []
        self._bytes = 0
        self._look_at = LOOK_EVERY
        self._began_with = _resident()
        self._swollen = False

    @property
    def full(self) -> bool:
        """Whether it is time for a commit."""
        return self.calls >= COMMIT_CALLS or self._bytes >= COMMIT_BYTES or self._swollen

    @property
    def calls(self) -> int:
        """How many calls there are in it."""
        return len(self.rows) + len(self.quarantined) + len(self.unverified)

    def take_batch(self, entry: Entry, records: Sequence[Record]) -> None:
        """Decode the calls of a batch, which is acknowledged after the commit."""
        before = len(self.rows)
        self.take(records)
        self.ids.append(entry.id)
        number = len(self.rows) - before
        self.batches.append(Batch(entry.id.decode(), entry.endpoint.decode("utf-8", "replace"), number))

    def take(self, records: Sequence[Record]) -> None:
        """Decode calls and put each where it belongs."""
        read, rows, taken = self._plans.read, self.rows, self.records
        for record in records:
            if record.flags & UNVERIFIED:
                self.unverified.append(record)
                continue
            row = read(record)
            if isinstance(row, Quarantined):
                self.quarantined.append(row)
            else:
                rows.append(row)
                taken.append(record)
        self._bytes += sum(len(record.body) for record in records)
        if self._bytes >= self._look_at:
            self._look_at = self._bytes + LOOK_EVERY
            self._swollen = _resident() - self._began_with > COMMIT_GROWTH


def _resident() -> int:
    """Bytes of memory that this process has; 0 where the system does not tell in the way of Linux."""
    try:
        return int(_STATM.read_bytes().split()[1]) * PAGESIZE
    except OSError:
        return 0


class Stored(NamedTuple):
    """What became of a group: how many of its calls are new, erased people's, or late, and how many refused."""

    new: int
    erased: int
    upgraded: int
    refused: int


class GroupStore:
    """Puts groups into the store; waits for a database that is unavailable."""

    def __init__(self, store: Store, has_handlers: bool, name: str) -> None:
        """`name` is that of the drain."""
        self._store = store
        self._name = name
        self._has_handlers = has_handlers

    def add(self, group: Group, deadline: float | None) -> Stored:
        """Store a group; events that the database refuses go to quarantine.

        Raises:
            Unavailable: the database was unavailable until `deadline` (monotonic seconds; None: at once).
        """
        try:
            commit = Commit(self._name, group.batches)
            added = self._add(deadline, group.rows, group.records, group.quarantined, group.unverified, commit)
            return Stored(*added, refused=0)
        except RowsRejected:
            return self._add_most(group, deadline)

    def _add_most(self, group: Group, deadline: float | None) -> Stored:
        """Store a group in parts, until the events that the database refuses are alone."""
        added = self._add(deadline, (), (), group.quarantined, group.unverified)
        refused = 0

        def take(pairs: Sequence[tuple[Row, Record]]) -> None:
            nonlocal added
            added += self._add(deadline, [row for row, _ in pairs], [record for _, record in pairs])

        def give_up(pair: tuple[Row, Record], refusal: RowsRejected) -> None:
            nonlocal added, refused
            _, record = pair
            log.warning("event %s goes to quarantine: %s", record.delivery_id.hex(), refusal)
            refused += 1
            added += self._add(deadline, (), (), [Quarantined(record, str(refusal), Why.REFUSED)])

        take_all(list(zip(group.rows, group.records, strict=True)), take, give_up)
        return Stored(*added, refused)

    def _add(
        self,
        deadline: float | None,
        rows: Sequence[Row],
        records: Sequence[Record],
        quarantined: Sequence[Quarantined] = (),
        unverified: Sequence[Record] = (),
        commit: Commit | None = None,
    ) -> Added:
        """One commit."""
        calls = {record.delivery_id: record for record in records} if self._has_handlers else None

        def events() -> list[Event]:
            return [event for record in records if isinstance(event := read(record), Event)]

        def add() -> Added:
            noted = commit or Commit(self._name)
            return self._store.add_rows(rows, events, quarantined, unverified, hand_on=calls, commit=noted)

        return patiently(add, deadline)
