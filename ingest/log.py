"""One form of log line for every process."""

import logging
import sys
from types import TracebackType

from ingest import shown


class _Formatter(logging.Formatter):
    """Writes what neither shows a secret nor steers a terminal.

    A message is one line; lines of a traceback are indented, so that none of them can pass for a message.
    """

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's name
        """The line itself."""
        return shown.escaped(shown.without_secrets(super().formatMessage(record)))

    def formatException(  # noqa: N802  # logging's name
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None],
    ) -> str:
        """The traceback below it."""
        return _below(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802  # logging's name
        """The stack below it, where one was asked for."""
        return _below(super().formatStack(stack_info))


def _below(text: str) -> str:
    return "\n".join(f"  {line}" for line in shown.escaped_lines(shown.without_secrets(text)).split("\n"))


def set_up(level: str) -> None:
    """Log to standard error, from that level up; hosts and `ingest dev` collect it from there."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in ("aiohttp", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # It announces each retry without saying of what; whoever retries says it in full.
    logging.getLogger("stamina").setLevel(logging.ERROR)
