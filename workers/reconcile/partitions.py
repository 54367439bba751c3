"""Events as small records of hashes, kept on disk in parts, so that millions can be compared.

A part holds all records of its messages, so parts can be looked at one after the other.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from enum import IntEnum
from functools import partial
from hashlib import blake2b
from itertools import count
from struct import Struct
from tempfile import TemporaryFile
from typing import IO, Any, NamedTuple, Self

from ingest.copernica.events import MICROS, Event
from ingest.copernica.logfiles.fields import LINK_ID
from ingest.copernica.logfiles.reader import Portion
from ingest.copernica.message_ids import bare
from workers.reconcile.people import PLAIN, People

#: Parts that each side is divided into: of five million events, one holds some 80,000, 30 MB in memory.
PARTS = 64
#: Records that are gathered before they are written to the files of their parts: 2 MB in memory.
GATHERED = 16 * 1024

_LINE = Struct("<qIqqq8sI")
_ROW = Struct("<qIqqq12sBB")
#: The same, as the key (message, second and recipient) and the rest.
_LINE_BY_KEY = Struct("<20s28s")
_ROW_BY_KEY = Struct("<20s28sBB")
_KEY = Struct("<qIq")
#: Of nothing yet: to copy it takes less time than to make another.
_BLANK = blake2b(digest_size=8)
#: Where in the record of a row it says whether it was recovered.
_RECOVERED = _ROW.size - 2
#: Where in the record of a line its address and its link are.
_IP, _URL = _KEY.size, _KEY.size + 8
#: Where in a key second and recipient are, and what stands for a recipient if there is none.
_SECOND, _RECIPIENT, _NOBODY = 8, 12, bytes(8)


class Line(NamedTuple):
    """A line of a log file, as hashes; `digest` is of its whole natural key, `number` its place in the files."""

    message: int
    second: int
    recipient: int
    ip: int
    url: int
    digest: bytes
    number: int


class Origin(IntEnum):
    """Where an event of the store comes from; 0 is a call, and all others were recovered."""

    CALL = 0
    LOGFILE = 1
    RESULT = 2


class Row(NamedTuple):
    """An event of the store, likewise; an `Origin` in `recovered`, `timed` if its call told when."""

    message: int
    second: int
    recipient: int
    ip: int
    url: int
    delivery_id: bytes
    recovered: int
    timed: bool


class Stored(NamedTuple):
    """Events of the store in columns: `seconds` are those of their times, the others as of a `Row`."""

    message_ids: Sequence[str | None]
    seconds: Sequence[int]
    recipients: Sequence[str | None]
    ips: Sequence[str | None]
    urls: Sequence[str | None]
    delivery_ids: Sequence[bytes]
    recovered: Sequence[int]
    timed: Sequence[bool]


def lines_of(said: Portion, digests: Iterable[bytes], number: int, people: People = PLAIN) -> Iterator[bytes]:
    """Lines and what names them as records for `Partitions.add`; the first has this number."""
    return map(
        _LINE.pack,
        _messages(said.message_ids),
        said.seconds,
        _hashes(people.of_lines(said.recipients)),
        _hashes(people.ips(said.ips)),
        _hashes(people.urls(said.urls, said.recipients, said.ips)),
        digests,
        count(number),
    )


def digests_of(kind: str, said: Portion) -> Iterator[bytes]:
    """What names lines of log files, of events of a kind: all that each says."""
    links = said.urls
    if any(said.link_ids):
        links = [url or link for url, link in zip(said.urls, said.link_ids, strict=True)]
    return map(partial(digest, kind), said.message_ids, said.seconds, said.recipients, said.ips, links)


def rows_of(stored: Stored, people: People = PLAIN) -> Iterator[bytes]:
    """The same of events of the store."""
    recipients, ips = _texts(stored.recipients), _texts(stored.ips)
    return map(
        _ROW.pack,
        _messages(stored.message_ids),
        stored.seconds,
        _hashes(people.of_rows(recipients)),
        _hashes(people.ips(ips)),
        _hashes(people.urls(stored.urls, recipients, ips)),
        stored.delivery_ids,
        stored.recovered,
        stored.timed,
    )


def _texts(values: Iterable[str | None]) -> list[str]:
    return [value or "" for value in values]


def _hashes(texts: Sequence[str | None]) -> list[int]:
    """A hash of each: 0 for what is absent, and only for that."""
    return [hash(text) or 1 if text else 0 for text in texts] if any(texts) else [0] * len(texts)


def _messages(ids: Sequence[str | None]) -> list[int]:
    text = "".join(filter(None, ids))
    if text.isalnum() and text.isascii() and text == text.lower():  # nothing to strip, and in lower case
        return _hashes(ids)
    return [hash(bare(message_id)) or 1 if message_id else 0 for message_id in ids]


def digest(kind: str, message_id: str, second: int, recipient: str, ip: str, link: str) -> bytes:
    """8 bytes of a hash over what a line tells: the same in every process and in every release.

    It makes the delivery id, by which a later run knows the event again: so addresses are not folded here as they
    are where both sides are compared. `link` is its address or, without one, its number.
    """
    text = f"{kind}\x1f{message_id}\x1f{second}\x1f{recipient.strip().lower()}\x1f{ip.strip().lower()}\x1f{link}"
    made = _BLANK.copy()
    made.update(text.encode("utf-8", "surrogatepass"))
    return made.digest()


def digest_of(event: Event) -> bytes:
    """The same of the event that a line became."""
    link = event.url or event.payload.get(LINK_ID) or ""  # release 0.2 had either in `url`
    second = event.occurred_at // MICROS
    return digest(event.type, event.message_id or "", second, event.recipient or "", event.ip or "", link)


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
        #: The records of each part that are not in its file yet, and how many more are gathered.
        self._gathered: list[list[bytes]] = [[] for _ in range(PARTS)]
        self._room = GATHERED
        self._stack = ExitStack()

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

    def add(self, records: Iterable[bytes]) -> None:
        """Keep some thousand records; each begins with the hash of its message, which decides on its part."""
        gathered = self._gathered
        records = list(records)
        for record in records:
            gathered[record[0] % PARTS].append(record)
        self._room -= len(records)
        if self._room <= 0:
            self._write()

    @property
    def is_empty(self) -> bool:
        """Whether there are no records."""
        return self._room == GATHERED and not self._files

    def _write(self) -> None:
        for part, records in enumerate(self._gathered):
            if records:
                (self._files.get(part) or self._begin(part)).write(b"".join(records))
                records.clear()
        self._room = GATHERED

    def _begin(self, part: int) -> IO[bytes]:
        self._files[part] = self._stack.enter_context(TemporaryFile())  # noqa: SIM115
        return self._files[part]

    def data(self, number: int) -> bytes:
        """The records of one part, one after the other, in the order in which they came."""
        if self._room < GATHERED:
            self._write()
        file = self._files.get(number)
        if file is None:
            return b""
        file.seek(0)
        return file.read()

    def part(self, number: int) -> Iterator[tuple[Any, ...]]:
        """The same as what is in them."""
        return self._record.iter_unpack(self.data(number))


def lines(data: bytes) -> Iterator[Line]:
    """Records of lines as such."""
    return map(Line._make, _LINE.iter_unpack(data))


def rows(data: bytes) -> Iterator[Row]:
    """Records of rows as such."""
    return map(Row._make, _ROW.iter_unpack(data))


class Unpaired(NamedTuple):
    """Records of lines and rows that are left, in their order, and how many lines were paired with a row.

    `fills` are (number, delivery id) of lines that tell an address or a link which their rows lack.
    """

    lines: bytes
    rows: bytes
    pairs: int
    fills: list[tuple[int, bytes]]


def without_pairs(lines: bytes, rows: bytes, offset: int) -> Unpaired:
    """Take out lines and rows that are each other's beyond doubt, as nearly all are.

    The line is the only one of its key, and the row the first of that key, a call that told its time and its
    recipient; and no event of that message was recovered earlier. The rows' clock is ahead by `offset` seconds.
    """
    keys = _keys_of_lines(lines, offset)
    lone = set(keys)
    if len(lone) < len(keys):
        lone = {key for key, number in Counter(keys).items() if number == 1}
    if any(rows[_RECOVERED :: _ROW.size]):
        known = {key[:_SECOND] for key, _, recovered, _ in _ROW_BY_KEY.iter_unpack(rows) if recovered}
        lone = {key for key in lone if key[:_SECOND] not in known}
    paired: set[bytes] = set()
    pair = paired.add
    left = []
    ips, urls = _any(lines, _IP), _any(lines, _URL)
    lacking: list[tuple[bytes, bytes]] = []
    for place, (key, rest, recovered, timed) in enumerate(_ROW_BY_KEY.iter_unpack(rows)):
        if key in lone and key not in paired and timed and not recovered and key[_RECIPIENT:] != _NOBODY:
            pair(key)
            if (ips and rest[:8] == _NOBODY) or (urls and rest[8:16] == _NOBODY):
                lacking.append((key, rest))
        else:
            left.append(rows[place * _ROW.size : (place + 1) * _ROW.size])
    unsaid = [
        lines[place * _LINE.size : (place + 1) * _LINE.size] for place, key in enumerate(keys) if key not in paired
    ]
    fills = _fills(lines, keys, dict(lacking)) if lacking else []
    return Unpaired(b"".join(unsaid), b"".join(left), len(paired), fills)


def _any(lines: bytes, at: int) -> bool:
    """Whether any of the lines has a hash in this place of its record."""
    return any(lines[at + place :: _LINE.size].strip(b"\0") for place in range(8))


def _fills(lines: bytes, keys: Sequence[bytes], lacking: dict[bytes, bytes]) -> list[tuple[int, bytes]]:
    """Which lines tell an address or a link that the rows of their keys lack."""
    fills = []
    for key, line in zip(keys, map(Line._make, _LINE.iter_unpack(lines)), strict=True):
        rest = lacking.get(key)
        if rest and ((line.ip and rest[:8] == _NOBODY) or (line.url and rest[8:16] == _NOBODY)):
            fills.append((line.number, rest[16:]))
    return fills


def _keys_of_lines(lines: bytes, offset: int) -> list[bytes]:
    """The keys of lines, with their seconds by the rows' clock."""
    if not offset:
        return [key for key, _ in _LINE_BY_KEY.iter_unpack(lines)]
    return [
        _KEY.pack(message, second + offset, recipient)
        for message, second, recipient, *_ in _LINE.iter_unpack(lines)
    ]
