"""Places at which a test can have a process fail, named in the environment: `INGEST_FAIL_AT`.

    redis-written=kill           SIGKILL to itself, the first time it comes by
    redis-written:3=stop         SIGSTOP, the third time
    committed=raise              an `Injected`, which nothing expects
    spool-synced=sleep:2         two seconds in which the process does nothing else

Several are named with commas. Each fires once in each process; a worker runs every job in a new one. It is for
tests only, and a process that has one says so in its log; where none is set, passing costs a look at a variable:

    if failpoints.armed:
        failpoints.reach("redis-write")
"""

import logging
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass

from ingest.errors import SettingsError

log = logging.getLogger(__name__)

VARIABLE = "INGEST_FAIL_AT"

#: Every point, in the order in which a call passes them.
POINTS = (
    # The endpoint: a body is whole; a batch is packed; it is written to Redis or to the spool; calls are answered.
    "body-read",
    "batch-gathered",
    "redis-write",
    "redis-written",
    "spool-write",
    "spool-written",
    "spool-synced",
    "answer",
    "answered",
    # Its spool: a portion is written to Redis, noted as confirmed, and its segment deleted.
    "replay-append",
    "replay-appended",
    "replay-confirmed",
    "segment-delete",
    "segment-deleted",
    # The drain.
    "batches-claimed",
    "batch-unpacked",
    "commit",
    "upgrading",
    "committed",
    "handlers-wake",
    "ack",
    "acked",
    # Recovery: what is missing is known; a portion of it is inserted, and not committed yet.
    "compared",
    "recovering",
)
ACTIONS = ("kill", "raise", "stop", "sleep")

#: Whether any point is set.
armed = False
_set: dict[str, "_Point"] = {}


class Injected(Exception):
    """A fault that a test asked for."""


@dataclass(slots=True)
class _Point:
    due: int
    action: str
    seconds: float = 0.0


def arm(environ: Mapping[str, str] = os.environ) -> None:
    """Set the points that the environment names; to be called once, at the start of a process.

    Raises:
        SettingsError: there is no such point or action.
    """
    global armed  # noqa: PLW0603  # one variable, so that passing a point costs nothing
    _set.clear()
    for text in filter(None, environ.get(VARIABLE, "").split(",")):
        name, point = _read(text.strip())
        _set[name] = point
    armed = bool(_set)
    if armed:
        log.warning("THIS PROCESS WILL FAIL ON PURPOSE, for a test: %s=%s", VARIABLE, environ[VARIABLE])


def reach(name: str) -> None:
    """A point is passed; only to be called when `armed`."""
    point = _set.get(name)
    if point is None:
        return
    point.due -= 1
    if point.due:
        return
    log.warning("failing at %s: %s", name, point.action)
    if point.action == "raise":
        raise Injected(name)
    if point.action == "sleep":
        time.sleep(point.seconds)
    else:
        os.kill(os.getpid(), signal.SIGKILL if point.action == "kill" else signal.SIGSTOP)


def _read(text: str) -> tuple[str, _Point]:
    place, _, what = text.partition("=")
    name, _, due = place.partition(":")
    action, _, seconds = what.partition(":")
    try:
        point = _Point(int(due or 1), action, float(seconds or 0))
    except ValueError:
        point = _Point(0, action)
    if name not in POINTS or action not in ACTIONS or point.due < 1:
        raise SettingsError(
            f"{VARIABLE}={text!r} cannot be used: write point=action or point:N=action, with one of the points "
            f"{', '.join(POINTS)} and one of the actions {', '.join(ACTIONS[:-1])}, sleep:SECONDS."
        )
    return name, point
