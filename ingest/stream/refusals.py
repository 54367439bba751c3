"""A sample of the calls that were refused, so that a wrong setting is seen at a glance.

One hash in Redis (`Keys.refusals`): for each reason its last few as a ring, `REASON:PLACE` → JSON, and `REASON:n`
→ how many were ever put there. The reasons are a closed list, and each refusal is bounded, so whatever strangers
send it takes some 1.6 MB at most; a week after the last one it is gone.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self, cast

import redis
from redis.typing import EncodableT

from ingest.stream.keys import Keys

#: Refusals that are kept of one reason.
KEPT = 20
#: Bytes of one as JSON; of one that takes more, the headers are left out.
MOST_BYTES = 3000
#: Seconds for which they are kept.
TTL = 7 * 86_400


@dataclass(slots=True)
class Refusal:
    """One refused call, or a request that is none: what may be shown of it."""

    #: One of `ingest.errors.Reason`, `key-unavailable`, or the status of the answer: `404`.
    reason: str
    #: When it came in, in µs since 1970.
    at: int
    method: str
    #: Its path, and the names of its parameters.
    target: str
    #: Name and value, as they came; secrets are hidden.
    headers: Sequence[tuple[str, str]]
    #: What it sent where something else should have been, escaped.
    named: str = ""
    #: Address and port of whoever was connected: often a proxy of ours.
    peer: str = ""

    @property
    def host(self) -> str:
        """What it was addressed to."""
        return next((value for name, value in self.headers if name.lower() == "host"), "")

    def as_json(self) -> bytes:
        """As it is kept in Redis."""
        text = json.dumps(asdict(self)).encode()
        return text if len(text) <= MOST_BYTES else json.dumps(asdict(self) | {"headers": []}).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Self | None:
        """Read what `as_json` of this or another release made; None if it cannot be read."""
        try:
            read: Mapping[str, Any] = json.loads(text)
            return cls(
                reason=str(read["reason"]),
                at=int(read["at"]),
                method=str(read["method"]),
                target=str(read["target"]),
                headers=[(str(name), str(value)) for name, value in read["headers"]],
                named=str(read.get("named", "")),
                peer=str(read.get("peer", "")),
            )
        except (ValueError, TypeError, KeyError):
            return None


class Refusals:
    """Those that Redis keeps, of all endpoint processes."""

    def __init__(self, client: redis.Redis, partition: int = 0) -> None:
        self._client = client
        self._key = Keys(partition).refusals

    def add(self, refusals: Sequence[Refusal]) -> None:
        """Keep these, each in the place of the oldest of its reason.

        Raises:
            redis.RedisError: Redis failed.
        """
        if not refusals:
            return
        with self._client.pipeline(transaction=False) as pipeline:
            for one in refusals:
                pipeline.hincrby(self._key, f"{one.reason}:n", 1)
            numbers = cast(list[int], pipeline.execute())
            places: dict[EncodableT, EncodableT] = {
                f"{one.reason}:{number % KEPT}": one.as_json()
                for one, number in zip(refusals, numbers, strict=True)
            }
            pipeline.hset(self._key, mapping=places)
            pipeline.expire(self._key, TTL)
            pipeline.execute()

    def all(self) -> list[Refusal]:
        """All that are kept, the newest first.

        Raises:
            redis.RedisError: Redis failed.
        """
        kept = cast(dict[bytes, bytes], self._client.hgetall(self._key))
        texts: Iterable[bytes] = (text for place, text in kept.items() if not place.endswith(b":n"))
        found = [one for text in texts if (one := Refusal.from_json(text)) is not None]
        return sorted(found, key=lambda one: -one.at)
