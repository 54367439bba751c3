"""A real DNS server for tests, at the loopback address: it knows TXT records and a few ways to be in trouble."""

import selectors
import socket
import struct
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.TXT
import dns.rrset

#: Bytes of an answer over UDP to who does not say that it takes more.
PLAIN_UDP = 512
#: Bytes of one string in a TXT record.
STRING_MAX = 255
#: Seconds that a client may take to ask over TCP.
PATIENCE = 1.0


class Behaviour(Enum):
    """What a name does instead of having records."""

    NXDOMAIN = "nxdomain"
    SERVFAIL = "servfail"
    SILENCE = "silence"
    EMPTY = "empty"


@dataclass(frozen=True)
class _Texts:
    records: list[list[bytes]]
    ttl: int


class DnsServer:
    """Answers for as long as its block runs, over UDP and, for what is too long for that, over TCP.

    Its zone may be changed at any time. `otherwise` is what names do that are not in it.
    """

    def __init__(self, otherwise: Behaviour = Behaviour.NXDOMAIN) -> None:
        self.otherwise = otherwise
        #: Seconds that an answer over UDP takes.
        self.delay = 0.0
        #: Questions by name, in lower case and without the last dot; one that came back over TCP counts there.
        self.asked: Counter[str] = Counter()
        self.asked_over_tcp: Counter[str] = Counter()
        #: Whether forged answers precede the true one over UDP: to another question, and to another id.
        self.forge = False
        self._zone: dict[str, _Texts | Behaviour] = {}
        self._tcp, self._udp = _two_sockets()
        self._wake, self._woken = socket.socketpair()
        #: Answers over UDP that are to be sent: when (monotonic seconds), what, and to whom.
        self._replies: deque[tuple[float, bytes, Any]] = deque()
        self._thread = threading.Thread(target=self._serve, name="dns")

    @property
    def address(self) -> tuple[str, int]:
        host, port = self._udp.getsockname()
        return host, port

    def put(self, name: str, *texts: str | Sequence[str], ttl: int = 300) -> None:
        """The TXT records of a name; each is a text, cut where it must be, or the strings it is made of."""
        self._zone[name.lower()] = _Texts([_strings(text) for text in texts], ttl)

    def let(self, name: str, behaviour: Behaviour) -> None:
        """What a name does from now on, in place of its records."""
        self._zone[name.lower()] = behaviour

    def __enter__(self) -> "DnsServer":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._wake.send(b"x")
        self._thread.join()
        for sock in (self._tcp, self._udp, self._wake, self._woken):
            sock.close()

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            for sock in (self._tcp, self._udp, self._woken):
                selector.register(sock, selectors.EVENT_READ)
            while True:
                ready = {key.fileobj for key, _ in selector.select(self._send_due())}
                if self._woken in ready:
                    return
                if self._udp in ready:
                    self._over_udp()
                if self._tcp in ready:
                    self._over_tcp()

    def _over_udp(self) -> None:
        wire, client = self._udp.recvfrom(4096)
        query = dns.message.from_wire(wire)
        self.asked[_name(query)] += 1
        answer = self._answer(query)
        if answer is None:
            return
        try:
            reply = answer.to_wire(max_size=max(query.payload, PLAIN_UDP))
        except dns.exception.TooBig:
            cut = dns.message.make_response(query)
            cut.flags |= dns.flags.TC
            reply = cut.to_wire()
        if self.forge:
            for forged in _forged(query):
                self._udp.sendto(forged, client)
        self._replies.append((time.monotonic() + self.delay, reply, client))

    def _send_due(self) -> float | None:
        """Send the answers whose time has come; returns the seconds until the next one, if there is one."""
        while self._replies and self._replies[0][0] <= time.monotonic():
            _, reply, client = self._replies.popleft()
            self._udp.sendto(reply, client)
        return max(0.0, self._replies[0][0] - time.monotonic()) if self._replies else None

    def _over_tcp(self) -> None:
        connection, _ = self._tcp.accept()
        with connection:
            connection.settimeout(PATIENCE)
            try:
                (size,) = struct.unpack("!H", _exactly(connection, 2))
                query = dns.message.from_wire(_exactly(connection, size))
                self.asked_over_tcp[_name(query)] += 1
                answer = self._answer(query)
                if answer is not None:
                    wire = answer.to_wire(max_size=65535)
                    connection.sendall(struct.pack("!H", len(wire)) + wire)
            except OSError:
                return

    def _answer(self, query: dns.message.Message) -> dns.message.Message | None:
        found = self._zone.get(_name(query), self.otherwise)
        if found is Behaviour.SILENCE:
            return None
        answer = dns.message.make_response(query, recursion_available=True)
        if found is Behaviour.NXDOMAIN:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        elif found is Behaviour.SERVFAIL:
            answer.set_rcode(dns.rcode.SERVFAIL)
        elif isinstance(found, _Texts) and query.question[0].rdtype == dns.rdatatype.TXT:
            kind = dns.rdataclass.IN, dns.rdatatype.TXT
            texts = [dns.rdtypes.ANY.TXT.TXT(*kind, strings) for strings in found.records]
            answer.answer.append(dns.rrset.from_rdata_list(query.question[0].name, found.ttl, texts))
        return answer


def _forged(query: dns.message.Message) -> list[bytes]:
    """What an attacker sends who does not see the question."""
    another = dns.message.make_query("another.copernica.com.", dns.rdatatype.TXT, id=query.id)
    other_question = dns.message.make_response(another)
    other_question.set_rcode(dns.rcode.NXDOMAIN)
    other_id = dns.message.make_response(query)
    other_id.id = query.id ^ 1
    other_id.set_rcode(dns.rcode.NXDOMAIN)
    return [other_question.to_wire(), other_id.to_wire(), b"", b"\0" * 20]


def _name(query: dns.message.Message) -> str:
    return query.question[0].name.to_text(omit_final_dot=True).lower()


def _strings(text: str | Sequence[str]) -> list[bytes]:
    if not isinstance(text, str):
        return [part.encode() for part in text]
    raw = text.encode()
    return [raw[at : at + STRING_MAX] for at in range(0, len(raw), STRING_MAX)] or [b""]


def _exactly(connection: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        chunk = connection.recv(size - len(received))
        if not chunk:
            raise ConnectionError("the client has gone")
        received += chunk
    return received


def _two_sockets() -> tuple[socket.socket, socket.socket]:
    """One for TCP and one for UDP, at a port that is free for both."""
    while True:
        tcp = socket.create_server(("127.0.0.1", 0))
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            udp.bind(tcp.getsockname())
            return tcp, udp
        except OSError:
            tcp.close()
            udp.close()
