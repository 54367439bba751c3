"""Which database the calls of an installation are for: what each of its servers notes in its mark (`Keys.mark`).

Endpoints need no database, so they go by the server of the queues: the others must be that database's as well, or
nobody's yet. What one of these notes is seen in the moment in which a batch is written (`ingest.stream.appends`);
so a server that is exchanged, restored, or named by two installations gets nothing from then on, and
`ingest db adopt` has it take calls again.
"""

import redis

from ingest.stream.keys import Keys
from ingest.stream.lanes import Lanes

#: The field of the mark.
DATABASE = "database"


def database_of(client: redis.Redis) -> bytes | None:
    """Whose a server is, as it notes itself; None: nobody's yet.

    Raises:
        redis.RedisError: it failed.
    """
    return client.hget(Keys().mark, DATABASE)  # type: ignore[return-value]  # its stub knows no client of bytes


class Owner:
    """The database of an endpoint process, told to its ways to the servers."""

    def __init__(self, client: redis.Redis, lanes: Lanes, queues: str) -> None:
        """`client` leads to the server of the queues, which is called `queues`."""
        self._client = client
        self._streams = [lane.stream for lane in lanes if lane.stream.name != queues]

    def look(self) -> None:
        """See which database it is; what was known stays where there is no answer.

        Where the queues are is never compared, with itself: calls are taken there also while its mark changes.

        Raises:
            redis.RedisError: the server of the queues failed.
        """
        if self._streams and (database := database_of(self._client)) is not None:
            for stream in self._streams:
                stream.database = database
