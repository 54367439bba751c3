"""What Copernica keeps of simulated events, in as many ways as are wanted."""

from collections.abc import Mapping
from typing import Any, Protocol


class Record(Protocol):
    """Log files, or the truth behind results."""

    def event(self, kind: str, fields: Mapping[str, Any]) -> None:
        """An event happened; `fields` are those of its webhook."""

    def failure(self, fields: Mapping[str, Any], response: str, header: str) -> None:
        """The call of an event was not taken: what came back, and the header that was sent."""


class Records:
    """Several records of the same events."""

    def __init__(self, *records: Record) -> None:
        self._records = records

    def event(self, kind: str, fields: Mapping[str, Any]) -> None:
        """Record an event in each."""
        for record in self._records:
            record.event(kind, fields)

    def failure(self, fields: Mapping[str, Any], response: str, header: str) -> None:
        """Record in each that a call was not taken."""
        for record in self._records:
            record.failure(fields, response, header)
