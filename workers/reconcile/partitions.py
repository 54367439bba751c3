"""Events as small records of hashes, kept on disk in parts, so that millions can be compared.

A part holds all records of its messages, so parts can be looked at one after the other.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from hashlib import blake2b
from struct import Struct
from tempfile import TemporaryFile
from typing import IO, Any, NamedTuple, Self

from ingest.copernica.addresses import canonical_ip, folded
from ingest.copernica.events import MICROS, Event
from ingest.copernica.logfiles.reader import LINK_ID

#: Parts that each side is divided into: of five million events, one holds some 80,000, 30 MB in memory.
PARTS = 64
#: Bytes that are gathered before they are written to a part's file.
BUFFER = 64 * 1024

_LINE = Struct("<qIqqq8sI")
_ROW = Struct("<qIqqq12sBB")


class Line(NamedTuple):
    """A line of a log file, as hashes; `digest` is of its whole natural key, `number` its place in the files."""

    message: int
    second: int
    recipient: int
    ip: int
    url: int
    digest: bytes
    number: int


class Row(NamedTuple):
    """An event of the store, likewise; `recovered` from a log file earlier, `timed` if its call told when."""

    message: int
    second: int
    recipient: int
    ip: int
    url: int
    delivery_id: bytes
    recovered: bool
    timed: bool


def line_of(event: Event, number: int) -> bytes:
    """An event of a log file as a record for `Partitions.add`."""
    return _LINE.pack(
        _message(event.message_id),
        event.occurred_at // MICROS,
        _recipient(event.recipient),
        _ip(event.ip),
        _hash(event.url),
        digest(event),
        number,
    )


def row_of(
    delivery_id: bytes,
    message_id: str | None,
    occurred_at: int,
    recipient: str | None,
    ip: str | None,
    url: str | None,
    recovered: bool,
    timed: bool,
) -> bytes:
    """The same for an event of the store; `occurred_at` in µs since 1970."""
    return _ROW.pack(
        _message(message_id),
        occurred_at // MICROS,
        _recipient(recipient),
        _ip(ip),
        _hash(url),
        delivery_id,
        recovered,
        timed,
    )


# Hashes are 0 for what is absent, and only for that. These run for every line and every row.


def _hash(value: str | None) -> int:
    return hash(value) or 1 if value else 0


def _message(id_: str | None) -> int:
    """Without brackets and case, which one side may lack; nobody has two messages that differ in these only."""
    return hash(id_.strip("<> \t\r\n").lower()) or 1 if id_ else 0


def _recipient(address: str | None) -> int:
    return hash(folded(address)) or 1 if address else 0


def _ip(ip: str | None) -> int:
    return hash(canonical_ip(ip)) or 1 if ip else 0


def _lowered(value: str | None) -> str:
    return value.strip().lower() if value else ""


def digest(event: Event) -> bytes:
    """8 bytes of a hash over what a line tells: the same in every process and in every release.

    It makes the delivery id, by which a later run knows the event again: so addresses are not folded here as they
    are where both sides are compared.
    """
    link = event.url or event.payload.get(LINK_ID) or ""  # release 0.2 had either in `url`
    text = (
        f"{event.type}\x1f{event.message_id or ''}\x1f{event.occurred_at // MICROS}\x1f{_lowered(event.recipient)}"
        f"\x1f{_lowered(event.ip)}\x1f{link}"
    )
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def delivery_id(second: int, digest: bytes, occurrence: int) -> bytes:
    """The delivery id of an event from a log file: its time, and a hash over its key and its occurrence.

    `occurrence` counts, from 0, the lines with the very same key. So a second run finds what the first one made.
    """
    tail = blake2b(digest + occurrence.to_bytes(4, "big"), digest_size=8).digest()
    return second.to_bytes(4, "big") + tail


class Partitions:
    """One side on disk, in parts. The files have no names, so they vanish when this is closed."""

    def __init__(self, record: Struct) -> None:
        self._record = record
        self._files: dict[int, IO[bytes]] = {}
        self._stack = ExitStack()
        self.count = 0

    @classmethod
    def of_lines(cls) -> Self:
        """For the lines of log files."""
        return cls(_LINE)

    @classmethod
    def of_rows(cls) -> Self:
        """For the events of the store."""
        return cls(_ROW)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def add(self, record: bytes) -> None:
        """Keep a record; it begins with the hash of its message, which decides on its part."""
        part = record[0] % PARTS
        file = self._files.get(part) or self._begin(part)
        file.write(record)
        self.count += 1

    def _begin(self, part: int) -> IO[bytes]:
        self._files[part] = self._stack.enter_context(TemporaryFile(buffering=BUFFER))  # noqa: SIM115
        return self._files[part]

    def part(self, number: int) -> Iterator[tuple[Any, ...]]:
        """The records of one part, in the order in which they came."""
        file = self._files.get(number)
        if file is None:
            return iter(())
        file.seek(0)
        return self._record.iter_unpack(file.read())
