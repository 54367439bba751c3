"""What handlers workers have, as they tell in Redis: who shows them must not import users' modules for that.

Each worker of the queue `handlers` tells at its start, and again now and then while there is work: the hash
`Keys.handlers` has a field for each handler, with its options as JSON, who told and when. What nobody has told for
`FORGOTTEN` seconds is forgotten.
"""

import json
import logging
import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, cast

import redis

from ingest.copernica.events import DAY
from ingest.shown import without_secrets
from ingest.stream.keys import Keys
from workers.handlers.listing import Described, described, from_json
from workers.handlers.registry import Handler

log = logging.getLogger(__name__)

#: Seconds between two times that workers tell: as long as the list may be incomplete after Redis was emptied.
TELL_EVERY = 60
#: Seconds after which a handler that no worker has told of is forgotten.
FORGOTTEN = 30 * DAY
#: Handlers that are told of at most, so that names which change at each start fill nothing.
MOST = 500


@dataclass(frozen=True, slots=True)
class Announced:
    """A handler that a worker has, or had: on which machine, and when it told (Unix seconds)."""

    handler: Described
    host: str
    at: float


def announce(client: redis.Redis, handlers: Iterable[Handler], *, at_once: bool = False) -> None:
    """Tell what handlers this worker has, unless one has just done so; a Redis that is full need not know."""
    keys = Keys()
    try:
        if client.set(f"{keys.handlers}:told", 1, nx=not at_once, ex=TELL_EVERY):
            _tell(client, handlers)
    except redis.ResponseError as error:
        log.debug("which handlers there are was not told: %s", error)


def _tell(client: redis.Redis, handlers: Iterable[Handler]) -> None:
    about = {"host": socket.gethostname(), "at": time.time()}
    told: Mapping[Any, Any] = {
        handler.name: without_secrets(json.dumps(about | {"handler": asdict(described(handler))}))
        for handler in list(handlers)[:MOST]
    }
    if told:
        client.hset(Keys().handlers, mapping=told)
    old = [one.handler.name for one in _read(client) if one.at < time.time() - FORGOTTEN]
    if old:
        client.hdel(Keys().handlers, *old)


def announced(client: redis.Redis) -> list[Announced]:
    """The handlers that workers have told of, by their names."""
    return sorted(_read(client), key=lambda one: one.handler.name)


def _read(client: redis.Redis) -> list[Announced]:
    found = []
    for told in cast(dict[bytes, bytes], client.hgetall(Keys().handlers)).values():
        try:
            values = json.loads(told)
            found.append(Announced(from_json(values["handler"]), str(values["host"]), float(values["at"])))
        except (ValueError, KeyError, TypeError):  # of another release
            continue
    return found[:MOST]
