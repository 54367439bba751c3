"""One log file on this machine, wherever it came from, and how progress with it is reported."""

from collections.abc import Callable
from datetime import date
from typing import BinaryIO, NamedTuple

from ingest.copernica.logfiles.kinds import LogKind

#: Is told about progress: of what, how much is done, and the total if that is known.
Watch = Callable[[str, int, int | None], object]


class LogFile(NamedTuple):
    """One log file; `open` gives its bytes, `size` is how many there are to read, if known.

    `whole` says that its end is not missing, even if its last line has no line end.
    """

    name: str
    kind: LogKind
    day: date
    open: Callable[[], BinaryIO]
    size: int | None = None
    whole: bool = False
