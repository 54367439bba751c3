"""What Redis says of itself, and how large our own keys in it are: what the console shows of it."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import redis

from ingest.health import version_of
from ingest.stream.keys import Keys

#: Settings that matter to what we keep there; a managed server may not tell them.
CONFIGURATION = ("appendonly", "appendfsync", "maxmemory-policy", "save", "timeout")
#: Elements of a key that are looked at to estimate its size.
SAMPLES = 5
#: How the length of each type is asked for.
LENGTHS = {"stream": "XLEN", "hash": "HLEN", "list": "LLEN", "zset": "ZCARD", "set": "SCARD", "string": "STRLEN"}


class KeyFacts(NamedTuple):
    """A key of ours: how much is in it (bytes of a text), and the memory that it takes; None: it is not told."""

    name: str
    type: str
    length: int | None
    memory: int | None


class RedisFacts(NamedTuple):
    """What Redis says of itself: `info` is that of its command INFO."""

    version: str
    info: Mapping[str, Any]
    #: None where it does not tell its configuration.
    configuration: Mapping[str, str] | None
    keys: Sequence[KeyFacts]
    databases: int

    def number(self, name: str) -> int | None:
        """A figure of INFO; None if it is not there, or no number."""
        value = self.info.get(name)
        return int(value) if isinstance(value, int | float) else None


def look(client: redis.Redis) -> RedisFacts:
    """Ask it; quick at any size.

    Raises:
        redis.RedisError: it does not answer, or not us.
    """
    info = client.info()
    configuration: dict[str, str] | None
    try:
        configuration = {}
        for name in CONFIGURATION:
            configuration |= cast(dict[str, str], client.config_get(name))
    except redis.ResponseError:
        configuration = None
    databases = sum(1 for name in info if name.startswith("db") and name[2:].isdigit())
    return RedisFacts(version_of(info), info, configuration, _keys(client), databases)


def _keys(client: redis.Redis) -> list[KeyFacts]:
    """Those of our keys that have one name and are there, the largest first."""
    names = sorted({name for attribute, name in vars(Keys()).items() if not attribute.startswith("_")})
    types = [
        each.decode() if isinstance(each, bytes) else "" for each in _all(client, [("TYPE", n) for n in names])
    ]
    there = [(name, kind) for name, kind in zip(names, types, strict=True) if kind in LENGTHS]
    lengths = _all(client, [(LENGTHS[kind], name) for name, kind in there])
    sizes = _all(client, [("MEMORY USAGE", name, "SAMPLES", SAMPLES) for name, _ in there])
    found = [
        KeyFacts(name, kind, _number(length), _number(size))
        for (name, kind), length, size in zip(there, lengths, sizes, strict=True)
    ]
    return sorted(found, key=lambda key: -(key.memory or 0))


def _all(client: redis.Redis, commands: Sequence[tuple[object, ...]]) -> list[Any]:
    """The answers to commands, sent together; one that is refused is an error among them."""
    pipeline = client.pipeline(transaction=False)
    for command in commands:
        pipeline.execute_command(*command)  # type: ignore[no-untyped-call]
    return pipeline.execute(raise_on_error=False)


def _number(answer: object) -> int | None:
    return answer if isinstance(answer, int) else None
