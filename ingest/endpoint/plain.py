"""Which requests are plain: the fast path takes these, and aiohttp the others."""

import re
from collections.abc import Collection

from ingest.endpoint.heads import HEADERS_MAX, unfold
from ingest.endpoint.shapes import Shapes

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
        *(b"transfer-encoding", b"content-encoding", b"expect", b"upgrade", b"trailer", b"te"),
        b"sec-websocket-key1",  # which aiohttp rejects
    }
)


#: What is read of a plain request: its target, its headers by names in lower case, where its body begins, how many
#: bytes that has, and whether the head can teach another shape. A bare tuple: one with names takes as long to make
#: as a head to be read.
Read = tuple[bytes, dict[bytes, bytes], int, int, bool]


class Plain:
    """What a plain request looks like, at one path and below."""

    __slots__ = ("_below", "_max_body", "_path", "_shapes")

    def __init__(self, path: str, max_body: int) -> None:
        self._path = path.encode()
        self._below = self._path + b"/"
        self._max_body = min(BODY_MAX, max_body)
        self._shapes = Shapes()

    def read(self, data: bytes, at: int = 0) -> Read | None:
        """Read the head that begins at `at`, complete and not too long; None if it is no plain request's.

        A head of a shape that has been learned is read at a quarter of the cost; the outcome is the same.
        """
        found = self._shapes.read(data, at)
        if is_new := found is None:
            found = self._read(data, at)
        if found is None:
            return None
        target, headers, begin = found
        size = self._body_size(target, headers)
        return None if size is None else (target, headers, begin, size, is_new and self._shapes.may_grow())

    def learn(self, head: bytes) -> None:
        """Read heads of this shape faster from now on. Only a head whose call was kept may teach one."""
        if self._shapes.may_grow():
            self._shapes.learn(head)

    def _read(self, data: bytes, at: int) -> tuple[bytes, dict[bytes, bytes], int] | None:
        """Read a head of any shape."""
        head = HEAD.match(data, at)
        if head is None:
            return None
        target, lines = head.groups()
        fields = HEADER.findall(lines)
        headers = {name.lower(): value.strip(b" \t") for name, value in fields}
        if len(headers) != len(fields) or not _takes(headers):
            return None
        if (b"\r\n " in lines or b"\r\n\t" in lines) and not unfold_signature(headers):
            return None
        return target, headers, head.end()

    def _body_size(self, target: bytes, headers: dict[bytes, bytes]) -> int | None:
        """The length of the body in bytes, or None if the request is not plain by what its headers say."""
        if target != self._path and (not target.startswith(self._below) or b"%" in target or b"/." in target):
            return None
        connection = headers.get(b"connection")
        if connection is not None and connection.lower() not in (b"close", b"keep-alive"):
            return None
        length = headers.get(b"content-length", b"")
        if not length.isdigit() or len(length) > len(str(BODY_MAX)):
            return None
        size = int(length)
        return size if size <= self._max_body else None


def _takes(names: Collection[bytes]) -> bool:
    """Whether a request with these headers, each of them once, may be plain."""
    return len(names) <= HEADERS_MAX and b"host" in names and _SPECIAL.isdisjoint(names)


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
    """Whether `data`, which is no complete head and none that is too long, may be the beginning of a plain one."""
    if b"\n" in data:
        return _FIRST_LINE.match(data) is not None
    return data.startswith(b"POST /"[: len(data)])
