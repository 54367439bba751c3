"""What the connections of the fast path (`ingest.endpoint.fast_path`) share in one process."""

import time
from collections.abc import Callable

from ingest.endpoint.answers import KEPT
from ingest.endpoint.connection import Connection
from ingest.endpoint.connections import Connections
from ingest.endpoint.intake import Intake
from ingest.endpoint.plain import Plain


class Shared:
    """What the connections of one process share."""

    def __init__(
        self, intake: Intake, path: str, fallback: Callable[[], Connection], connections: Connections
    ) -> None:
        """`fallback` makes the protocol for what is not plain."""
        self.intake = intake
        self.plain = Plain(path, intake.max_body)
        self.fallback = fallback
        self.connections = connections
        #: Set when the process is about to stop: every further answer closes its connection.
        self.closing = False
        self._kept = (0, b"", b"")

    def kept(self, close: bool) -> bytes:
        """The bytes of `KEPT`, the answer to nearly all calls; made once a second: they contain the date."""
        second = int(time.time())
        if self._kept[0] != second:
            self._kept = second, KEPT.raw(close=False), KEPT.raw(close=True)
        return self._kept[2] if close else self._kept[1]
