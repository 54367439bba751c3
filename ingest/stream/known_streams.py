"""The servers that calls were written to, so that none is forgotten with a backlog on it.

One hash where the queues are (`Keys.streams`): the name of a server → when it was last seen, how many batches it
had then, and whether it took any, as JSON. Endpoints note it in each round of maintenance where there are several.
No URL, and so no password, is kept.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import orjson
import redis

from ingest.stream.clock import redis_time
from ingest.stream.consumer import Consumer
from ingest.stream.keys import Keys
from ingest.stream.partitions import Partition, Partitions


class KnownStream(NamedTuple):
    """A server that has, or had, a partition."""

    name: str
    #: Unix time in seconds, by the clock of the queues' server.
    seen_at: float
    #: Batches that it had then; None: it did not answer.
    batches: int | None
    #: Whether it was closed and empty: nothing can be left there.
    is_drained: bool = False


class Standing(NamedTuple):
    """How the stream of a server stands at a moment."""

    batches: int
    #: Whether it is closed and empty.
    is_drained: bool


def standing(partition: Partition) -> Standing:
    """Ask a server how its stream stands."""
    stream = Consumer(partition.client)
    is_closed, batches = stream.is_closed(), stream.batches()
    return Standing(batches, is_closed and not batches)


class KnownStreams:
    """What is remembered of them."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._key = Keys().streams

    def look_at(self, partitions: Partitions) -> None:
        """Note how each of several stands now that calls are written to; with one there is nothing to remember."""
        if partitions.are_several:
            found, _ = partitions.looked_at(standing)
            self.note({one.name: found.get(one.name) for one in partitions if one.takes})

    def note(self, found: Mapping[str, Standing | None]) -> None:
        """These servers were seen so now; of one that did not answer (None), what was known before stays."""
        before = {one.name for one in self.all()}
        now = redis_time(self._client) / 1e6
        noted = {}
        for name, one in found.items():
            if one is not None:
                noted[name] = orjson.dumps({"at": now, "batches": one.batches, "drained": one.is_drained})
            elif name not in before:
                noted[name] = orjson.dumps({"at": now, "batches": None})
        if noted:
            self._client.hset(self._key, mapping=cast(Any, noted))

    def all(self) -> list[KnownStream]:
        """Every one of them, in the order of their names; what cannot be read is left out."""
        kept = cast(dict[bytes, bytes], self._client.hgetall(self._key))
        found = []
        for name, text in sorted(kept.items()):
            try:
                read = orjson.loads(text)
                number = None if read["batches"] is None else int(read["batches"])
                found.append(KnownStream(name.decode(), float(read["at"]), number, bool(read.get("drained"))))
            except (ValueError, TypeError, KeyError):
                continue
        return found

    def forget(self, name: str) -> bool:
        """Forget one; returns whether it was known."""
        return bool(self._client.hdel(self._key, name))
