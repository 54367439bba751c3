"""The events of the store of one kind and some time, as the records that lines are compared with."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from sqlalchemy import select, type_coerce
from sqlalchemy.types import NullType

from ingest.copernica.events import EPOCH, LOGFILE, REST, WEBHOOK
from workers.reconcile import partitions
from workers.reconcile.logfile import Watch
from workers.reconcile.partitions import Origin, Partitions, Stored
from workers.reconcile.people import People
from workers.reconcile.reading import STEP
from workers.store import tables
from workers.store.store import Store

#: The type of values that SQLAlchemy passes on as the driver gives them: of millions, looking at each takes long.
AS_IT_COMES = NullType()
#: What is kept of a row's source. One of none of these is taken for a call, which nothing removes.
_ORIGINS = {WEBHOOK: Origin.CALL, LOGFILE: Origin.LOGFILE, REST: Origin.RESULT}


class StoredRows:
    """Reads them."""

    def __init__(self, store: Store, people: People, watch: Watch, breathe: Callable[[], object]) -> None:
        """For `watch` and `breathe`, see `recovery`."""
        self._store = store
        self._people = people
        self._watch = watch
        self._breathe = breathe

    @contextmanager
    def around(self, kind: str, span: range, slack: int) -> Iterator[Partitions]:
        """The events of the store within a range of Unix seconds and `slack` seconds around it."""
        with Partitions.of_rows() as rows:
            for portion in self._stored(kind, span.start - slack, span.stop + slack):
                rows.add(partitions.rows_of(portion, self._people))
            yield rows

    def _stored(self, kind: str, since: int, until: int) -> Iterator[Stored]:
        """Events of the store; `since` and `until` in Unix seconds."""
        columns = tables.events.c
        moment, second_of = self._store.seconds(columns.occurred_at)
        of_kind, more = self._store.by_time(kind)
        query = select(
            moment,
            *more,
            type_coerce(columns.delivery_id, AS_IT_COMES),
            columns.message_id,
            columns.recipient,
            columns.ip,
            columns.url,
            columns.source,
            type_coerce(columns.occurred_at != columns.received_at, AS_IT_COMES),
        ).where(
            of_kind,
            columns.occurred_at < EPOCH + timedelta(seconds=until),
        )
        first = columns.occurred_at >= EPOCH + timedelta(seconds=since)
        label, number, told = f"looking for {kind} in the store", 0, 0
        for rows in self._store.streamed(query, first, [moment, *more]):
            moments, *others = zip(*rows, strict=True)
            ids, message_ids, recipients, ips, urls, sources, timed = others[len(more) :]
            seconds = list(map(second_of, moments))
            yield Stored(
                message_ids,
                seconds,
                recipients,
                ips,
                urls,
                ids,
                [_ORIGINS.get(s, Origin.CALL) for s in sources],
                timed,
            )
            number += len(rows)
            if number - told >= STEP:
                told = number
                self._watch(label, number, None)
                self._breathe()
        self._watch(label, number, number)
