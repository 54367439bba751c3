"""When days were exported last, so that `ingest status` says when that is behind without asking the target.

One hash in Redis (`Keys.exported`): `done_at` and `failed_at` in Unix seconds, and `why`. A Redis that was emptied
has forgotten it until the next export.
"""

from dataclasses import dataclass
from typing import cast

import redis

from ingest.stream.keys import Keys

#: Characters that are kept of why an export failed.
WHY = 500


@dataclass(frozen=True, slots=True)
class LastExport:
    """When everything was exported last, when that failed first after it, both in Unix seconds, and why."""

    done_at: float | None
    failed_at: float | None = None
    why: str | None = None


class Exports:
    """What Redis knows of them."""

    def __init__(self, client: redis.Redis, partition: int = 0) -> None:
        self._client = client
        self._key = Keys(partition).exported

    def done(self, now: float) -> None:
        """Everything was exported just now."""
        self._client.delete(self._key)
        self._client.hset(self._key, "done_at", str(now))

    def failed(self, now: float, why: str) -> None:
        """It failed just now."""
        self._client.hsetnx(self._key, "failed_at", str(now))
        self._client.hset(self._key, "why", why[:WHY])

    def last(self) -> LastExport | None:
        """What is known; None if nothing was ever exported."""
        found = cast(dict[bytes, bytes], self._client.hgetall(self._key))
        if not found:
            return None
        done, since, why = (found.get(name) for name in (b"done_at", b"failed_at", b"why"))
        return LastExport(
            None if done is None else float(done),
            None if since is None else float(since),
            None if why is None else why.decode(errors="replace"),
        )
