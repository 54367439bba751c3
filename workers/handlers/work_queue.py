"""What handlers have to do, kept in the database: claimed, retried, given up.

    outbox        what a drain stored, by type, written in the same transaction as the events
      │ dispatch  a copy for each handler that wants the type
      ▼
    handoffs      (handler, a few hundred calls) ──▶ claimed for `LEASE` seconds, renewed while in progress
      │  ├─ done: deleted                             killed: claimed by the next worker when the lease has expired
      │  ├─ failed: a new row, due later, with one more attempt
      │  └─ failed together: rows of their own, until the calls at fault are alone (`workers.handlers.batches`)
      ▼
    dead_letters  after the last attempt, with the error

Rows hold the calls themselves, packed as in the stream: some 80 bytes per event, and no other table to read.
"""

import random
import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, bindparam, func, select

from ingest.batch import Record, chunks, pack, unpack
from ingest.copernica.events import MICROS
from workers.handlers import history
from workers.handlers.claims import Claim, Failure
from workers.handlers.registry import Handler, wanting
from workers.handlers.run_notes import Outcome, Run
from workers.handlers.waiting import WaitingWork
from workers.metrics import figures
from workers.store.again import again
from workers.store.backend import new_key
from workers.store.rows import clean, stored_time
from workers.store.tables import dead_letters, handoffs, outbox

#: Seconds after which a claim that is not renewed can be claimed by another worker.
LEASE = 15.0
#: Rows of the outbox that are dispatched in one transaction.
DISPATCH_ROWS = 64
#: Rows that a claim looks at: many, since events that trickle in make rows of one call each.
CLAIM_ROWS = 512
#: Deaths of workers over a row after which it is halved, or a single call given up: something in it kills them.
CRASHES = 3
#: The largest part of a delay that is added at random, so that retries do not come back all at once.
JITTER = 0.2
#: Columns of a row of `handoffs` that no worker has claimed yet.
_FRESH: Mapping[str, Any] = {"attempt": 0, "crashes": 0, "leased_until": 0, "slots": 0, "apart": False}


