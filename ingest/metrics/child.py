"""The process that shows metrics, started by those whose figures it shows."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ingest.metrics.board import Board
from ingest.processes import Child, own_command

log = logging.getLogger(__name__)

#: Seconds between two checks of an exporter for whether it is still there; nobody waits for it.
CHECK_INTERVAL = 1.0


def exporter(board: Board, part: str) -> Child:
    """The process that shows what is left on this board, by a part of the program: `serve` or `worker`."""
    command = own_command("metrics", "--board", str(board.fd), "--part", part)
    return Child("metrics", command, pass_fds=[board.fd])


@contextmanager
def exporting(board: Board, part: str) -> Iterator[None]:
    """Show them for as long as the block runs, for who does not watch over children: from a thread."""
    child, over = exporter(board, part), threading.Event()

    def watch() -> None:
        while not over.wait(CHECK_INTERVAL):
            if sentence := child.check():
                log.warning(sentence)

    child.start()
    watching = threading.Thread(target=watch, name="watch-metrics", daemon=True)
    watching.start()
    try:
        yield
    finally:
        over.set()
        watching.join(CHECK_INTERVAL)
        child.end()
