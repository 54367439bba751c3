"""One form of log line for every process: text for people, or JSON for collectors (`LOG_FORMAT`)."""

import logging
import select
import sys
from types import TracebackType
from typing import TextIO

from ingest import shown

#: Libraries that tell more than anybody wants to know, and from which level on they are heard.
QUIET = {
    "aiohttp": logging.WARNING,
    "asyncio": logging.WARNING,
    # It announces each retry without saying of what; whoever retries says it in full.
    "stamina": logging.ERROR,
    # Of each attempt to reach a collector that is away.
    "opentelemetry": logging.ERROR,
}

#: Characters that a pipe takes in one go once it takes anything at all: 4,096 bytes, however they are encoded.
PIECE = 1024
#: Milliseconds that a reader may take to make room, before lines are left out until it has.
ROOM_WITHIN = 100

# What this process is called in its log: there is one name, as there is one log.
_process = "ingest"


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


def formatter(form: str) -> logging.Formatter:
    """What makes the lines: `text` or `json`."""
    if form != "json":
        return _Formatter()
    from ingest.json_log import formatter as json_formatter  # noqa: PLC0415  # takes a quarter of a second

    return json_formatter(process)


class Handler(logging.StreamHandler[TextIO]):
    """Writes lines, and leaves them out while nobody reads them: an endpoint that waited would take no calls.

    A pipe whose reader hangs is full after some hours; a terminal is stopped by Ctrl-S. What was left out is
    counted, and told once somebody reads again.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._poll: select.poll | None = select.poll()
        try:
            self._poll.register(stream.fileno(), select.POLLOUT)
        except (OSError, ValueError):  # no file of the system: it keeps nobody waiting
            self._poll = None
        self._lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, or count it."""
        try:
            if self._lost and self._takes_more():
                lost, self._lost = self._lost, 0
                said = f"nobody read this log for a while: {lost:,} lines are left out"
                self._write(self.format(logging.LogRecord(__name__, logging.WARNING, "", 0, said, (), None)))
            self._write(self.format(record))
        except Exception:  # as logging has it: a log ends nothing
            self.handleError(record)

    def _write(self, text: str) -> None:
        text += self.terminator
        for at in range(0, len(text), PIECE):
            if not self._takes_more():
                self._lost += 1
                return
            self.stream.write(text[at : at + PIECE])
            self.flush()

    def _takes_more(self) -> bool:
        return self._poll is None or bool(self._poll.poll(0 if self._lost else ROOM_WITHIN))


def set_up(level: str, form: str = "text") -> None:
    """Log to standard error, from that level up; hosts and `ingest dev` collect it from there."""
    handler = Handler(sys.stderr)
    handler.setFormatter(formatter(form))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name, quiet in QUIET.items():
        logging.getLogger(name).setLevel(quiet)


def call_process(name: str) -> None:
    """Say what this process is, for its log lines: `web.1`, `worker.events`."""
    global _process  # noqa: PLW0603  # see above
    _process = name


def process() -> str:
    """What this process is called."""
    return _process
