"""Where the body of a request ends, so that what follows can be judged as the head of the next one.

What is malformed counts as part of the body here: aiohttp sees it and rejects it.
"""

import re

#: Bytes of the longest line between two chunks.
LINE_MAX = 1024

#: Chunks that may be tiny, and bytes that the others must have on average: each costs as much as a large one.
TINY_CHUNKS, CHUNK_MIN = 1000, 64

_FRAMING = re.compile(rb"\r\n(?:content-length|(transfer-encoding))[\t ]*:[\t ]*([^\r\n]*)", re.IGNORECASE)
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[\t ]*(?:;|$)")


class Body:
    """The body that follows a head: of a known length, in chunks, or none."""

    __slots__ = ("_chunked", "_last", "_left", "_line", "_malformed", "_owed", "wasteful")

    def __init__(self, head: bytes) -> None:
        fields = _FRAMING.findall(head)
        lengths = [value.rstrip(b"\t ") for encoded, value in fields if not encoded]
        self._chunked = len(fields) > len(lengths)
        #: Whether it cannot be said where it ends.
        self._malformed = len(fields) > 1 or not all(length.isdigit() for length in lengths)
        #: Bytes until its end, or until the next line between two chunks.
        self._left = int(lengths[0]) if lengths and not self._malformed else 0
        #: What has arrived of such a line.
        self._line = b""
        #: Bytes by which its chunks have fallen short so far, and whether that is too much.
        self._owed = 0
        self.wasteful = False
        #: Whether only the trailer is missing; of a body that is not in chunks, nothing else is.
        self._last = not self._chunked

    @property
    def ended(self) -> bool:
        """Whether all of it has arrived."""
        return not (self._malformed or self._left or self._chunked)

    def take(self, data: bytes) -> int:
        """How many of these bytes belong to it."""
        at = 0
        while at < len(data) and not (self.ended or self.wasteful):
            if self._malformed:
                return len(data)
            if self._left:
                step = min(self._left, len(data) - at)
                self._left -= step
                at += step
            else:
                at = self._take_line(data, at)
        return at

    def _take_line(self, data: bytes, at: int) -> int:
        end = data.find(b"\n", at, at + LINE_MAX)
        self._line += data[at : end if end >= 0 else at + LINE_MAX]
        if end < 0:
            self._malformed = len(self._line) >= LINE_MAX
            return min(at + LINE_MAX, len(data))
        line, self._line = self._line.rstrip(b"\r"), b""
        if self._last:
            self._chunked = bool(line)
        elif size := _SIZE.match(line):
            length = int(size[1], 16)
            self._last = length == 0
            self._left = length + 2 if length else 0  # the chunk and the end of its line
            self._owed = max(0, self._owed + CHUNK_MIN - length)
            self.wasteful = self._owed > TINY_CHUNKS * CHUNK_MIN
        else:
            self._malformed = True
        return end + 1
