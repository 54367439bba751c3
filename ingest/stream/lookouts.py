"""Who looks for what may be wrong, one process at a time, and what was told of it: for alerts."""

from collections.abc import Mapping
from typing import Any, cast

import orjson
import redis

from ingest.stream.keys import Keys

#: Seconds between two looks of all processes together.
LOOK_EVERY = 60
#: Seconds after a worker's look for which endpoints leave looking to workers, who know the database.
LEAVE_TO_WORKERS = 150
#: Seconds for which it is remembered what was told.
MEMORY = 30 * 24 * 3600


class Lookouts:
    """What processes that look agree upon in Redis."""

    def __init__(self, client: redis.Redis, partition: int = 0) -> None:
        self._client = client
        self._keys = Keys(partition)

    def may_look(self, is_worker: bool) -> bool:
        """Whether it is this process's turn to look; asking takes the turn."""
        if not is_worker and self._client.exists(self._keys.looked):
            return False
        return bool(self._client.set(self._keys.lookout, 1, nx=True, ex=LOOK_EVERY))

    def looked(self) -> None:
        """A worker has looked."""
        self._client.set(self._keys.looked, 1, ex=LEAVE_TO_WORKERS)

    def remembered(self) -> dict[str, Any]:
        """What the last look left; empty if there was none, or if it cannot be read."""
        try:
            kept = orjson.loads(cast(bytes | None, self._client.get(self._keys.alerts)) or b"{}")
        except orjson.JSONDecodeError:
            return {}
        return kept if isinstance(kept, dict) else {}

    def remember(self, state: Mapping[str, Any]) -> None:
        """Leave this for the next look."""
        self._client.set(self._keys.alerts, orjson.dumps(state), ex=MEMORY)
