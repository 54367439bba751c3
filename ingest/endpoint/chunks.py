"""A large body as it arrives: in chunks that are put together once, when all of them are there.

One buffer that grows would copy what it holds again and again, at no cost to whoever sends half a body.
"""

import asyncio

#: Bytes of a chunk from which on it is kept as it came. Smaller ones are gathered: a body in tiny packets would
#: take many times its size.
LARGE = 4096
#: Bytes from which on Python lets others run while it puts them together.
IN_THREAD = 1024 * 1024
#: Bytes of small chunks that are gathered into one.
GATHERED = 64 * 1024


class Chunks:
    """What has arrived of a body; `size` is how many bytes."""

    __slots__ = ("_parts", "_small", "size")

    def __init__(self) -> None:
        self._parts: list[bytes | bytearray] = []
        self._small = bytearray()
        self.size = 0

    def add(self, chunk: bytes) -> None:
        """Take what has arrived."""
        self.size += len(chunk)
        if len(chunk) < LARGE:
            self._small += chunk
            if len(self._small) < GATHERED:
                return
            chunk = b""
        if self._small:
            self._parts.append(self._small)
            self._small = bytearray()
        if chunk:
            self._parts.append(chunk)

    async def whole(self) -> bytes:
        """All of it; put together in a thread if that takes milliseconds."""
        parts = *self._parts, self._small
        return b"".join(parts) if self.size < IN_THREAD else await asyncio.to_thread(b"".join, parts)
