"""Copernica's public keys as all processes of an installation know them, so that a restart does not forget them.

A process that starts while DNS gives no answer could verify nothing; with these it can. They are used only then,
and no longer than a key of its own would be (`ingest.copernica.public_keys`).
"""

import base64
import json
from collections.abc import Mapping
from typing import cast

import redis
from redis.typing import EncodableT

from ingest.stream.keys import Keys

#: A public key in DER, and when DNS last confirmed it (Unix seconds).
DatedKey = tuple[bytes, float]
#: Seconds by which a confirmation must be newer to be written: every process confirms every key every hour or so.
STEP = 60.0


class KnownKeys:
    """The keys in Redis, by name."""

    def __init__(self, client: redis.Redis, partition: int = 0) -> None:
        self._client = client
        self._name = Keys(partition).known_keys

    def exchange(
        self, ours: Mapping[str, DatedKey], oldest: float, withdrawn: Mapping[str, float] | None = None
    ) -> dict[str, DatedKey]:
        """Add what we know and the others do not, remove what was confirmed before `oldest` (Unix seconds).

        `withdrawn` are names whose key is gone, and since when: what was confirmed before that is removed, too.
        Returns what the others know; what cannot be read is left out.
        """
        gone = withdrawn or {}
        known = cast(dict[bytes, bytes], self._client.hgetall(self._name))
        readable = {name.decode("latin-1"): key for name, text in known.items() if (key := _read(text))}
        theirs = {name: key for name, key in readable.items() if key[1] >= max(oldest, gone.get(name, oldest))}
        newer: dict[EncodableT, EncodableT] = {
            name: _written(key)
            for name, key in ours.items()
            if name not in theirs or theirs[name][1] + STEP < key[1]
        }
        if outdated := [name for name in known if name.decode("latin-1") not in theirs]:
            self._client.hdel(self._name, *outdated)
        if newer:
            self._client.hset(self._name, mapping=newer)
        return theirs


def _written(key: DatedKey) -> str:
    der, confirmed_at = key
    return json.dumps({"der": base64.b64encode(der).decode(), "at": int(confirmed_at)})


def _read(text: bytes) -> DatedKey | None:
    try:
        fields = json.loads(text)
        return base64.b64decode(fields["der"], validate=True), float(fields["at"])
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
