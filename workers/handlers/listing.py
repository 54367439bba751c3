"""What handlers are registered, found out without running users' code in this process.

Their modules are imported by a process of their own: it may print, end itself, hang or change what it likes. It
answers by one line of JSON on what was its standard output, and is killed with all that it started if it takes too
long.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from ingest.errors import IngestError, SettingsError
from ingest.settings import Settings
from workers.handlers import configured, registry
from workers.handlers.registry import Handler

#: Seconds that importing all modules of handlers may take.
PATIENCE = 30.0


@dataclass(frozen=True, slots=True)
class Described:
    """A handler and its options, as `on` has them; of a forward target, as its URL has them."""

    name: str
    #: The function and the module that it is in.
    function: str
    #: None: all.
    types: tuple[str, ...] | None
    batch: int | None
    retries: int
    backoff: tuple[float, ...]
    timeout: float
    concurrency: int | None
    #: Calls per second.
    rate: float | None
    is_async: bool
    has_where: bool


@dataclass(frozen=True, slots=True)
class Registered:
    """The handlers that could be imported, and why others could not, a sentence each."""

    handlers: tuple[Described, ...]
    problems: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """What they are called."""
        return [handler.name for handler in self.handlers]


def described(handler: Handler) -> Described:
    """What a person may want to know of a handler."""
    function = getattr(handler.call, "__func__", handler.call)
    module, name = getattr(function, "__module__", ""), getattr(function, "__qualname__", repr(function))
    return Described(
        name=handler.name,
        function=f"{module}.{name}",
        types=None if handler.types >= registry.ALL_TYPES else tuple(sorted(handler.types)),
        batch=handler.batch,
        retries=handler.retries,
        backoff=tuple(handler.backoff),
        timeout=handler.timeout,
        concurrency=handler.concurrency,
        rate=handler.rate,
        is_async=handler.is_async,
        has_where=handler.where is not None,
    )


def registered(settings: Settings, seconds: float = PATIENCE) -> Registered:
    """The handlers of these settings; importing them may take so many seconds."""
    if not settings.has_handlers:
        return Registered((), ())
    environ = os.environ | {
        "INGEST_HANDLERS": ",".join(settings.handlers),
        "INGEST_FORWARD_URL": ",".join(settings.forward_url),
        "INGEST_FORWARD_SECRET": settings.forward_secret or "",
        "INGEST_CLICKHOUSE_URL": settings.clickhouse_url or "",
        "INGEST_KAFKA_URL": settings.kafka_url or "",
    }
    modules = ", ".join(settings.handlers) or "INGEST_FORWARD_URL"
    answer = _answer([sys.executable, "-m", __name__], environ, seconds)
    if answer is None:
        return Registered((), (f"Importing {modules} takes more than {seconds:g} s.",))
    try:
        found: dict[str, Any] = json.loads(answer)
    except ValueError:
        return Registered((), (f"Importing {modules} ends the process that does it.",))
    handlers = tuple(from_json(handler) for handler in found["handlers"])
    return Registered(handlers, tuple(found["problems"]))


def from_json(values: dict[str, Any]) -> Described:
    """A handler that was written as JSON."""
    types = values["types"]
    return Described(**values | {"types": types and tuple(types), "backoff": tuple(values["backoff"])})


def _answer(command: list[str], environ: Mapping[str, str], seconds: float) -> str | None:
    """What a command prints; None if it took too long. It and its children are gone afterwards."""
    with subprocess.Popen(  # noqa: S603  # our own
        command,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            return process.communicate(timeout=seconds)[0]
        except subprocess.TimeoutExpired:
            return None
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)


def _look(settings: Settings) -> Registered:
    """In the process for it: import what can be imported."""
    try:
        handlers: Iterable[Handler] = configured.all_handlers(settings).values()
    except IngestError as error:
        return _look_one_by_one(settings, str(error))
    return Registered(tuple(map(described, handlers)), ())


def _look_one_by_one(settings: Settings, problem: str) -> Registered:
    """Something is wrong: whatever is all right is found all the same."""
    handlers: dict[str, Handler] = {}
    problems: dict[str, None] = {}
    for module in settings.handlers:
        try:
            handlers |= registry.load([module])
        except SettingsError as error:
            problems[str(error)] = None
    return Registered(tuple(map(described, handlers.values())), tuple(problems or [problem]))


if __name__ == "__main__":
    answer, sys.stdout = os.fdopen(os.dup(1), "w"), sys.stderr
    os.dup2(2, 1)  # for what modules print past Python
    answer.write(json.dumps(asdict(_look(Settings.read()))))
    answer.flush()
    os._exit(0)  # whatever threads they have started
