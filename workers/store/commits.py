"""When each call was stored, by which drain, and which endpoint process had written it to Redis.

A column of `events` would cost more than all the rest of a short row. So there is one row per commit, with four
bytes per call: the middle of a delivery id's hash, enough to find a call among those of the same minute.

    first, last  the delivery ids that the commit's calls lie between, at most `WIDTH` seconds apart
    calls        `PIECE` bytes of each call's delivery id, in the order of the batches
    batches      a JSON list: the stream's id of each batch, the endpoint process, and how many of the calls it had

A call that was stored before is in the row of the later commit, too: a repeated call, or a batch that was done
again after its drain was killed.
"""

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Connection, select

from ingest.batch import DELIVERY_ID_SIZE
from ingest.copernica.events import DAY, MICROS
from workers.store.backend import DELETE_ROWS, Row, Transactions
from workers.store.console_tables import commits
from workers.store.rows import KEY

#: Seconds for which it is kept: what somebody asks of a call, they ask within a month.
KEPT = 30 * DAY
#: Seconds (of delivery ids) that the calls of one row are apart, at most: that many are searched for one call.
#: Calls are signed when they are sent, so those of one commit are seldom more than some seconds apart.
WIDTH = 64
#: Bytes of a delivery id that are kept: among the million calls of a busy minute, one search in four thousand
#: finds a commit too many.
PIECE = 4
#: Rows that one search reads at most: a minute of a drain that commits a hundred times a second.
MOST_ROWS = 10_000

#: The name under which calls are stored that had to wait for their signer's key, in the place of a drain's.
VERIFICATION = "verification"

_COLUMNS = commits.c


class Batch(NamedTuple):
    """A batch in the stream: its id there, which process wrote it (empty: unknown), how many calls it had."""

    entry: str
    endpoint: str
    calls: int

    @property
    def written_at(self) -> int:
        """When Redis had it, in µs since 1970."""
        return int(self.entry.partition("-")[0]) * MICROS // 1000


@dataclass(frozen=True, slots=True)
class Commit:
    """What one commit stores: the batches, whose calls are the first of its rows, by the drain of this name."""

    drain: str
    batches: Sequence[Batch] = ()


@dataclass(frozen=True, slots=True)
class Stored:
    """A commit that a call was in. Times are µs since 1970."""

    stored_at: int
    drain: str
    #: None where the call was stored by itself, apart from its batch.
    batch: Batch | None


def note(connection: Connection, commit: Commit, rows: Sequence[Row]) -> None:
    """Note that these rows are stored now, in the transaction that stores them."""
    ids = [row[KEY] for row in rows]
    now = time.time_ns() // 1000
    batches = commit.batches if sum(batch.calls for batch in commit.batches) == len(ids) else ()
    first, last = min(ids), max(ids)
    if _second(last) - _second(first) <= WIDTH:
        noted = [_noted(commit.drain, now, first, last, batches, ids)]
    else:
        noted = list(_in_minutes(commit.drain, now, batches, ids))
    connection.execute(commits.insert(), noted)


def _noted(
    drain: str, now: int, first: bytes, last: bytes, batches: Sequence[Batch], ids: Sequence[bytes]
) -> dict[str, Any]:
    return {
        "stored_at": now,
        "first": first,
        "last": last,
        "drain": drain,
        "batches": orjson.dumps(batches, default=tuple).decode(),
        "calls": b"".join([one[-PIECE:] for one in ids]),
    }


def _in_minutes(drain: str, now: int, batches: Sequence[Batch], ids: Sequence[bytes]) -> Iterator[dict[str, Any]]:
    """The same of calls that lie further apart, as after an outage: a row for each stretch of `WIDTH` seconds."""
    of_batch = [place for place, batch in enumerate(batches) for _ in range(batch.calls)] or [-1] * len(ids)
    stretches: defaultdict[int, list[tuple[int, bytes]]] = defaultdict(list)
    for place, one in zip(of_batch, ids, strict=True):
        stretches[_second(one) // WIDTH].append((place, one))
    for calls in stretches.values():
        numbers: defaultdict[int, int] = defaultdict(int)
        for place, _ in calls:
            numbers[place] += 1
        parts = [batches[place]._replace(calls=number) for place, number in numbers.items() if place >= 0]
        these = [one for _, one in calls]
        yield _noted(drain, now, min(these), max(these), parts, these)


def of_event(connection: Connection, delivery_id: bytes) -> list[Stored]:
    """The commits that a call was in, the first of them first: of the last `KEPT` seconds, nearly surely all."""
    if len(delivery_id) != DELIVERY_ID_SIZE:
        return []
    earliest = max(0, _second(delivery_id) - WIDTH).to_bytes(4, "big")
    query = (
        select(commits)
        .where(_COLUMNS.first.between(earliest, delivery_id), _COLUMNS.last >= delivery_id)
        .order_by(_COLUMNS.first)
        .limit(MOST_ROWS)
    )
    piece = delivery_id[-PIECE:]
    found = []
    for row in connection.execute(query):
        if (place := _place(bytes(row.calls), piece)) is not None:
            found.append(Stored(row.stored_at, row.drain, _batch(row.batches, place)))
    return sorted(found, key=lambda one: one.stored_at)


def _place(calls: bytes, piece: bytes) -> int | None:
    at = calls.find(piece)
    while at >= 0:
        if at % PIECE == 0:
            return at // PIECE
        at = calls.find(piece, at + 1)
    return None


def _batch(batches: str, place: int) -> Batch | None:
    for batch in map(Batch._make, orjson.loads(batches)):
        if place < batch.calls:
            return batch
        place -= batch.calls
    return None


def expire(transactions: Transactions, now: int, kept: int = KEPT) -> None:
    """Forget what is older than `KEPT`, or than events are `kept`; `now` and that in (Unix) seconds.

    Some at a time, as drains wait meanwhile.
    """
    oldest = (now - min(kept, KEPT)) * MICROS
    old = select(_COLUMNS.number).where(_COLUMNS.stored_at < oldest).limit(DELETE_ROWS).subquery()
    gone = True
    while gone:
        with transactions() as connection:
            gone = (
                connection.execute(commits.delete().where(_COLUMNS.number.in_(select(old.c.number)))).rowcount > 0
            )


def _second(delivery_id: bytes) -> int:
    return int.from_bytes(delivery_id[:4], "big")
