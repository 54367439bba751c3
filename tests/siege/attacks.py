"""What clients without Copernica's key do to the endpoint; each attack is a process of its own.

They may have seen genuine calls on their way, so they know what those look like and which key ids there are.
"""

import asyncio
import itertools
import os
import random
import secrets
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from multiprocessing import get_context
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa

from ingest.simulation.signer import Headers, Signer, new_key
from tests.siege.start import Start

#: What attackers give way to genuine calls by: they would have machines of their own.
NICE = 19
#: Seconds to wait for an answer.
PATIENCE = 10.0
#: Bytes of a body that is as large as a call's may be.
LARGE = 10 * 1024 * 1024
ACCOUNT = "account-1234"
TARGET = "/copernica"
FORM = "application/x-www-form-urlencoded"


@dataclass
class Front:
    """Where an attack goes and for how long, and what came of it."""

    port: int
    seconds: float
    #: Headers and body of a genuine call that was seen.
    seen: tuple[Headers, bytes]
    #: Connections of those attacks that hold many, in all.
    connections: int
    #: Statuses, or what happened in place of an answer.
    outcomes: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._ends = time.monotonic() + self.seconds

    @property
    def over(self) -> bool:
        return time.monotonic() >= self._ends

    async def exchange(self, *parts: bytes) -> str:
        """Send over a connection of its own, and count what comes back: the status, or what came in its place."""
        outcome = "no answer"
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            async with asyncio.timeout(PATIENCE):
                for part in parts:
                    writer.write(part)
                    await writer.drain()
                line = await reader.readline()
            outcome = line[9:12].decode() or "closed"
        except TimeoutError:
            pass
        finally:
            writer.transport.abort()
        self.outcomes[outcome] += 1
        return outcome

    async def hold(self, *parts: bytes) -> None:
        """Send over a connection of its own, then say nothing more until it is closed or all is over."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            for part in parts:
                writer.write(part)
                await writer.drain()
            async with asyncio.timeout(max(0.0, self._ends - time.monotonic())):
                self.outcomes[(await reader.read(1024))[9:12].decode() or "closed"] += 1
        except TimeoutError:
            self.outcomes["held"] += 1
        finally:
            writer.transport.abort()

    async def together(self, attackers: int, attack: Callable[[], Awaitable[object]], pause: float = 0.0) -> None:
        """So many attackers at once, each again and again."""

        async def again() -> None:
            while not self.over:
                try:
                    await attack()
                except OSError as error:
                    self.outcomes[type(error).__name__] += 1
                    await asyncio.sleep(0.05)
                await asyncio.sleep(pause * (0.5 + random.random()))

        await asyncio.gather(*(again() for _ in range(attackers)))


def call(headers: Headers, body: bytes) -> tuple[bytes, bytes]:
    """The head and the body of a call."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST {TARGET} HTTP/1.1\r\n{lines}\r\n".encode(), body


@cache
def _stranger() -> rsa.RSAPrivateKey:
    return new_key()


def forged(key_id: str, body: bytes) -> Headers:
    """Headers with a signature that no key has made: that costs an attacker less than a real one."""
    signer = Signer(_stranger(), ACCOUNT, key_id)
    return signer.signed(signer.headers("127.0.0.1", FORM, body), TARGET, make=lambda _: secrets.token_bytes(128))


def invented() -> str:
    """A key id that does not exist."""
    return f"{secrets.token_hex(6)}._domainkey.copernica.com"


async def long_lines(front: Front) -> None:
    """Request lines of 66 KB, with and without a signature: once, each took all calls of its batch with it."""
    target = TARGET.encode() + b"?" + b"x" * 66_000

    async def one() -> None:
        head, body = call(forged(invented(), b"type=open"), b"type=open")
        if random.random() < 0.5:
            head = b"POST " + TARGET.encode() + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"
        await front.exchange(head.replace(TARGET.encode(), target, 1) + body)

    await front.together(10, one, 0.05)


async def invented_keys(front: Front) -> None:
    """Signatures of keys that do not exist, over more connections than names are looked up at once."""

    async def one() -> None:
        body = b"type=open&x=" + b"x" * (1_000_000 if random.random() < 0.02 else 100)
        await front.exchange(*call(forged(invented(), body), body))

    await front.together(150, one, 0.2)


