"""Heads of a shape that has been seen before, read in one go.

A sender writes all its heads alike: the same headers in the same order, with other values. Such a shape is learned
as one regular expression, which reads a head of it at a fraction of what it costs to take it apart by lines. It
says nothing about a head that the slow way (`ingest.endpoint.plain`) would not; what it does not match goes there.
"""

import math
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

#: Shapes that are known at a time. Each is tried in vain before a head is read line by line.
SHAPES_MAX = 8
#: Headers and bytes of the largest head that is learned: to compile it takes some 50 µs per header …
HEADERS_MAX = 32
HEAD_MAX = 4096
#: … so seconds have to pass between two shapes that are learned.
LEARN_EVERY = 1.0

_TARGET = rb"POST (/[!-\"$-~]*+) HTTP/1\.1\r\n"
#: A value without anything unusual in it: no tabs, no blanks at either end, not empty and not folded.
_VALUE = rb"([!-~][ -~]*+)(?<! )\r\n"
_LINE = re.compile(rb"([^:\r]+):([\t ]*)" + _VALUE)


@dataclass(frozen=True, slots=True)
class Shape:
    """A sequence of headers: their names in lower case, and what reads a head that has them."""

    names: tuple[bytes, ...]
    pattern: re.Pattern[bytes]

    @classmethod
    def of(cls, head: bytes) -> "Shape | None":
        """The shape of a head that the slow way has read; None if it is too large or unusual to learn."""
        _, _, lines = head.partition(b"\r\n")
        found = _LINE.findall(lines)
        whole = b"".join(b"%b:%b%b\r\n" % line for line in found) + b"\r\n" == lines
        if not whole or len(found) > HEADERS_MAX or len(head) > HEAD_MAX:
            return None
        parts = (re.escape(name + b":" + blanks) + _VALUE for name, blanks, _ in found)
        pattern = re.compile(_TARGET + b"".join(parts) + rb"\r\n")
        return cls(tuple(name.lower() for name, _, _ in found), pattern)


class Shapes:
    """The shapes that are known, the newest first."""

    __slots__ = ("_known", "_learned_at")

    def __init__(self) -> None:
        self._known: Sequence[Shape] = ()
        self._learned_at = -math.inf

    def read(self, data: bytes, at: int) -> tuple[bytes, dict[bytes, bytes], int] | None:
        """The target, the headers and the end of the head that begins at `at`; None if its shape is not known."""
        for shape in self._known:
            if found := shape.pattern.match(data, at):
                values = zip(shape.names, found.groups()[1:])  # noqa: B905  # a pattern has a group for each name
                return found[1], dict(values), found.end()
        return None

    def may_grow(self) -> bool:
        """Whether it is time for another one."""
        return time.monotonic() - self._learned_at >= LEARN_EVERY

    def learn(self, head: bytes) -> None:
        """Know the shape of a head, in place of the one that was learned first if there are too many."""
        self._learned_at = time.monotonic()
        shape = Shape.of(head)
        if shape is not None and all(shape.pattern != known.pattern for known in self._known):
            self._known = (shape, *self._known)[:SHAPES_MAX]
