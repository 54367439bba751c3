"""Several files of one kind and day: parts of a whole, or the same lines twice?

A day's file can be at hand in parts, and in several downloads: of morning and evening, as CSV and as JSON. So a
line counts as often as it stands in the file that has it most often: parts, which have no lines in common, are
added up, and of downloads that overlap each line counts once.
"""

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC
from hashlib import blake2b

from ingest.copernica.logfiles.reader import Lines, Said
from workers.reconcile import partitions
from workers.reconcile.logfile import LogFile, Unpackable

#: Lines that are compared at once: 200 MB in memory.
PORTION = 2_000_000
#: A file of which more than one in so many lines seems to stand in another is another download of the same lines,
#: which may be written differently. Where only few do, parts meet: then all that a line says is compared.
FEW = 50
#: Bytes that are hashed at once.
BLOCK = 1 << 20


def content_hash(file: LogFile) -> bytes:
    """A hash over all bytes of a file, as far as they can be unpacked."""
    digest = blake2b(digest_size=16)
    with file.open() as stream:
        try:
            while block := stream.read(BLOCK):
                digest.update(block)
        except Unpackable as error:
            digest.update(str(error).encode())
    return digest.digest()


def merged(files: Sequence[LogFile]) -> list[LogFile]:
    """These files of one kind and day, with the lines marked that stand in an earlier one as well."""
    rows = [_Rows.of(file) for file in files]
    same = _repeated([each.alike for each in rows])
    if not any(sum(flags) * FEW > len(flags) for flags in same):
        same = _repeated([each.equal for each in rows])
    return [_marked(file, flags, files[0]) for file, flags in zip(files, same, strict=True)]


def _marked(file: LogFile, flags: bytearray, first: LogFile) -> LogFile:
    number = sum(flags)
    if not number:
        return file
    said = "all" if number == len(flags) else f"{number:,} of {len(flags):,}"
    verb = "stands" if number == 1 else "stand"
    note = f"{file.name}: {said} lines {verb} in {first.name} or another file as well, and count once."
    return file._replace(repeated=bytes(flags), notes=(*file.notes, note))


class _Rows:
    """What the rows of a file are compared by; 0 for one that cannot be read, which is never a repetition."""

    def __init__(self) -> None:
        #: A hash over message, second and recipient, which all forms and editions have.
        self.alike = array("Q")
        #: A hash over everything that makes it the event that it is.
        self.equal = array("Q")

    @classmethod
    def of(cls, file: LogFile) -> "_Rows":
        rows = cls()
        for said in _said(file):
            rows.alike.append(_alike(said) if said else 0)
            rows.equal.append(_equal(said) if said else 0)
        return rows


def _said(file: LogFile) -> Iterator[Said | None]:
    with file.open() as stream:
        try:
            for said in Lines(stream, file.kind, UTC, file.whole, None, file.encoding):
                yield said if isinstance(said, Said) else None
        except Unpackable:
            return


def _equal(said: Said) -> int:
    link = said.url or said.link_id
    return int.from_bytes(
        partitions.digest("", said.message_id, said.second, said.recipient, said.ip, link), "big"
    )


def _alike(said: Said) -> int:
    key = f"{said.message_id}\x1f{said.second}\x1f{said.recipient.strip().casefold()}"
    return int.from_bytes(blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") or 1


def _repeated(keys: Sequence["array[int]"]) -> list[bytearray]:
    """For each row of each file whether the files before have as many like it."""
    flags = [bytearray(len(each)) for each in keys]
    parts = 1 + sum(map(len, keys)) // PORTION
    for part in range(parts):
        most: Counter[int] = Counter()
        for each, marks in zip(keys, flags, strict=True):
            here: Counter[int] = Counter()
            for place, key in enumerate(each):
                if key % parts == part and key:
                    here[key] += 1
                    marks[place] = here[key] <= most[key]
            for key, number in here.items():  # `most |= here` looks through all of `most` each time
                most[key] = max(most[key], number)
    return flags
