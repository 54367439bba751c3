"""Whether each of several stream servers still has what it had; that of the queues is `workers.gaps.lineage`'s.

A server whose disk was lost comes back empty, and one that was restored as it was some time ago: what waited there
is gone, although it was acknowledged. Each has a mark of its own, raised as that of the queues is, in fields that
nothing else uses: named twice, or also for the queues, a server would seem to be older, or newer, than it is.

What was drained owes nothing, so its mark is forgotten: it may come back empty.
"""

import json
import logging
import secrets
from collections.abc import Mapping
from dataclasses import asdict
from typing import NamedTuple, cast

import redis
from sqlalchemy import Connection, select

from ingest.stream.clock import redis_time
from ingest.stream.keys import Keys
from ingest.stream.known_streams import KnownStreams, standing
from ingest.stream.owner import DATABASE
from ingest.stream.partitions import Partition, Partitions
from workers.gaps import lineage
from workers.gaps.gap import TURNS, Cause, Cut, State
from workers.gaps.lineage import Mark
from workers.runtime import unless_refused
from workers.store import tables
from workers.store.store import Store

log = logging.getLogger(__name__)

#: How the rows of `marks` begin; behind it is the server's name, …
ROW = "stream:"
#: … of which this many characters, from its end, are enough.
NAME_LENGTH = 200


class Found(NamedTuple):
    """What a server keeps of its mark."""

    #: What it calls itself; None: it takes no name, being full.
    server: str | None
    number: int
    #: Whether it is closed and empty.
    is_drained: bool = False


def compare(store: Store, client: redis.Redis, partitions: Partitions, shared: Mark) -> None:
    """Compare each that answers with its row, note a gap if it is older than it was, and make the next marks.

    `client` leads to where the queues are, `shared` is the mark that was just made there.

    Raises:
        Unavailable, redis.RedisError: the database or the server of the queues failed.
    """
    database = lineage.name_of(store)
    found, _ = partitions.looked_at(lambda one: None if one.has_queues else _read(one, database))
    stood = {name: one for name, one in found.items() if one is not None}
    owing = {_row(one.name) for one in KnownStreams(client).all() if not one.is_drained}
    owing |= {_row(one.name) for one in partitions} - {_row(name) for name, one in stood.items() if one.is_drained}
    now = redis_time(client)
    clients = {one.name: one.client for one in partitions}
    made: dict[str, Mark] = {}
    with store.writing() as connection:
        store.take_turns(connection, TURNS)
        before = _rows(connection)
        for name in before.keys() - owing:
            connection.execute(tables.marks.delete().where(tables.marks.c.name == name))
        for name, theirs in stood.items():
            if theirs.server is not None and not theirs.is_drained:
                ours = before.get(_row(name))
                if ours is not None and _is_older(ours, theirs):
                    gap = Cut(min(ours.through, now - 1), Cause.REDIS_OLDER, now, State.ENDED, now)
                    lineage.note(store, connection, gap, f"the stream server {name}")
                made[name] = mark = lineage.raised(ours, theirs.server, theirs.number, now, shared.through)
                lineage.put(store, connection, _row(name), json.dumps(asdict(mark)))
    _tell(made, clients)


def _is_older(ours: Mark, theirs: Found) -> bool:
    return theirs.server != ours.server or theirs.number < ours.number - 1


def _read(partition: Partition, database: str | None) -> Found | None:
    """Ask a server; None if it is another database's, where we have nothing to write."""
    key, client = Keys().mark, partition.client
    fields = [DATABASE, "stream", "stream-number"]
    owner, name, number = cast(list[bytes | None], client.hmget(key, fields))
    if owner is not None and owner.decode("ascii", "replace") != database:
        return None
    if name is None:
        with unless_refused():
            client.hsetnx(key, "stream", secrets.token_hex(8))
        name = cast(bytes | None, client.hget(key, "stream"))
    server = None if name is None else name.decode("ascii", "replace")
    count = int(number) if number is not None and number.isdigit() else 0
    return Found(server, count, standing(partition).is_drained)


def _tell(made: Mapping[str, Mark], clients: Mapping[str, redis.Redis]) -> None:
    """Tell the servers; one that is not told is one behind, which means nothing, and is told the next time."""
    for name, mark in made.items():
        try:
            clients[name].hset(Keys().mark, "stream-number", str(mark.number))
        except redis.RedisError as error:
            log.debug("the mark was not written to %s: %s", name, error)


def _row(name: str) -> str:
    return ROW + name[-NAME_LENGTH:]


def _rows(connection: Connection) -> dict[str, Mark]:
    query = select(tables.marks.c.name, tables.marks.c.value).where(tables.marks.c.name.like(f"{ROW}%"))
    read = {row.name: Mark.of(row.value) for row in connection.execute(query)}
    return {name: mark for name, mark in read.items() if mark is not None}
