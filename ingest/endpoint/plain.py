"""Which requests are plain: the fast path takes these, and aiohttp the others."""

import re

from ingest.endpoint.heads import HEAD_END, HEADERS_MAX, refusal, unfold

#: Bytes of the largest body that is read here; aiohttp reads larger ones, whose memory is counted from the first
#: byte on.
BODY_MAX = 64 * 1024

# What does not match is left to aiohttp, including blanks before a colon, characters that are not ASCII, and line
# ends other than CRLF. No expression can match the same bytes in two ways; one that does not match has to be given
# up byte by byte all the same, so only what has an end is tried.
_FIRST = rb"POST (/[!-\"$-~]*) HTTP/1\.1\r\n"
_LINE = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e]*(?:\r\n[\t ][\t\x20-\x7e]*)*\r\n"
_FIRST_LINE = re.compile(_FIRST)
HEAD = re.compile(_FIRST + rb"((?:" + _LINE + rb")+)\r\n")
HEADER = re.compile(rb"([^:]+):([^\r]*(?:\r\n[\t ][^\r]*)*)\r\n")
#: Headers that ask for more than the fast path does.
_SPECIAL = frozenset(
    {
        *(b"transfer-encoding", b"content-encoding", b"expect", b"upgrade", b"trailer", b"te", b"connection"),
        b"sec-websocket-key1",  # which aiohttp rejects
    }
)


class Plain:
    """What a plain request looks like, at one path and below."""

    __slots__ = ("_below", "_max_body", "_path")

    def __init__(self, path: str, max_body: int) -> None:
        self._path = path.encode()
        self._below = self._path + b"/"
        self._max_body = min(BODY_MAX, max_body)

    def body_size(self, target: bytes, headers: dict[bytes, bytes], count: int) -> int | None:
        """The length of the body in bytes, or None if the request is not plain.

        `count` is the number of header lines: fewer `headers` than that mean that a name occurred twice.
        """
        if target != self._path and (not target.startswith(self._below) or b"%" in target or b"/." in target):
            return None
        if len(headers) != count or count > HEADERS_MAX or b"host" not in headers:
            return None
        if not _SPECIAL.isdisjoint(headers):
            special = _SPECIAL.intersection(headers)
            if special != {b"connection"} or headers[b"connection"].lower() not in (b"close", b"keep-alive"):
                return None
        length = headers.get(b"content-length", b"")
        if not length.isdigit() or len(length) > len(str(BODY_MAX)):
            return None
        size = int(length)
        return size if size <= self._max_body else None


def unfold_signature(headers: dict[bytes, bytes]) -> bool:
    """Unfold the Signature header, which Copernica's article shows on several lines.

    Returns False if another header is folded: that is left to aiohttp, which rejects it.
    """
    folded = [name for name, value in headers.items() if b"\r" in value]
    if folded != [b"signature"]:
        return False
    headers[b"signature"] = unfold(headers[b"signature"])
    return True


def may_become_plain(data: bytes) -> bool:
    """Whether `data`, which is not a complete plain head, may be the beginning of one."""
    if HEAD_END in data or refusal(data):
        return False
    if b"\n" in data:
        return _FIRST_LINE.match(data) is not None
    return data.startswith(b"POST /"[: len(data)])
