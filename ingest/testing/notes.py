"""Notes each call of a handler, and what it raised."""

import functools
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

from ingest.batch import Record
from ingest.testing.results import HandlerCall
from workers.handlers.registry import GiveUp, Handler, TryLater
from workers.handlers.time_limits import CallTimeout

log = logging.getLogger(__name__)


class Notes:
    """The calls of handlers so far, the first one first, and what they raised since `forget_errors`."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self.calls: list[HandlerCall] = []
        #: The handler that is called at the moment.
        self.running = ""
        self._now = now
        self._errors: list[tuple[str, BaseException]] = []

    def watched(self, handler: Handler) -> Handler:
        """The same handler, whose calls are noted."""
        call = handler.call

        def note(given: Any) -> None:
            events = list(given) if isinstance(given, list) else [given]
            self.calls.append(HandlerCall(handler.name, events, self._now()))

        if handler.is_async:

            @functools.wraps(call)
            async def later(given: Any) -> Any:
                note(given)
                return await call(given)

            return replace(handler, call=later)

        @functools.wraps(call)
        def at_once(given: Any) -> Any:
            note(given)
            return call(given)

        return replace(handler, call=at_once)

    def tell(self, record: Record, _attempt: int, error: BaseException) -> None:
        """A handler raised on this call, or on a batch that begins with it, as the runner tells."""
        self._errors.append((self.running, error))
        if not isinstance(error, GiveUp | TryLater):
            log.warning("the handler %s raised:", self.running, exc_info=error)
        for call in reversed(self.calls):
            if call.handler == self.running and any(one.delivery_id == record.delivery_id for one in call.events):
                call.error = call.error or error
                return

    def forget_errors(self) -> None:
        """Begin anew with what is raised."""
        self._errors.clear()

    def raise_first(self) -> None:
        """Raise the first error of a handler that it does not raise on purpose."""
        for name, error in self._errors:
            if isinstance(error, CallTimeout):
                raise TimeoutError(f"{name}: {error}") from error
            if isinstance(error, SystemExit):
                raise RuntimeError(f"{name} ended the process: SystemExit({error.code!r})") from error
            if not isinstance(error, GiveUp | TryLater):
                raise error
