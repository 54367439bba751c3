"""Warnings of what may happen thousands of times a second."""

import logging
import time

from ingest.endpoint.limits import WARNING_INTERVAL


class RareWarnings:
    """Logs a warning, at most one per `WARNING_INTERVAL` about the same trouble."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._warned_at: dict[str, float] = {}

    def __call__(self, about: str, text: str, *values: object) -> None:
        """Warn about a trouble, which has a name, unless that was just done."""
        if time.monotonic() - self._warned_at.get(about, -WARNING_INTERVAL) >= WARNING_INTERVAL:
            self._warned_at[about] = time.monotonic()
            self._log.warning(text, *values)
