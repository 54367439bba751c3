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


def moments_of_drains(client: redis.Redis) -> set[int]:
    """When each gave its last sign of life, and claimed each of its batches: in ms since 1970."""
    told = cast(Any, client.xinfo_stream(KEYS.stream, full=True))
    moments = set[int]()
    for consumer in told["groups"][0]["consumers"]:
        moments |= {consumer[b"seen-time"], *(pending[1] for pending in consumer[b"pending"])}
    return moments


def put_ahead(client: redis.Redis, seconds: int) -> None:
    """As if what drains did had been done by a clock that was so many seconds ahead, and was set right since."""
    dumped = cast(bytes, client.dump(KEYS.stream))[:-8]
    for moment in moments_of_drains(client):
        dumped = dumped.replace(_milliseconds(moment), _milliseconds(moment + seconds * 1000))
    client.restore(KEYS.stream, 0, dumped + _crc(dumped).to_bytes(8, "little"), replace=True)


def _milliseconds(moment: int) -> bytes:
    return moment.to_bytes(8, "little")


def _crc(data: bytes) -> int:
    """The CRC-64 of Jones, which what `DUMP` answers ends with."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x95AC9329AC4BC9B5 if crc & 1 else 0)
    return crc


def let_pass(client: redis.Redis, key: str, seconds: float) -> None:
    """As if so many seconds had passed since everything that a rate or a breaker has noted at its key."""
    for field in ("at", "until", "probing"):
        if client.hexists(key, field):
            client.hincrbyfloat(key, field, -seconds)