class WorkQueue(WaitingWork):
    """The tables `outbox`, `handoffs` and `dead_letters`."""

    #: The largest part of a delay that is added at random; a test of handlers has none.
    jitter = JITTER

    # --- handing calls to handlers ---

    @again
    def dispatch(self, handlers: Mapping[str, Handler]) -> int:
        """Give each handler its copy of what is in the outbox; returns how many rows of it there were."""
        dispatched = 0
        while True:
            with self._store.writing() as connection:
                # Skips rows that another worker is dispatching; SQLite, which has one writer, ignores this.
                query = select(outbox).order_by(outbox.c.id).limit(DISPATCH_ROWS).with_for_update(skip_locked=True)
                rows = connection.execute(query).mappings().all()
                if not rows:
                    return dispatched
                fresh = {**_FRESH, "due_at": self._at_once()}
                copies = [
                    {**fresh, "handler": name, "count": row["count"], "packed": row["packed"]}
                    for row in rows
                    for name in wanting(handlers, row["type"])
                ]
                if copies:
                    connection.execute(handoffs.insert(), copies)
                connection.execute(outbox.delete().where(outbox.c.id.in_([row["id"] for row in rows])))
            dispatched += len(rows)

    def give(self, connection: Connection, handler: str, records: Sequence[Record]) -> None:
        """Hand calls to one handler, within a transaction."""
        self._insert(connection, handler, records, attempt=0, due=self._at_once())

    @again
    def retry(self, handler: str, records: Sequence[Record]) -> int:
        """Hand dead letters to their handler again; returns how many of them still existed."""
        columns = dead_letters.c
        with self._store.writing() as connection:
            same_calls = columns.delivery_id.in_([record.delivery_id for record in records])
            locked = self._store.lock(connection, dead_letters, columns.handler == handler, same_calls)
            deleted = {bytes(key.delivery_id) for key in locked}
            connection.execute(dead_letters.delete().where(columns.handler == handler, same_calls))
            self.give(connection, handler, [record for record in records if record.delivery_id in deleted])
        return len(deleted)

    # --- working on calls ---

    @again
    def claim(self, handler: Handler, most: int, slots: int) -> Claim | None:
        """Claim up to `most` calls that are due, or one row if it has more; None if there is nothing to claim.

        `slots` is how many calls the worker would handle at once; the claim has fewer if others use them.
        """
        with self._store.writing() as connection:
            self._store.take_turns(connection, f"ingest handler {handler.name}")
            now = self._now()
            if handler.concurrency is not None:
                slots = min(slots, self._free_slots(connection, handler, now))
                if slots <= 0:
                    return None
            rows = self._claimable(connection, handler, now, most)
            if not rows:
                return None
            crashed = rows[0].leased_until > 0
            self._lease(connection, [row.id for row in rows], slots, crashed)
            packed = select(handoffs.c.packed).where(handoffs.c.id == bindparam("id"))
            batches = [connection.execute(packed, {"id": row.id}).scalar_one() for row in rows]
            records = [record for batch in batches for record in unpack(batch)]
            if crashed:
                self._note_death(connection, handler, rows[0], records)
            claim = Claim([row.id for row in rows], records, rows[0].attempt, slots, rows[0].apart)
        if crashed and rows[0].crashes + 1 >= CRASHES:
            return self._isolate(handler, claim)
        return claim

    def _free_slots(self, connection: Connection, handler: Handler, now: int) -> int:
        columns = handoffs.c
        taken = select(func.coalesce(func.sum(columns.slots), 0))
        taken = taken.where(columns.handler == handler.name, columns.leased_until > now)
        used = int(connection.execute(taken).scalar_one())
        return (handler.concurrency or 0) - used

    def _claimable(self, connection: Connection, handler: Handler, now: int, most: int) -> list[Any]:
        """Rows to claim together; one that killed a worker, or is apart, is claimed alone to find the culprit."""
        columns = handoffs.c
        calls = columns["count"].label("calls")
        query = (
            select(columns.id, calls, columns.attempt, columns.crashes, columns.leased_until, columns.apart)
            .where(columns.handler == handler.name, columns.due_at <= now, columns.leased_until <= now)
            .order_by(columns.due_at, columns.id)
            .limit(CLAIM_ROWS)
            .with_for_update(skip_locked=True)  # of those that an erasure is looking at
        )
        rows = connection.execute(query).all()
        chosen: list[Any] = []
        total = 0
        for row in rows:
            suspect = row.crashes > 0 or row.leased_until > 0 or row.apart
            if chosen and (suspect or row.attempt != chosen[0].attempt or total + row.calls > most):
                break
            chosen.append(row)
            total += row.calls
            if suspect:
                break
        return chosen

    def _lease(self, connection: Connection, ids: Sequence[int], slots: int, crashed: bool) -> None:
        columns = handoffs.c
        lease = handoffs.update().where(columns.id == bindparam("row_id"))
        connection.execute(
            lease.values(
                leased_until=bindparam("until"), slots=bindparam("taken"), crashes=columns.crashes + int(crashed)
            ),
            # The first row holds the slots of the whole claim.
            [
                {"row_id": id_, "until": self._now(LEASE), "taken": 0 if number else slots}
                for number, id_ in enumerate(ids)
            ],
        )

    def _note_death(self, connection: Connection, handler: Handler, row: Any, records: Sequence[Record]) -> None:
        final = row.crashes + 1 >= CRASHES and len(records) == 1
        now, lease = time.perf_counter(), (self._now() - row.leased_until) / MICROS
        ids = [record.delivery_id for record in records]
        died = Run(Outcome.DIED, now - lease - LEASE, now - lease, ids, final=final)
        history.write(connection, handler.name, row.attempt + 1, [died], self._now())

    @again
    def _isolate(self, handler: Handler, claim: Claim) -> Claim | None:
        """Halve a claim that keeps killing its worker; a single call that does so becomes a dead letter."""
        with self._store.writing() as connection:
            self._delete(connection, claim.ids)
            if len(claim.records) == 1:
                (record,) = claim.records
                error = f"Its worker died {CRASHES} times while it was handled."
                failure = Failure(record, "unknown", record.received_at, error, "", None)
                self._bury(connection, handler.name, [failure], claim.attempt + 1)
                figures.handled(handler.name, "dead")
                return None
            middle = len(claim.records) // 2
            for half in (claim.records[:middle], claim.records[middle:]):
                self._insert(connection, handler.name, half, claim.attempt, self._at_once(), crashes=CRASHES - 1)
        return None

    @again
    def renew(self, claim: Claim) -> None:
        """Extend the lease of a claim that is still being worked on."""
        if not (ids := list(claim.ids)):
            return
        with self._store.writing() as connection:
            claimed = handoffs.c.id.in_(ids)
            self._store.lock(connection, handoffs, claimed)
            connection.execute(handoffs.update().where(claimed).values(leased_until=self._now(LEASE)))

    def settle(
        self,
        handler: Handler,
        claim: Claim,
        left: Sequence[Record],
        release: bool,
        apart: Sequence[Sequence[Record]] = (),
    ) -> None:
        """Record what became of a claim: calls that are `left` stay claimed, unless the claim is released.

        So do those `apart`, whose parts are not claimed together from now on. Failures of the claim become retries
        or dead letters; all other calls are done. A claim that is lost is left alone: its calls are not ours.
        """
        if not claim.lost:
            self._settle(handler, claim, left, release, apart, claim.notes.taken())

    @again
    def _settle(
        self,
        handler: Handler,
        claim: Claim,
        left: Sequence[Record],
        release: bool,
        apart: Sequence[Sequence[Record]],
        notes: Sequence[Run],
    ) -> None:
        ids: list[int] = []
        with self._store.writing() as connection:
            if self._delete(connection, claim.ids) == len(claim.ids):
                until, slots = (0, 0) if release else (self._now(LEASE), claim.slots)
                due = self._at_once()
                for records, alone in [(left, False), *((part, True) for part in apart)]:
                    taken = 0 if ids else slots
                    ids += self._insert(
                        connection, handler.name, records, claim.attempt, due, until, taken, apart=alone
                    )
                self._fail(connection, handler, claim)
                history.write(connection, handler.name, claim.attempt + 1, notes, self._now())
            else:  # suspended until others claimed some of the calls, or some were erased: leave all to them
                connection.rollback()
                left, claim.lost = [], True
        claim.ids, claim.records, claim.failures, claim.parts = ids, list(left), [], []

    def make_room(self, handler: str) -> None:
        """Now and then, forget the oldest runs of a handler of which too much is kept."""
        history.make_room(self._store, handler)

    def _jittered(self, delay: float) -> float:
        return delay * (1 + random.random() * self.jitter)  # noqa: S311

    def _fail(self, connection: Connection, handler: Handler, claim: Claim) -> None:
        dead = [failure for failure in claim.failures if failure.delay is None]
        if dead:
            self._bury(connection, handler.name, dead, claim.attempt + 1)
        for delay, failures in _by_delay(claim.failures).items():
            self._insert(
                connection,
                handler.name,
                [failure.record for failure in failures],
                claim.attempt + 1,
                self._now(self._jittered(delay)),
                errors={failure.record.delivery_id: failure.error for failure in failures},
            )
        for records, delay, error in claim.parts:
            self._insert(
                connection,
                handler.name,
                records,
                claim.attempt,
                self._now(self._jittered(delay)),
                apart=True,
                errors={record.delivery_id: error for record in records},
            )

    def _insert(
        self,
        connection: Connection,
        handler: str,
        records: Sequence[Record],
        attempt: int,
        due: int,
        leased_until: int = 0,
        slots: int = 0,
        crashes: int = 0,
        apart: bool = False,
        errors: Mapping[bytes, str] = MappingProxyType({}),
    ) -> list[int]:
        """`errors` are what calls failed with before, by delivery id: each row keeps the latest of its own."""
        ids: list[int] = []
        for chunk in chunks(records):
            said = [errors[record.delivery_id] for record in chunk if record.delivery_id in errors]
            row = handoffs.insert().values(
                handler=handler,
                count=len(chunk),
                packed=pack(chunk),
                attempt=attempt,
                crashes=crashes,
                due_at=due,
                leased_until=leased_until,
                slots=0 if ids else slots,
                apart=apart,
                error=clean(said[-1]) if said else None,
            )
            ids.append(new_key(connection.execute(row)))
        return ids

    def _delete(self, connection: Connection, ids: Sequence[int]) -> int:
        claimed = handoffs.c.id.in_(ids)
        self._store.lock(connection, handoffs, claimed)
        return connection.execute(handoffs.delete().where(claimed)).rowcount

    def _bury(self, connection: Connection, handler: str, failures: Sequence[Failure], attempts: int) -> None:
        same_calls = dead_letters.c.delivery_id.in_([failure.record.delivery_id for failure in failures])
        # The latest failure replaces earlier ones: a call can be replayed, and fail again.
        self._store.lock(connection, dead_letters, dead_letters.c.handler == handler, same_calls)
        connection.execute(dead_letters.delete().where(dead_letters.c.handler == handler, same_calls))
        now = stored_time(self._now())
        rows = [
            (
                handler,
                failed.record.delivery_id,
                failed.kind,
                stored_time(failed.occurred_at),
                now,
                attempts,
                clean(failed.error),
                clean(failed.traceback),
                pack([failed.record]),
            )
            for failed in failures
        ]
        self._store.insert(connection, dead_letters, rows)


def _by_delay(failures: Sequence[Failure]) -> dict[float, list[Failure]]:
    """What is to be tried again, by the seconds until then."""
    retries: dict[float, list[Failure]] = {}
    for failure in failures:
        if failure.delay is not None:
            retries.setdefault(failure.delay, []).append(failure)
    return retries
