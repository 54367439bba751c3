"""Drains announce which events they have stored, to whoever follows (`ingest events --follow`)."""

from collections.abc import Iterator, Sequence

import redis

from ingest.batch import DELIVERY_ID_SIZE
from ingest.stream.keys import Keys


class Announcements:
    """The channel on which delivery ids of stored events are announced. What no one listens to is lost."""

    def __init__(self, client: redis.Redis, partition: int = 0) -> None:
        self._client = client
        self._keys = Keys(partition)

    def publish(self, delivery_ids: Sequence[bytes]) -> None:
        """Announce that these events are in the store."""
        if self._client.pubsub_numsub(self._keys.stored)[0][1]:
            self._client.publish(self._keys.stored, b"".join(delivery_ids))

    def listen(self, wait: float) -> Iterator[list[bytes]]:
        """Yield the delivery ids of events as they are stored.

        The first list is empty and says that nothing is missed from here on; another empty one follows whenever
        `wait` seconds went by without an event. An event that is stored twice is announced twice.
        """
        with self._client.pubsub(ignore_subscribe_messages=True) as channel:  # type: ignore[no-untyped-call]
            channel.subscribe(self._keys.stored)
            channel.get_message(timeout=wait)  # the server's confirmation of the subscription
            yield []
            while True:
                message = channel.get_message(timeout=wait)
                ids = message["data"] if message else b""
                yield [ids[at : at + DELIVERY_ID_SIZE] for at in range(0, len(ids), DELIVERY_ID_SIZE)]
