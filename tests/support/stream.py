"""A look into the stream."""

from typing import Any, cast

import redis

from ingest.batch import Record, unpack
from ingest.stream.keys import Keys


def records(client: redis.Redis) -> list[Record]:
    """Everything that lies in it, in order."""
    entries = cast(Any, client.xrange(Keys().stream))
    return [record for _, fields in entries for record in unpack(fields[b"b"])]
