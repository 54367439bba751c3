"""One log file on this machine, wherever it came from, and how progress with it is reported."""

from collections.abc import Callable
from datetime import date
from typing import BinaryIO, NamedTuple

from ingest.copernica.logfiles.kinds import LogKind
from ingest.copernica.logfiles.text import Encoding

#: Is told about progress: of what, how much is done, and the total if that is known.
Watch = Callable[[str, int, int | None], object]


class Unpackable(Exception):
    """What follows in a packed file cannot be unpacked; `str(error)` is the reason."""


class LogFile(NamedTuple):
    """One log file; `open` gives its bytes, `size` is how many there are to read, if known.

    `whole` says that its end is not missing, even if its last line has no line end. `notes` are for people.
    `repeated` has a byte for each row: 1 if that row stands in another file of its kind and day and counts there.
    """

    name: str
    kind: LogKind
    day: date
    open: Callable[[], BinaryIO]
    size: int | None = None
    whole: bool = False
    encoding: Encoding | None = None
    notes: tuple[str, ...] = ()
    repeated: bytes = b""

    def pick(self, pick: Callable[[], bool] | None = None) -> Callable[[], bool] | None:
        """The same choice among its rows, but without those that count elsewhere."""
        if not self.repeated:
            return pick
        repeated = iter(self.repeated)
        return lambda: not next(repeated, 0) and (pick is None or pick())
