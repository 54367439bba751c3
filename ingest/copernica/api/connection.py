"""What can go wrong on the connection to Copernica, in words, and how much of an answer is read."""

import zlib
from collections.abc import AsyncIterator

import aiohttp

#: What aiohttp raises when the connection fails, which another attempt may get over.
CONNECTION_ERRORS = (aiohttp.ClientError, TimeoutError, ConnectionError)
#: Bytes read of a refusal or of an access token; more is not of Copernica's making.
MAX_SHORT_BODY = 65_536
#: Bytes read of an answer that is kept in memory: tens of thousands of webhooks, or names of log files.
MAX_ANSWER = 16 * 1024 * 1024
#: Bytes that are unpacked at a time, and how many times as large as it came an answer may become: log files shrink
#: to a tenth, only what was made for the purpose to a thousandth.
PIECE = 65_536
MAX_RATIO = 200
#: What `zlib` is told so that it reads both of HTTP's encodings that are in common use: gzip and deflate.
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS


def describe(error: Exception) -> str:
    """What went wrong, in a few words: aiohttp's own messages hold addresses and class names."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "no such host"
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError):
        return "no valid certificate"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"no connection: {error.os_error.strerror or type(error.os_error).__name__}"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return "the connection was cut"


class TooLarge(Exception):
    """An answer is larger than Copernica's are, or grows beyond all measure when it is unpacked."""


async def pieces(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """A body in pieces of at most `PIECE` bytes; nothing is asked for packed, but what comes so is unpacked.

    The session must not unpack by itself: that is done in one go, however large it becomes.

    Raises:
        TooLarge: it grows more than `MAX_RATIO` times when it is unpacked.
        aiohttp.ClientPayloadError: it cannot be unpacked, or was cut off.
    """
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding in ("", "identity"):
        async for chunk in response.content.iter_chunked(PIECE):
            yield chunk
        return
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise aiohttp.ClientPayloadError(f"an encoding that was not asked for: {encoding[:20]}")
    unpacker = zlib.decompressobj(_GZIP_OR_ZLIB)
    packed = unpacked = 0
    try:
        async for chunk in response.content.iter_chunked(PIECE):
            packed += len(chunk)
            rest = chunk
            while rest:
                piece = unpacker.decompress(rest, PIECE)
                rest = unpacker.unconsumed_tail
                unpacked += len(piece)
                if unpacked > MAX_RATIO * packed + PIECE:
                    raise TooLarge
                if piece:
                    yield piece
    except zlib.error:
        raise aiohttp.ClientPayloadError("damaged") from None
    if not unpacker.eof:
        raise aiohttp.ClientPayloadError("cut off")


async def read_start(response: aiohttp.ClientResponse) -> bytes:
    """The beginning of a body, which is all of it unless it is far longer than expected."""
    body = bytearray()
    async for piece in pieces(response):
        body += piece
        if len(body) >= MAX_SHORT_BODY:
            break
    return bytes(body[:MAX_SHORT_BODY])


async def read_whole(response: aiohttp.ClientResponse) -> bytes:
    """A body that is kept in memory.

    Raises:
        TooLarge: it has more than `MAX_ANSWER` bytes.
    """
    body = bytearray()
    async for piece in pieces(response):
        body += piece
        if len(body) > MAX_ANSWER:
            raise TooLarge
    return bytes(body)
