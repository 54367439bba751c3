"""How the partitions that the settings name are reached."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import redis

from ingest import redis_client
from ingest.settings import Settings
from ingest.stream.partitions import Partition, Partitions


@contextmanager
def opened(
    settings: Settings, client: redis.Redis | None = None, patience: float = redis_client.ANSWER_TIMEOUT
) -> Iterator[Partitions]:
    """All partitions, for as long as the block runs; each connects on first use.

    `client` leads to the server of the queues, if there is one already; `patience` is how many seconds each of the
    others has to answer.

    Raises:
        SettingsError: a URL is not one of Redis, or none is set.
    """
    with ExitStack() as stack:
        partitions = []
        for server in settings.stream_servers:
            at_hand = client if server.has_queues else None
            reached = at_hand or stack.enter_context(redis_client.connect(server.url, patience))
            partitions.append(Partition(server.name, reached, server.takes, server.has_queues))
        yield Partitions(partitions)