async def unread(front: Front) -> None:
    """Unsigned calls, one behind the other, by clients that never read an answer.

    Some have room for thousands of answers, so that writing those never has to wait.
    """
    sizes = itertools.cycle((4096, 4 * 1024 * 1024))
    pipelined = b"POST /copernica HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\ntype=open" * 1000

    async def one() -> None:
        loop = asyncio.get_running_loop()
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, next(sizes))
            sock.setblocking(False)
            await loop.sock_connect(sock, ("127.0.0.1", front.port))
            try:
                async with asyncio.timeout(max(0.0, front.seconds)):
                    while not front.over:
                        await loop.sock_sendall(sock, pipelined)
            except TimeoutError:
                front.outcomes["held"] += 1

    await front.together(min(200, front.connections // 5), one, 0.5)


async def trickled_heads(front: Front) -> None:
    """Heads of 15 KB whose last bytes come one by one, each of which has to be looked at."""
    head = b"POST /copernica HTTP/1.1\r\nHost: x\r\n" + b"".join(b"a%d: b\r\n" % n for n in range(100))
    head += b"X: " + b"x" * 14_000

    async def one() -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", front.port)
        try:
            writer.write(head)
            while not front.over:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.002)
        finally:
            writer.close()

    await front.together(min(100, front.connections // 5), one, 0.5)


async def digests(front: Front) -> None:
    """Bodies of 10 MB whose Digest header is repeated 82 times, in the name of a key that exists."""
    headers, _ = front.seen
    body = b"%" * LARGE

    async def one() -> None:
        copied = headers | {"Content-Length": str(len(body)), "Date": forged("x", b"")["Date"]}
        head, _ = call(copied, body)
        digest = f"Digest: {headers['Digest']}\r\n".encode()
        await front.exchange(head[:-2] + digest * 81 + b"\r\n", body)

    await front.together(2, one, 1.0)


async def idle(front: Front) -> None:
    """Connections that say nothing, as many as the endpoint allows."""
    await front.together(front.connections, front.hold, 0.5)


async def half_heads(front: Front) -> None:
    """Heads that never end."""
    head = b"POST /copernica HTTP/1.1\r\nHost: x\r\n" + b"".join(
        b"X-%d: %b\r\n" % (number, b"x" * 240) for number in range(60)
    )
    await front.together(front.connections // 2, lambda: front.hold(head[:-2]), 0.5)


async def half_bodies(front: Front) -> None:
    """Large bodies that never end, of calls that look signed, so that they are read."""
    headers, _ = front.seen

    async def one() -> None:
        head, _ = call(headers | {"Content-Length": str(LARGE), "Date": forged("x", b"")["Date"]}, b"")
        await front.hold(head, *[b"x" * 1024 * 1024] * 8)

    await front.together(front.connections // 10, one, 0.5)


async def replayed(front: Front) -> None:
    """A genuine call, sent again as it was seen."""
    await front.together(5, lambda: front.exchange(*call(*front.seen)), 0.1)


def variant(headers: Headers, body: bytes) -> tuple[bytes, bytes]:
    """A genuine call with its signature, and another body, or with one covered header changed."""
    if random.random() < 0.5:
        return call(headers | {"X-Nonce": secrets.token_hex(4)}, body)
    other = b"type=open&x=" + secrets.token_hex(4).encode()
    made = forged("x", other)
    return call(headers | {name: made[name] for name in ("Digest", "Content-Length")}, other)


async def variants(front: Front) -> None:
    """The signature of a genuine call, with something else than it signed."""
    await front.together(20, lambda: front.exchange(*variant(*front.seen)), 0.05)


#: While DNS is well, and while it answers nothing.
WITH_DNS = (
    long_lines, invented_keys, unread, trickled_heads, digests, idle, half_heads, half_bodies, replayed, variants,
)  # fmt: skip  # a list to be read across, not a column of single words
WITHOUT_DNS = (long_lines, invented_keys, unread, idle)
ATTACKS = {attack.__name__: attack for attack in {*WITH_DNS, *WITHOUT_DNS}}


def _give_way() -> None:
    os.nice(NICE)
    os.setsid()
    if hasattr(os, "SCHED_IDLE"):  # a processor with nothing else to do counts as free for all others
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    with suppress(
        OSError
    ):  # where sessions share the processors, as on most Linux, niceness counts only inside one
        Path("/proc/self/autogroup").write_text(str(NICE))


def attack_together(
    names: Sequence[str],
    port: int,
    seconds: float,
    seen: tuple[Headers, bytes],
    connections: int,
    start: Start,
) -> dict[str, Counter[str]]:
    """Make these attacks, each in a process of its own; returns how the endpoint answered each.

    All of them are in one session, so that together they give way: each session has a share of the processors.
    """
    if not names:  # none of those that were asked for is of this phase
        return {}
    _give_way()
    with ProcessPoolExecutor(len(names), mp_context=get_context("spawn")) as pool:
        under_way = {name: pool.submit(attack, name, port, seconds, seen, connections, start) for name in names}
        return {name: attacking.result() for name, attacking in under_way.items()}


def attack(
    name: str, port: int, seconds: float, seen: tuple[Headers, bytes], connections: int, start: Start
) -> Counter[str]:
    """Attack for so long, from the common start on; returns how the endpoint answered."""
    start.wait(name)
    front = Front(port, seconds, seen, connections)
    asyncio.run(ATTACKS[name](front))
    return front.outcomes
