"""Requests made from the grammar rather than from real ones: what hypothesis can think of, and then shrink."""

import errno
import socket

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

#: Seconds that a connection whose sender has finished may stay open.
OPEN_MAX = 8.0
#: How a system says that the other side has closed already.
CLOSED = {errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN}
NAMES = (
    "Host", "Content-Length", "Content-Type", "Transfer-Encoding", "Connection", "Expect", "Signature", "Date",
    "Digest", "X-Copernica-ID", "X-Nonce", "Content-Encoding", "Upgrade", "Trailer", "TE", "Cookie", "Range",
)  # fmt: skip  # read across
VALUES = (
    "x", "", "0", "5", "chunked", "close", "keep-alive", "100-continue", "gzip", "identity", "websocket",
    "a" * 9000,
    'keyId="simulator._domainkey.copernica.com",algorithm="rsa-sha256",headers="date",signature="AAAA"',
)  # fmt: skip  # read across

_token = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20)
_text = st.text(st.characters(max_codepoint=255), max_size=60)
_header = st.tuples(st.sampled_from(NAMES) | _token, st.sampled_from(VALUES) | _text)
_chunk = st.binary(max_size=40).map(lambda data: b"%x\r\n" % len(data) + data + b"\r\n")
_method = st.sampled_from(("POST", "POST", "GET", "HEAD", "PUT", "OPTIONS")) | _token
_target = st.sampled_from(("/copernica", "/copernica/a?b=c", "/", "*", "http://x/copernica", "/healthz")) | _token
_version = st.sampled_from(("HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/1.1 ", ""))
_body = st.one_of(
    st.binary(max_size=200),
    st.binary(max_size=200).map(lambda body: (b"Content-Length: %d" % len(body), body)),
    st.lists(_chunk, max_size=4).map(
        lambda chunks: (b"Transfer-Encoding: chunked", b"".join(chunks) + b"0\r\n\r\n"),
    ),
)


@st.composite
def _requests(draw: st.DrawFn) -> list[bytes]:
    """The packets of one request."""
    line = f"{draw(_method)} {draw(_target)} {draw(_version)}".encode("latin-1")
    lines = [line, *(f"{name}: {value}".encode("latin-1") for name, value in draw(st.lists(_header, max_size=8)))]
    framed = draw(_body)
    framing, body = framed if isinstance(framed, tuple) else (b"X-Framing: none", framed)
    lines.insert(draw(st.integers(1, len(lines))), framing)
    data = draw(st.sampled_from((b"\r\n", b"\r\n", b"\n"))).join([*lines, b"", body])
    at = draw(st.integers(0, len(data)))
    return [part for part in (data[:at], data[at:]) if part]


def _exchanged(port: int, packets: list[bytes]) -> bytes:
    """What comes back until the other side closes; TimeoutError if it does not."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), OPEN_MAX) as connection:
        try:
            for packet in packets:
                connection.sendall(packet)
            connection.shutdown(socket.SHUT_WR)
            while chunk := connection.recv(65_536):
                received += chunk
        except OSError as error:
            if error.errno not in CLOSED:
                raise
    return received


def requests_are_harmless(port: int, examples: int, first: int) -> None:
    """Send so many, each on a connection of its own, and see that none gets a fault, and none is kept."""

    @seed(first)
    @settings(max_examples=examples, database=None, deadline=None, phases=[Phase.generate, Phase.shrink],
              suppress_health_check=list(HealthCheck))  # fmt: skip  # read across
    @given(_requests())
    def harmless(packets: list[bytes]) -> None:
        answer = _exchanged(port, packets)
        status = answer[9:12]
        assert answer == b"" or answer.startswith(b"HTTP/"), answer
        assert status[:1] != b"5" or status == b"503", answer
        if status == b"200":
            assert b"".join(packets)[:4] in (b"GET ", b"HEAD"), "an unsigned call was taken"

    harmless()
