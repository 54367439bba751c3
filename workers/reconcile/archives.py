"""What is in the files that people give: folders, archives and archives in archives, down to single files.

Nothing is believed but the content: a form is told by how it begins, not by its name, and whatever unpacks to far
more than log files do is not unpacked. What is no file, or cannot be opened, is left out with the reason.
"""

import bz2
import gzip
import io
import lzma
import os
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO, NamedTuple, Self, cast

from ingest.errors import LogFileError
from workers.reconcile.logfile import Unpackable

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer as Buffer

#: How far archives may be in one another: a .gz in a .zip in a .zip.
MAX_DEPTH = 3
#: Files that may be given at once, those in archives included: three years of all kinds.
MAX_FILES = 10_000
#: What is packed unpacks to at most so many times its size: log files shrink to a tenth or a fiftieth …
MAX_RATIO = 250
#: … or to at most so many bytes, since short texts that repeat themselves shrink to nearly nothing.
FREE_SIZE = 64 << 20
#: Bytes of an archive within an archive: it is unpacked to the disk to be read.
MAX_NESTED = 4 << 30
#: Bytes at the beginning of a file that tell its form: a tar's are at 257.
START = 512
#: Compression methods of .zip that Python can undo: none, Deflate, bzip2, LZMA; and names of some that it cannot.
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
METHOD_NAMES = {9: "Deflate64", 93: "Zstandard", 95: "xz", 98: "PPMd"}

_STREAMS: dict[bytes, Callable[[BinaryIO], IO[bytes]]] = {
    b"\x1f\x8b": lambda stream: cast(IO[bytes], gzip.GzipFile(fileobj=stream)),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
}
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_OTHERS = {
    b"7z\xbc\xaf": "a 7-Zip archive: unpack it, and give what is in it",
    b"Rar!": "a RAR archive: unpack it, and give what is in it",
    b"\x28\xb5\x2f\xfd": "packed by zstd: unpack it first",
    b"\x1f\x9d": "packed by compress: unpack it first",
    b"%PDF": "a PDF, not a log file",
    b"{\\rtf": "a text document (RTF), not a log file: download the log file as CSV, JSON or XML",
    b"[InternetShortcut]": "a link to a page, not what is there: download the log file itself",
    b"SQLite format 3": "a database, not a log file",
    b"\xd0\xcf\x11\xe0": "an Excel workbook, not a log file: download the log file as CSV, JSON or XML",
}
_WORKBOOK = "a workbook of Excel or another program, not a log file: download the log file as CSV, JSON or XML"
#: Members of a .zip that make it a document of Microsoft's, an OpenDocument and one of Apple's.
_WORKBOOK_MEMBERS = frozenset({"[Content_Types].xml", "META-INF/manifest.xml", "Index/Document.iwa"})
_ERRORS = (EOFError, OSError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, NotImplementedError, RuntimeError)


class Content(NamedTuple):
    """A file that is no archive. `names` are its own and those of what it is in, from the inside outwards.

    `packed` says that a checksum will tell if its end is missing; `size` is what there is to read, if known.
    """

    shown: str
    names: tuple[str, ...]
    open: Callable[[], BinaryIO]
    size: int | None
    packed: bool


class LeftOut(NamedTuple):
    """What was passed over, and why; `litter` is what systems leave behind, and no loss."""

    shown: str
    reason: str
    litter: bool = False


