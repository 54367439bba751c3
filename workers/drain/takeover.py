"""Batches that were taken over from drains that died: so that a call that kills its drain is set aside alone.

A drain may die of what it reads: of a body that takes more memory than there is, or of a fault in a library. Its
batches are taken over by the next drain, which would die as well. So each step puts less at risk:

    fresh                  many batches in one commit
    taken over             each batch alone, those that were taken over least often first
    taken over again       each call alone, with a note in Redis of which one it is
    and again              the call that was being read goes to quarantine, unread, and the others go on

That is three deaths for a call that kills. Outages of the database or Redis, and being asked to stop, do not
count. A drain that dies while the database has the call may have been killed in an outage: that counts less.
"""

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

import redis
from rq.timeouts import BaseTimeoutException
from sqlalchemy import select

from ingest.batch import Record, unpack
from ingest.errors import BatchError
from ingest.stream.consumer import Entry
from ingest.stream.suspects import Doing, Place, Suspects
from workers.drain.group import Group
from workers.records import Quarantined, Why
from workers.store import tables
from workers.store.row_plans import RowPlans
from workers.store.store import Store

log = logging.getLogger(__name__)

#: Times that a batch is taken over until a call is set aside that the database had when its drain died.
STORING_DEATHS = 6
#: Why such a call is in quarantine.
REASON = "its drain died {times} times, at last while it was {doing} this call"


class Steps(Protocol):
    """What the drain does for a batch that is taken over."""

    def alone(self, entry: Entry) -> None:
        """Store a whole batch and acknowledge it."""

    def commit(self, group: Group) -> None:
        """Store a group, at once or not at all."""

    def done(self, entry: Entry, calls: int) -> None:
        """Acknowledge a batch of so many calls, all of which are stored."""

    def bury(self, entry: Entry, error: BatchError) -> bool:
        """Move a batch to the dead stream."""


class TakeOver:
    """Works on batches that other drains have not finished."""

    def __init__(self, suspects: Suspects, store: Store, steps: Steps, over: Callable[[], bool]) -> None:
        """`over` says that this drain should come to its end."""
        self._suspects = suspects
        self._store = store
        self._steps = steps
        self._over = over

    def work(self, entries: Sequence[Entry]) -> None:
        """Store batches, the least suspect first; what is not finished stays pending.

        Raises:
            Unavailable, redis.RedisError: the database or Redis failed.
        """
        times = {entry.id: self._suspects.times(entry.id) for entry in entries}
        for entry in sorted(entries, key=lambda entry: times[entry.id]):
            if self._over():
                return
            self._begin(entry)

    def _begin(self, entry: Entry) -> None:
        times = self._suspects.begin(entry.id)
        try:
            if times == 1:
                self._steps.alone(entry)
            elif not self._call_by_call(entry, times):
                self._suspects.excuse(entry.id)
                return
        except BaseException as error:
            if not _is_fault(error):
                with suppress(redis.RedisError):
                    self._suspects.excuse(entry.id)
            raise
        self._suspects.clear(entry.id)

    def _call_by_call(self, entry: Entry, times: int) -> bool:
        """Store the calls of a batch one by one; returns whether that came to its end."""
        last = self._suspects.place(entry.id)
        if last is not None and last.doing is Doing.UNPACKING:
            died = f"Its drain died {times} times, at last while it was unpacked."
            return self._steps.bury(entry, BatchError(died))
        log.warning("batch %s is stored call by call: its drain died %d times", entry.id.decode(), times)
        self._suspects.note(entry.id, Place(0, Doing.UNPACKING))
        try:
            records = unpack(entry.packed)
        except BatchError as error:
            return self._steps.bury(entry, error)
        for call in range(last.call if last else 0, len(records)):
            doing = last.doing if last is not None and call == last.call else Doing.NOTHING
            if self._over():
                self._suspects.note(entry.id, Place(call, doing))
                return False
            self._one_call(entry, records[call], Place(call, doing), times)
        self._steps.done(entry, len(records))
        return True

    def _one_call(self, entry: Entry, record: Record, last: Place, times: int) -> None:
        group = Group(RowPlans())  # which has none for a call that it reads first
        killed = last.doing is Doing.READING or (last.doing is Doing.STORING and times >= STORING_DEATHS)
        if killed and not self._holds(record):
            reason = REASON.format(times=times, doing=last.doing)
            call = record.delivery_id.hex()
            log.error("call %s goes to quarantine: %s", call, reason, extra={"delivery_id": call})
            group.quarantined.append(Quarantined(record, reason, Why.KILLED))
        else:
            self._suspects.note(entry.id, Place(last.call, Doing.READING))
            group.take([record])
        with suppress(
            redis.RedisError
        ):  # if it is away now, the call should not look as if it had killed this drain
            self._suspects.note(entry.id, Place(last.call, Doing.STORING))
        try:
            self._steps.commit(group)
        except BaseException as error:
            if not _is_fault(error):
                with suppress(redis.RedisError):
                    self._suspects.note(entry.id, Place(last.call, Doing.NOTHING))
            raise

    def _holds(self, record: Record) -> bool:
        """Whether a call is in the database already: then it killed no one, and Redis was away afterwards."""
        with self._store.reading() as connection:
            columns = [table.c.delivery_id for table in (tables.events, tables.quarantine, tables.unverified)]
            columns.append(tables.recovered.c.call_id)  # if its event had been recovered before
            return any(
                connection.execute(select(column).where(column == record.delivery_id)).first()
                for column in columns
            )


def _is_fault(error: BaseException) -> bool:
    """Whether an error is one of this program or of too little memory, rather than of what is around it."""
    if isinstance(error, BaseTimeoutException):  # the time limit of RQ's job: a call may hang, as it may kill
        return True
    return isinstance(error, Exception) and type(error).__module__ == "builtins" and not isinstance(error, OSError)
