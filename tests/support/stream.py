"""What lies in the stream and in the queue; and calls put there as an endpoint puts them."""

from collections.abc import Sequence
from typing import Any, cast

import redis
from rq import Queue
from rq.serializers import JSONSerializer

from ingest.batch import Record, pack, unpack
from ingest.jobs import EVENTS_QUEUE
from ingest.stream.keys import Keys

KEYS = Keys()


def records(client: redis.Redis) -> list[Record]:
    """Everything that lies in it, in order."""
    entries = cast(Any, client.xrange(KEYS.stream))
    return [record for _, fields in entries for record in unpack(fields[b"b"])]


def keep(client: redis.Redis, *batches: Sequence[Record]) -> None:
    """Put batches into the stream, as an endpoint does."""
    with client.pipeline() as transaction:
        for records in batches:
            transaction.xadd(KEYS.stream, {"b": pack(records, with_dictionary=True)})
            transaction.hincrby(KEYS.counts, "accepted", len(records))
        transaction.execute()


def job_names(client: redis.Redis) -> list[str | None]:
    """The functions that wait in the queue of events."""
    queue = Queue(EVENTS_QUEUE, connection=client, serializer=JSONSerializer)
    return [job.func_name for job in queue.jobs]


def let_pass(client: redis.Redis, key: str, seconds: float) -> None:
    """As if so many seconds had passed since everything that a rate or a breaker has noted at its key."""
    for field in ("at", "until", "probing"):
        if client.hexists(key, field):
            client.hincrbyfloat(key, field, -seconds)
