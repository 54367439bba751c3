"""The head of a request before anything interprets it: how long it may be, and the one header that may be folded.

Both ways in judge heads by this module, so that they agree.
"""

import re

from ingest.endpoint.answers import BAD_REQUEST, TARGET_TOO_LONG, Answer

#: Bytes of the longest target of a request. RFC 9112 (3) asks for 8,000 at least; Copernica's are our own URL.
TARGET_MAX = 8 * 1024
#: Bytes of the longest head. Copernica's take one.
HEAD_MAX = 16 * 1024
#: Headers that a request may have.
HEADERS_MAX = 128

#: What ends a head.
HEAD_END = b"\r\n\r\n"

_FOLD = re.compile(rb"\r\n[\t ]+")
_FOLDED_SIGNATURE = re.compile(rb"(?<=\r\n)signature:[^\r\n]*(?:\r\n[\t ][^\r\n]*)+", re.IGNORECASE)
_TARGET = re.compile(rb"[\r\n]*+[^ \r\n]*+ ([^ \r\n]*+)")
_GOES_ON = re.compile(rb"[^\r\n]*+(?:\r\n[^\r\n]*+)*+\r?")
_BEGINNING = re.compile(rb"(?:\r\n)*[A-Za-z]+(?: [^\r\n]*(?:\r\n[^\r\n]*)*\r?)?")


def refusal(data: bytes) -> Answer | None:
    """The answer to a head, whole or not, that is longer than is taken; None if it is not."""
    if len(data) <= TARGET_MAX:
        return None
    # Who sends megabytes has them looked at no further than a head may go.
    target = _TARGET.match(data, 0, HEAD_MAX + 1)
    if target is not None and len(target[1]) > TARGET_MAX:
        return TARGET_TOO_LONG
    return BAD_REQUEST if len(data) > HEAD_MAX else None


def may_become_head(data: bytes, judged: int = 0) -> bool:
    """Whether `data`, which lacks the end of a head, may be the beginning of one.

    Its first `judged` bytes were said to be one before, so that a head that arrives byte by byte costs no more.
    """
    if judged and data.find(b"\r\n", 2, judged) >= 0:  # the request line is whole
        return _GOES_ON.fullmatch(data, judged - data.endswith(b"\r", judged - 1, judged)) is not None
    return _BEGINNING.fullmatch(data) is not None


def unfold(value: bytes) -> bytes:
    """A folded value, or all of a head, in one line."""
    return _FOLD.sub(b" ", value)


def with_unfolded_signature(head: bytes) -> bytes:
    """A head with its Signature in one line, which Copernica's article shows on several."""
    if b"\r\n " not in head and b"\r\n\t" not in head:
        return head
    return _FOLDED_SIGNATURE.sub(lambda folded: unfold(folded[0]), head)
