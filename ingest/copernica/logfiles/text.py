"""What a log file's bytes mean as text: UTF-8 as Copernica writes it, or what other programs have made of it.

UTF-8 comes first, and strictly. A file that is not UTF-8 is read as Windows-1252 (of which Latin-1 is a part) if
that can be said of the whole of it. Where more lines are UTF-8 than are not, as when files were put together or a
mail program sent its name in bytes of its own, each line is what it is. No character is ever replaced.
"""

from codecs import getincrementaldecoder
from collections.abc import Iterable, Iterator
from enum import StrEnum
from itertools import chain
from typing import BinaryIO

from ingest.copernica.logfiles.rows import BLOCK, CUT_OFF, Unreadable, blocks_of


class Encoding(StrEnum):
    """How a file is written, in words for people."""

    UTF_8 = "UTF-8"
    UTF_16 = "UTF-16"
    WINDOWS = "Windows-1252"
    #: Line by line one or the other.
    MIXED = "UTF-8 in some lines and Windows-1252 in others"


#: The two marks with which a file in UTF-16 begins.
UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")
#: The mark of UTF-8, and what it has become where another program has added to the file.
MARKS = (b"\xef\xbb\xbf", "\u00ef\u00bb\u00bf".encode())
#: Bytes that Windows-1252 has no character for.
UNDEFINED = bytes((0x81, 0x8D, 0x8F, 0x90, 0x9D))
#: Bytes that are enough to tell what a file is.
START = 512
#: Bytes before the end of a piece without a line end in which to look for a place between two characters.
NEAR_THE_END = 64

UNKNOWN = "neither UTF-8 nor Windows-1252: save it as UTF-8, or better, download it again"


def encoding_of(stream: BinaryIO) -> Encoding:
    """How a file is written. Reads it from the beginning, and leaves it there.

    Raises:
        Unreadable: it is no text that we can read.
    """
    stream.seek(0)
    start, blocks = begun(stream)
    if start.startswith(UTF_16_MARKS):
        found = Encoding.UTF_16
    else:
        found = Encoding.UTF_8 if _is_utf_8(blocks) else _other(stream)
    stream.seek(0)
    return found


def begun(stream: BinaryIO) -> tuple[bytes, Iterator[bytes]]:
    """The first bytes of a file, and all of its blocks."""
    blocks = blocks_of(stream)
    first: list[bytes] = []
    size = 0
    while size < START and (block := next(blocks, b"")):
        first.append(block)
        size += len(block)
    return b"".join(first), chain(first, blocks)


def _is_utf_8(blocks: Iterable[bytes]) -> bool:
    rest = b""
    for block in blocks:
        if rest or not block.isascii():
            try:
                (rest + block).decode()
            except UnicodeDecodeError as error:
                if error.reason != "unexpected end of data":
                    return False
                rest = (rest + block)[error.start :]
            else:
                rest = b""
    return True  # if it ends within a character, it was cut off


def _other(stream: BinaryIO) -> Encoding:
    """How a file is written that is not UTF-8 throughout: what most of its lines are."""
    stream.seek(0)
    utf_8 = other = 0
    windows = True
    for block in _pieces(blocks_of(stream)):
        if block.isascii():
            continue
        windows = windows and len(block.translate(None, UNDEFINED)) == len(block)
        for line in block.splitlines(keepends=True):
            if not line.isascii():
                if _as_utf_8(line) is None:
                    other += 1
                else:
                    utf_8 += 1
    if utf_8 >= other:
        return Encoding.MIXED
    if not windows:
        raise Unreadable(UNKNOWN)
    return Encoding.WINDOWS


def decoded(blocks: Iterable[bytes], encoding: Encoding) -> Iterator[str]:
    """The text of a file, a block's at a time, without a mark at its beginning.

    Raises:
        Unreadable: it is not written like that, or it ends within a character.
    """
    if encoding is Encoding.MIXED:
        return _mark_removed("".join(map(_line, block.splitlines(keepends=True))) for block in _pieces(blocks))
    codec = {Encoding.UTF_16: "utf-16", Encoding.WINDOWS: "cp1252"}.get(encoding, "utf-8")
    return _mark_removed(_strictly(blocks, codec))


def _strictly(blocks: Iterable[bytes], codec: str) -> Iterator[str]:
    decoder = getincrementaldecoder(codec)()
    try:
        for block in blocks:
            yield decoder.decode(block)
        yield decoder.decode(b"", True)
    except UnicodeDecodeError as error:
        cut = "end of data" in error.reason or "truncated" in error.reason
        raise Unreadable(CUT_OFF if cut else f"not {codec.upper()}: download it again") from None


def mark_size(start: bytes) -> int:
    """How many bytes at the beginning of a file in UTF-8 are no text, but marks."""
    rest = start.removeprefix(MARKS[0])
    return len(start) - len(rest.removeprefix(MARKS[1]))


def _mark_removed(texts: Iterable[str]) -> Iterator[str]:
    at_start = True
    for text in texts:
        if not text:
            continue
        if at_start:
            for mark in MARKS:
                text = text.removeprefix(mark.decode())  # noqa: PLW2901
            at_start = False
        if text:
            yield text


def _line(line: bytes) -> str:
    text = _as_utf_8(line)
    if text is not None:
        return text
    # A byte that Windows-1252 does not define is the control character of that number, as in browsers.
    return "".join(chr(byte) if byte in UNDEFINED else bytes((byte,)).decode("cp1252") for byte in line)


def _as_utf_8(line: bytes) -> str | None:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return None


def _pieces(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Blocks that end with a line, or, where lines are longer than a block, between two characters."""
    rest = b""
    for block in blocks:
        rest += block
        end = rest.rfind(b"\n") + 1
        if not end and len(rest) < BLOCK:
            continue
        if not end:
            end = len(rest)
            while end > len(rest) - NEAR_THE_END and rest[end - 1] >= 0x80:
                end -= 1
        yield rest[:end]
        rest = rest[end:]
    if rest:
        yield rest
