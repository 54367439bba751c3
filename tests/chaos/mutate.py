"""Requests as nobody should send them: real ones with bytes turned, cut, doubled, and parts of others put in."""

import random
from collections.abc import Callable, Sequence
from itertools import pairwise

#: What has confused parsers of HTTP before.
TOKENS = (
    b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\x00", b"\xff", b" ", b"\t", b":", b",", b";", b"%", b"%00", b"%ff",
    b"../", b"/../", b"//", b"?", b"#", b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n", b"Transfer-Encoding : chunked\r\n", b"Content-Length: 0\r\n",
    b"Content-Length: -1\r\n", b"Content-Length: +5\r\n", b"Content-Length: 99999999999999999999\r\n",
    b"Content-Length: 1e3\r\n", b"Content-Length: 5, 5\r\n", b"Content-Encoding: gzip\r\n",
    b"Expect: 100-continue\r\n", b"Connection: close\r\n", b"Connection: upgrade\r\n",
    b"Upgrade: websocket\r\n", b"Host: \r\n", b"Host: other.example\r\n", b"Cookie: " + b"a=b;" * 500 + b"\r\n",
    b"X-Long: " + b"x" * 9000 + b"\r\n", b"0\r\n\r\n", b"ffffffffffffffff\r\n", b"1;ext=1\r\na\r\n",
    b'keyId="one._domainkey.example.com",', b'algorithm="hmac-sha256",', b'headers="(request-target)",',
    b"Signature: x\r\n", b"Digest: sha-256=AAAA\r\n", b"X-Copernica-ID: account-9\r\n",
    b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n",
    b"HTTP/1.0", b"HTTP/9.9", b"\xe2\x80\xae", b"\xed\xa0\x80", b"9" * 5000,
)  # fmt: skip  # a list to be read across, not a column of single words
#: Names that a request line may begin with.
METHODS = (
    b"GET",
    b"HEAD",
    b"PUT",
    b"DELETE",
    b"OPTIONS",
    b"TRACE",
    b"CONNECT",
    b"post",
    b"POST ",
    b"\x16\x03\x01",
)

Mutation = Callable[[random.Random, bytes, bytes], bytes]


def _turn(chance: random.Random, request: bytes, _other: bytes) -> bytes:
    """Other bytes at some places."""
    data = bytearray(request)
    for _ in range(chance.choice((1, 1, 2, 8, 40))):
        data[chance.randrange(len(data))] = chance.randrange(256)
    return bytes(data)


def _remove(chance: random.Random, request: bytes, _other: bytes) -> bytes:
    begin, end = _slice(chance, request)
    return request[:begin] + request[end:]


def _double(chance: random.Random, request: bytes, _other: bytes) -> bytes:
    begin, end = _slice(chance, request)
    return request[:end] + request[begin:end] * chance.choice((1, 1, 1, 30)) + request[end:]


def _insert(chance: random.Random, request: bytes, _other: bytes) -> bytes:
    at = chance.randrange(len(request) + 1)
    return request[:at] + chance.choice(TOKENS) + request[at:]


def _insert_line(chance: random.Random, request: bytes, _other: bytes) -> bytes:
    """One line more, or fewer, or twice, in the head."""
    lines = request.split(b"\r\n")
    at = chance.randrange(min(len(lines), 12))
    what = chance.randrange(3)
    lines[at : at + (what > 0)] = [chance.choice(TOKENS).removesuffix(b"\r\n")] if what < 2 else [lines[at]] * 2
    return b"\r\n".join(lines)


def _splice(chance: random.Random, request: bytes, other: bytes) -> bytes:
    """The beginning of one and the end of another."""
    return request[: chance.randrange(len(request) + 1)] + other[chance.randrange(len(other) + 1) :]


def _cut(chance: random.Random, request: bytes, _other: bytes) -> bytes:
    return request[: chance.randrange(1, len(request) + 1)]


def _method(chance: random.Random, request: bytes, _other: bytes) -> bytes:
    return chance.choice(METHODS) + request[4:]


def _length(chance: random.Random, request: bytes, _other: bytes) -> bytes:
    """Another number where the length of the body stands, or anywhere."""
    head, separator, rest = request.partition(b"Content-Length: ")
    number = b"%d" % chance.choice((0, 1, 2, 100, 65_536, 65_537, 10**7, 10**9, 2**31, 2**63, 2**64 + 5))
    return head + separator + number + rest.lstrip(b"0123456789")


def _chunked(chance: random.Random, request: bytes, _other: bytes) -> bytes:
    """The same body in chunks, well-formed nearly always."""
    head, _, body = request.partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.startswith(b"Content-Length")]
    chunks = []
    while body:
        size = chance.randrange(1, len(body) + 1)
        announced = size if chance.random() < 0.95 else chance.randrange(2 * size)
        chunks.append(b"%x\r\n" % announced + body[:size] + b"\r\n")
        body = body[size:]
    return b"\r\n".join([*lines, b"Transfer-Encoding: chunked", b"", b"".join(chunks) + b"0\r\n\r\n"])


def _oversize(chance: random.Random, request: bytes, _other: bytes) -> bytes:
    """A head or a body larger than anybody takes."""
    line, separator, rest = request.partition(b"\r\n")
    size = chance.choice((8_000, 17_000, 70_000, 200_000))
    if chance.random() < 0.5:
        return line + separator + b"X-Much: " + b"y" * size + b"\r\n" + rest
    return line.replace(b" HTTP", b"?" + b"z" * size + b" HTTP") + separator + rest


def _old(_chance: random.Random, request: bytes, _other: bytes) -> bytes:
    return request.replace(b"HTTP/1.1", b"HTTP/1.0", 1)


def _garbage(chance: random.Random, _request: bytes, _other: bytes) -> bytes:
    return chance.randbytes(chance.choice((1, 10, 300, 5_000)))


def _slice(chance: random.Random, request: bytes) -> tuple[int, int]:
    begin = chance.randrange(len(request))
    return begin, min(len(request), begin + chance.choice((1, 2, 10, 100, 1000)))


#: How, and how often.
MUTATIONS: dict[Mutation, int] = {
    _turn: 6, _remove: 4, _double: 3, _insert: 6, _insert_line: 6, _splice: 3, _cut: 2, _method: 1, _length: 2,
    _chunked: 2, _oversize: 1, _old: 1, _garbage: 1,
}  # fmt: skip  # a list to be read across, not a column of single words


def mutated(chance: random.Random, requests: Sequence[bytes]) -> bytes:
    """One of the requests, changed once or a few times."""
    request = chance.choice(requests)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 5))):
        mutation = chance.choices(list(MUTATIONS), list(MUTATIONS.values()))[0]
        request = mutation(chance, request or b"\r\n", chance.choice(requests))
    return request


def pieces(chance: random.Random, data: bytes) -> list[bytes]:
    """The same bytes in one or several packets."""
    cuts = sorted({0, len(data), *(chance.randrange(len(data) + 1) for _ in range(chance.choice((0, 0, 1, 3))))})
    return [data[begin:end] for begin, end in pairwise(cuts)]
