"""The headers of a call, ready for lookups: HTTP allows any of them twice, a signature only covers one of each."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from ingest.errors import CallRejected, Reason

#: Headers as they arrived; `HeaderFields` is the same, ready for lookups.
Headers = Sequence[tuple[bytes, bytes]]


class HeaderFields:
    """The headers of a call by their names in lower case, trimmed, and which of them were repeated."""

    __slots__ = ("_repeated", "values")

    def __init__(self, values: Mapping[bytes, bytes], repeated: frozenset[bytes] = frozenset()) -> None:
        self.values = values
        self._repeated = repeated

    @classmethod
    def from_pairs(cls, headers: Iterable[tuple[bytes, bytes]]) -> "HeaderFields":
        """From headers as they arrived."""
        pairs = [(name.lower(), value.strip(b" \t")) for name, value in headers]
        values = dict(pairs)
        if len(values) == len(pairs):
            return cls(values)
        counts = Counter(name for name, _ in pairs)
        return cls(values, frozenset(name for name, count in counts.items() if count > 1))

    def required(self) -> tuple[bytes, bytes, bytes, bytes, bytes]:
        """Signature, Date, Host, X-Copernica-ID and Digest, each of which must occur once."""
        values = self.values
        try:
            if not self._repeated:
                return (
                    values[b"signature"],
                    values[b"date"],
                    values[b"host"],
                    values[b"x-copernica-id"],
                    values[b"digest"],
                )
        except KeyError:
            pass  # the lookups below say which one is absent
        return (
            self.single(b"signature", Reason.NO_SIGNATURE),
            self.single(b"date", Reason.BAD_DATE),
            self.single(b"host", Reason.WRONG_HOST),
            self.single(b"x-copernica-id", Reason.WRONG_ACCOUNT),
            self.single(b"digest", Reason.BAD_DIGEST),
        )

    def single(self, name: bytes, absent: Reason) -> bytes:
        """The value of a header that must occur once."""
        value = self.values.get(name)
        if value is None:
            raise CallRejected(absent)
        if name in self._repeated:
            raise CallRejected(Reason.REPEATED)
        return value

    def all_single(self, names: tuple[bytes, ...]) -> list[bytes]:
        """The values of headers that must each occur once, in that order."""
        try:
            if self._repeated.isdisjoint(names):
                return [self.values[name] for name in names]
        except KeyError:
            raise CallRejected(Reason.ABSENT_HEADER) from None
        raise CallRejected(Reason.REPEATED)


def pack_headers(fields: HeaderFields) -> bytes:
    """Headers as one block of bytes, for a record whose headers are needed later: `name:value` lines."""
    return b"".join(b"%b:%b\r\n" % header for header in fields.values.items())


def unpack_headers(block: bytes) -> list[tuple[bytes, bytes]]:
    """The pairs of name and value that `pack_headers` packed."""
    lines = (line.partition(b":") for line in block.split(b"\r\n") if line)
    return [(name, value) for name, _, value in lines]