def _as_text(name: str) -> str:
    """A name that can be stored and shown, even if its bytes are not UTF-8."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


class _Item(NamedTuple):
    """Something that may still have to be taken apart. `room` is how many bytes it may unpack to."""

    shown: str
    names: tuple[str, ...]
    open: Callable[[], BinaryIO]
    size: int | None
    room: int | None = None
    depth: int = 0


class Unpacked:
    """A stream that is unpacked while it is read: it ends in `Unpackable` where it is damaged, or a bomb."""

    def __init__(self, stream: IO[bytes], room: int, packed: BinaryIO | None = None) -> None:
        """`packed` is what it is unpacked from, if that is to be closed with it; `room` is in bytes."""
        self._stream = stream
        self._room = room
        self._packed = packed

    def read(self, size: int = -1, /) -> bytes:
        """As of any stream."""
        try:
            block = self._stream.read(size)
            at = self._stream.tell()
        except _ERRORS as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise Unpackable(f"{reason}: it is damaged, so download it again") from None
        if at > self._room:
            raise Unpackable("unpacks to more than any log file would")
        return block

    def seek(self, place: int, whence: int = 0, /) -> int:
        """To a place."""
        try:
            return self._stream.seek(place, whence)
        except _ERRORS as error:
            raise Unpackable(str(error)) from None

    def tell(self) -> int:
        """The place in what is unpacked."""
        return self._stream.tell()

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def close(self) -> None:
        """And what it was unpacked from."""
        self._stream.close()
        if self._packed is not None:
            self._packed.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Archives:
    """Takes apart what it is given. Until this is closed, archives stay open, and copies of inner ones on disk."""

    def __init__(self, wanted: Callable[[str], LeftOut | None]) -> None:
        """`wanted` is asked about each file by its shown name, and gives the reason if it is not wanted."""
        self._wanted = wanted
        self._stack = ExitStack()
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def contents(self, path: Path) -> Iterator[Content | LeftOut]:
        """Every file in a file or a folder.

        Raises:
            LogFileError: there are too many.
        """
        if not path.is_dir():
            yield from self._file(path, _as_text(path.name))
            return
        for folder, folders, names in os.walk(path):
            folders.sort()
            for name in sorted(names):
                inner = Path(folder, name)
                yield from self._file(inner, _as_text(str(inner.relative_to(path.parent))))

    def _file(self, path: Path, shown: str) -> Iterator[Content | LeftOut]:
        if unwanted := self._wanted(shown):
            yield unwanted
            return
        try:
            about = path.stat()  # before anything is opened: opening a pipe waits for a writer
            if not stat.S_ISREG(about.st_mode):
                yield LeftOut(shown, "is no file, but a pipe or a device: save it to a file first")
                return
            yield from self._item(_Item(shown, (path.name,), partial(_plainly, path), about.st_size))
        except FileNotFoundError:
            yield LeftOut(shown, "does not exist")
        except OSError as error:
            yield LeftOut(shown, f"cannot be read: {error.strerror or error}")
        except Unpackable as error:
            yield LeftOut(shown, str(error))

    def _item(self, item: _Item) -> Iterator[Content | LeftOut]:
        self._require_few(1)
        self._count += 1
        with item.open() as stream:
            start = stream.read(START)
        if start.startswith(_ZIP):
            yield from self._zip(item)
        elif start[257:262] == b"ustar":
            yield from self._tar(item)
        elif unpack := next((unpack for mark, unpack in _STREAMS.items() if start.startswith(mark)), None):
            yield from self._packed(item, unpack)
        elif reason := next((reason for mark, reason in _OTHERS.items() if start.startswith(mark)), None):
            yield LeftOut(item.shown, f"is {reason}")
        elif not start:
            yield LeftOut(item.shown, "is empty, as no log file is: download it again")
        else:
            yield Content(item.shown, item.names, item.open, item.size, item.room is not None)

    def _require_few(self, more: int) -> None:
        if self._count + more > MAX_FILES:
            raise LogFileError(f"These are more than {MAX_FILES:,} files: give fewer at a time.")

    def _packed(self, item: _Item, unpack: Callable[[BinaryIO], IO[bytes]]) -> Iterator[Content | LeftOut]:
        room = max(FREE_SIZE, MAX_RATIO * (item.size or 0)) if item.room is None else item.room

        def opened() -> BinaryIO:
            packed = item.open()
            return cast(BinaryIO, Unpacked(unpack(packed), room, packed))

        yield from self._within(item._replace(open=opened, size=None, room=room), item)

    def _within(self, inner: _Item, outer: _Item) -> Iterator[Content | LeftOut]:
        if outer.depth >= MAX_DEPTH:
            yield LeftOut(inner.shown, f"is in more than {MAX_DEPTH} archives: unpack it first")
            return
        try:
            yield from self._item(inner._replace(depth=outer.depth + 1))
        except Unpackable as error:
            yield LeftOut(inner.shown, f"cannot be unpacked ({error})")

    def _zip(self, item: _Item) -> Iterator[Content | LeftOut]:
        try:
            archive = self._stack.enter_context(zipfile.ZipFile(self._seekable(item)))
        except (zipfile.BadZipFile, NotImplementedError, ValueError):
            yield LeftOut(item.shown, "is not a zip archive, or it is damaged: download it again")
            return
        members = archive.infolist()
        self._require_few(len(members))
        if not _WORKBOOK_MEMBERS.isdisjoint(member.filename for member in members):
            yield LeftOut(item.shown, f"is {_WORKBOOK}")
            return
        room = max(FREE_SIZE, MAX_RATIO * (item.size or 0)) if item.room is None else item.room
        if sum(member.file_size for member in members) > room:
            yield LeftOut(item.shown, "unpacks to more than any log files would")
            return
        for member in members:
            shown = f"{item.shown}:{member.filename}"
            if member.is_dir() or (member.filename.endswith("\\") and not member.file_size):
                continue
            if left := self._wanted(shown) or _unreadable(member, shown):
                yield left
                continue
            names = (member.filename, *item.names)
            opener = partial(_member, archive, member)
            yield from self._within(_Item(shown, names, opener, member.file_size, room), item)

    def _tar(self, item: _Item) -> Iterator[Content | LeftOut]:
        try:
            archive = self._stack.enter_context(tarfile.TarFile(fileobj=self._seekable(item)))
            for member in archive:
                shown = f"{item.shown}:{_as_text(member.name)}"
                if member.isdir():
                    continue
                left = self._wanted(shown)
                if left or not member.isreg():
                    yield left or LeftOut(shown, "is no file, but a link or a device")
                    continue
                names = (member.name, *item.names)
                opener = partial(_extracted, archive, member)
                yield from self._within(_Item(shown, names, opener, member.size, item.room or member.size), item)
        except (tarfile.TarError, EOFError) as error:
            yield LeftOut(item.shown, f"is damaged ({error}): download it again")

    def _seekable(self, item: _Item) -> IO[bytes]:
        """An archive as a file that can be read in any order: on disk, if it is within another."""
        stream = self._stack.enter_context(item.open())
        if item.room is None:
            return stream
        copy = self._stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
        while block := stream.read(1 << 20):
            copy.write(block)
            if copy.tell() > MAX_NESTED:
                raise Unpackable(
                    f"is an archive of more than {MAX_NESTED >> 30} GiB within another: unpack it first"
                )
        copy.seek(0)
        return copy


def _unreadable(member: zipfile.ZipInfo, shown: str) -> LeftOut | None:
    """Why a member of a .zip cannot be unpacked, if so."""
    if stat.S_ISLNK(member.external_attr >> 16):
        return LeftOut(shown, "is no file, but a link")
    if member.flag_bits & 1:
        return LeftOut(shown, "is encrypted: unpack it with its password first")
    if member.compress_type not in METHODS:
        name = METHOD_NAMES.get(member.compress_type, f"method {member.compress_type}")
        return LeftOut(shown, f"is packed by {name}, which only few programs can undo: unpack it first")
    return None


class _Named(io.FileIO):
    """A file whose errors name it, also those of a disk that fails in the middle."""

    def readinto(self, buffer: "Buffer", /) -> int | None:
        """As of any stream."""
        try:
            return super().readinto(buffer)
        except OSError as error:
            raise OSError(error.errno, error.strerror, self.name) from None


def _plainly(path: Path) -> BinaryIO:
    return io.BufferedReader(_Named(path))


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> BinaryIO:
    try:
        return cast(BinaryIO, Unpacked(archive.open(member), member.file_size))
    except _ERRORS as error:
        raise Unpackable(f"{error}: it is damaged, so download it again") from None


def _extracted(archive: tarfile.TarFile, member: tarfile.TarInfo) -> BinaryIO:
    return cast(BinaryIO, Unpacked(cast(IO[bytes], archive.extractfile(member)), member.size))
