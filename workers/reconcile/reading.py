"""The lines of the log files of one kind and day: all of them once, and those whose events are missing again.

The first time, nothing is made of a line but what it is compared by. Where a line of a CSV stands is noted, so the
second time only the lines that are wanted are cut out of the file and made into events. Other forms, and other
encodings, are read through again.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import tzinfo
from itertools import compress
from operator import ne
from struct import Struct
from tempfile import TemporaryFile
from typing import IO, BinaryIO, NamedTuple, Self

from ingest.copernica.events import Event
from ingest.copernica.logfiles.reader import Entry, Lines, Portion, read, read_again
from ingest.copernica.logfiles.rows import BLOCK, Damage
from ingest.errors import LogFileError
from ingest.shown import counted
from workers.reconcile import partitions
from workers.reconcile.logfile import LogFile, Unpackable, Watch
from workers.store.late_calls import MAX_OFFSET

#: Lines between two reports of progress, and between two calls of `breathe`.
STEP = 2000

#: Characters from which on an id is a hash, so that all are as long.
HASH = 16

#: Places of lines that are read at once.
PLACES = 4096

#: Where a line begins in its file, and where it ends; and either of a line that is never wanted again.
_PLACE = Struct("=QQ")
_NOWHERE = (0,)


class LostZeros:
    """Puts back the zeros that programs take from the beginning of an id that has digits only, as of a number.

    All ids are of one length, so those with letters tell which; the first lines of a file decide.
    """

    def __init__(self) -> None:
        #: Ids that were made whole.
        self.number = 0
        #: Characters of an id; 0 if that is not known, None as long as nothing was read.
        self._length: int | None = None

    def restored(self, lines: Portion) -> Portion:
        """Lines with whole ids."""
        ids = lines.message_ids
        if self._length is None:
            lengths = {len(one) for one in ids if one and not one.isdigit()}
            self._length = lengths.pop() if len(lengths) == 1 and min(lengths) >= HASH else 0
        if not self._length or set(map(len, ids)) == {self._length}:
            return lines
        whole = list(map(self._whole, ids))
        changed = sum(map(ne, ids, whole))
        self.number += changed
        return lines._replace(message_ids=whole) if changed else lines

    def of(self, event: Event) -> Event:
        """An event with a whole id."""
        whole = self._whole(event.message_id or "")
        return event if whole == (event.message_id or "") else event._replace(message_id=whole)

    def _whole(self, one: str) -> str:
        length = self._length or 0
        return one.zfill(length) if 0 < len(one) < length and one.isdigit() else one


class _Read(NamedTuple):
    """A file that was read: the numbers of its lines, among those of all files, and how to find them again.

    `names` are those of its columns if its lines can be cut out, else None.
    """

    file: LogFile
    numbers: range
    names: tuple[str, ...] | None
    zeros: LostZeros


class Reading:
    """The lines of some files. What is on disk meanwhile has no name, so it vanishes when this is closed."""

    def __init__(
        self,
        files: Sequence[LogFile],
        day: range,
        zone: tzinfo,
        received_at: int,
        watch: Watch,
        breathe: Callable[[], object],
    ) -> None:
        """`day` are the seconds that they are of; `received_at` is that of the events, in µs since 1970."""
        self._files = files
        self._believed = range(day.start - MAX_OFFSET, day.stop + MAX_OFFSET)
        self._zone = zone
        self._received_at = received_at
        self._watch = watch
        self._breathe = breathe
        self._done: list[_Read] = []
        self._places: IO[bytes] = TemporaryFile()  # noqa: SIM115
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._places.close()

    def lines(self) -> Iterator[Portion | tuple[str, Damage]]:
        """What the lines say, or what is wrong with one of a file. They are numbered from 0, in this order."""
        for file in self._files:
            for part in self._lines(file):
                yield part if isinstance(part, Portion) else (part[0].name, part[1])

    def digests(self, kind: str, said: Portion) -> Iterable[bytes]:
        """What names each line: what it says of the event."""
        return partitions.digests_of(kind, said)

    def name_of(self, event: Event) -> bytes:
        """What names the line that became an event."""
        return partitions.digest_of(event)

    def _lines(self, file: LogFile) -> Iterator[Portion | tuple[LogFile, Damage]]:
        label, first, number, told = f"reading {file.name}", self._count, 0, 0
        placed, zeros = False, LostZeros()
        self._watch(label, 0, file.size)
        with file.open() as stream:
            lines = Lines(stream, file.kind, self._zone, file.whole, file.pick(), file.encoding)
            try:
                for part in lines.portions():
                    if isinstance(part, Damage):
                        number = part.number
                        self._note(_NOWHERE, _NOWHERE)
                        yield file, part
                    else:
                        number, placed = part.numbers[-1], part.ends[-1] > 0
                        self._note(part.begins, part.ends)
                        yield from self._believable(file, zeros.restored(part))
                    if self._count - told >= STEP:
                        told = self._count
                        self._watch(label, stream.tell(), file.size)
                        self._breathe()
            except Unpackable as error:
                self._note(_NOWHERE, _NOWHERE)
                yield file, Damage(number, f"what follows cannot be unpacked ({error})")
        self._watch(label, file.size or 1, file.size or 1)
        self._done.append(_Read(file, range(first, self._count), lines.names if placed else None, zeros))

    def notes(self) -> Iterator[str]:
        """What people should know of how files were read."""
        for done in self._done:
            if number := done.zeros.number:
                ids = counted(number, "message id")
                yield f"{done.file.name}: {ids} had lost zeros at the beginning, which were put back."

    def _believable(self, file: LogFile, lines: Portion) -> Iterator[Portion | tuple[LogFile, Damage]]:
        believed = self._believed
        if believed.start <= min(lines.seconds) and max(lines.seconds) < believed.stop:
            yield lines
            return
        strange = (place for place, second in enumerate(lines.seconds) if second not in believed)
        for part in lines.divided(strange):
            if isinstance(part, Portion):
                yield part
            else:
                yield file, Damage(lines.numbers[part], "its time is far from the day of the file")

    def _note(self, begins: Sequence[int], ends: Sequence[int]) -> None:
        """Keep where some more lines stand."""
        places = array("Q", bytes(2 * array("Q").itemsize * len(begins)))
        places[::2], places[1::2] = array("Q", begins), array("Q", ends)
        self._places.write(places)
        self._count += len(begins)

    def again(self, wanted: "array[int]") -> Iterator[Event]:
        """The events of the lines whose numbers have something other than 0 in `wanted`.

        Raises:
            LogFileError: a file is no longer what it was when its lines were read.
        """
        with memoryview(wanted) as all_flags:
            for read in self._done:
                flags = all_flags[read.numbers.start : read.numbers.stop]
                missing = sum(map(bool, flags))
                if not missing:
                    continue
                found = 0
                for entry in self._entries(read, flags):
                    if isinstance(entry, Entry):
                        found += 1
                        yield read.zeros.of(entry.event)
                if found != missing:
                    raise LogFileError(f"{read.file.name} changed while it was read: reconcile the day again.")

    def _entries(self, read_: _Read, flags: "memoryview[int]") -> Iterator[Entry | Damage]:
        file = read_.file
        label = f"recovering from {file.name}"
        self._watch(label, 0, file.size)
        with file.open() as stream:
            try:
                yield from self._watched(self._begun(read_, flags, stream), stream, label, file.size)
            except (Unpackable, UnicodeDecodeError):
                return  # its end, as it was the first time; or it is no longer what it was
        self._watch(label, file.size or 1, file.size or 1)

    def _begun(self, read_: _Read, flags: "memoryview[int]", stream: BinaryIO) -> Iterator[Entry | Damage]:
        file = read_.file
        if read_.names is not None:
            texts = map(bytes.decode, _cut(stream, compress(self._places_of(read_.numbers), flags)))
            return read_again(texts, file.kind, read_.names, self._zone, self._received_at)
        picks = iter(flags)
        pick = file.pick(lambda: next(picks, 0) > 0)
        return read(stream, file.kind, self._zone, self._received_at, file.whole, pick, file.encoding)

    def _watched(
        self, entries: Iterable[Entry | Damage], stream: BinaryIO, label: str, size: int | None
    ) -> Iterator[Entry | Damage]:
        for place, entry in enumerate(entries):
            if place % STEP == 0:
                self._watch(label, stream.tell(), size)
                self._breathe()
            yield entry

    def _places_of(self, numbers: range) -> Iterator[tuple[int, int]]:
        self._places.seek(numbers.start * _PLACE.size)
        left = len(numbers) * _PLACE.size
        while left and (block := self._places.read(min(left, PLACES * _PLACE.size))):
            left -= len(block)
            yield from _PLACE.iter_unpack(block)


def _cut(stream: BinaryIO, places: Iterable[tuple[int, int]]) -> Iterator[bytes]:
    """What stands at these places, in blocks."""
    block, start = b"", 0  # a part of the file, and where that begins
    cut: list[bytes] = []
    for begin, end in places:
        if end > start + len(block):
            if cut:
                yield b"".join(cut)
                cut = []
            block = block[begin - start :]
            if not block:
                stream.seek(begin)
            start = begin
            while end > start + len(block) and (more := stream.read(BLOCK)):
                block += more
        cut.append(block[begin - start : end - start])
    yield b"".join(cut)
