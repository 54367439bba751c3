"""An attack with requests that nobody should send, on a real `ingest serve` that verifies signatures."""

import asyncio
import json
import random
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from ingest import redis_client
from ingest.simulation.calls import TYPES, Simulator
from ingest.simulation.forgeries import FORGERIES, forge
from ingest.simulation.signer import Signer
from ingest.simulation.target import Target
from tests.chaos.made import requests_are_harmless
from tests.chaos.mutate import mutated, pieces
from tests.support.running import Process, answers, descendants, exchange, free_port, ingest, run, running, until
from tests.support.stream import records
from workers.store.schema import upgrade
from workers.store.store import Store

ACCOUNT = "account-1234"
MAX_BODY = 100_000
#: Connections at once.
LANES = 24
#: Genuine calls that are mutated, and seconds for which they are used: a signature is good for 300.
POOL = 60
POOL_AGE = 100.0
#: How many of the requests go out as they are: most of their bytes should be looked at as genuine ones are.
UNCHANGED = 0.08
#: Forgeries that a mutation may mend: take one parameter away, and they are signed as they should be.
MENDABLE = ("two-keys", "absent-header")
#: Share of the connections that are cut off without waiting for answers.
CUT_OFF = 0.05
#: Seconds that a connection whose sender has finished may stay open: two in which aiohttp reads on, and some.
OPEN_MAX = 8.0
#: Bytes of memory by which a process may have grown after the first part of the attack.
GROWTH_MAX = 16 * 1024 * 1024
#: Requests after which memory is looked at first.
WARM_UP = 0.25

#: One request is made by hypothesis for so many mutated ones: it takes as much longer.
MADE = 40

_STATUS = re.compile(rb"HTTP/\d\.\d (\d{3}) ")


@dataclass
class Endpoint:
    """What is attacked."""

    process: Process
    port: int
    signer: Signer
    environ: dict[str, str]

    def memory(self) -> dict[int, int]:
        """Bytes that each of its processes has in memory."""
        return {pid: _resident(pid) for pid in sorted(descendants(self.process.pid))}


def _resident(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


@contextmanager
def endpoint(redis_url: str, folder: Path) -> Iterator[Endpoint]:
    """An endpoint with two processes that takes the calls of one account."""
    signer = Signer.new(ACCOUNT)
    (folder / "keys.json").write_text(json.dumps({signer.key_id: signer.dkim_record}))
    port = free_port()
    environ = {
        "REDIS_URL": redis_url,
        "DATABASE_URL": f"sqlite:///{folder}/events.db",
        "PORT": str(port),
        "WEB_CONCURRENCY": "2",
        "INGEST_ACCOUNTS": ACCOUNT,
        "INGEST_KEYS": str(folder / "keys.json"),
        "INGEST_MAX_BODY": str(MAX_BODY),
        "INGEST_SPOOL_DIR": str(folder / "spool"),
    }
    with running(ingest("serve"), environ, folder / "web.log") as process:
        until(lambda: process.output.count("is ready") == 2 and answers(port), "the endpoint")
        yield Endpoint(process, port, signer, environ)


@dataclass
class Attack:
    """Sends requests and keeps account of the answers."""

    target: Endpoint
    seed: int
    answers: Counter[int] = field(default_factory=Counter)
    #: What was sent over connections on which a fault was answered: for a person to look at.
    faults: list[bytes] = field(default_factory=list)
    #: Connections that stayed open although their sender had finished.
    hung: list[bytes] = field(default_factory=list)
    #: Bodies that were really signed for us.
    genuine: set[bytes] = field(default_factory=set)
    sent: int = 0
    #: Bytes of memory of each process after the first part.
    warm: dict[int, int] = field(default_factory=dict)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)
        self._simulator = Simulator(self.seed, TYPES)
        self._pool: list[bytes] = []
        self._strangers: list[bytes] = []
        self._pooled_at = -POOL_AGE

    def run(self, requests: int) -> None:
        """Attack with so many requests."""
        began = time.monotonic()
        asyncio.run(self._run(requests))
        self.seconds = time.monotonic() - began

    async def _run(self, requests: int) -> None:
        lanes = [asyncio.create_task(self._lane(requests)) for _ in range(LANES)]
        while self.sent < requests * WARM_UP:
            await asyncio.sleep(0.05)
        self.warm = self.target.memory()
        await asyncio.gather(*lanes)

    async def _lane(self, requests: int) -> None:
        while self.sent < requests:
            self._refresh()
            count = self._chance.choice((1, 1, 1, 2, 5))
            self.sent += count
            data = b"".join(self._one() for _ in range(count))
            answer = await self._send(data)
            statuses = [int(status) for status in _STATUS.findall(answer or b"")]
            self.answers.update(statuses)
            if any(status >= 500 and status != 503 for status in statuses):
                self.faults.append(data)
            if answer is None:
                self.hung.append(data)

    def _one(self) -> bytes:
        if self._chance.random() < UNCHANGED:
            return self._chance.choice(self._pool)
        return mutated(self._chance, self._pool + self._strangers)

    def _refresh(self) -> None:
        if time.monotonic() - self._pooled_at < POOL_AGE:
            return
        self._pooled_at = time.monotonic()
        self._pool = [self.genuine_request() for _ in range(POOL)]
        self._strangers = [self._forged(kind) for kind in FORGERIES]

    def genuine_request(self) -> bytes:
        """A call as Copernica would send it."""
        call = self._simulator.call()
        self.genuine.add(call.body)
        url = f"http://127.0.0.1:{self.target.port}/copernica"
        return Target(url, self.target.signer).request(call).data

    def _forged(self, kind: str) -> bytes:
        call = self._simulator.call()
        if kind in MENDABLE:
            self.genuine.add(call.body)
        headers = forge(self.target.signer, kind, "/copernica", "127.0.0.1", call.content_type, call.body)
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"POST /copernica HTTP/1.1\r\n{lines}\r\n".encode() + call.body

    async def _send(self, data: bytes) -> bytes | None:
        """What comes back on a connection of its own; None if it does not end."""
        received = b""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.target.port)
        try:
            async with asyncio.timeout(OPEN_MAX):
                with suppress(OSError):
                    for piece in pieces(self._chance, data):
                        writer.write(piece)
                        await asyncio.sleep(0)
                    await writer.drain()
                    if self._chance.random() < CUT_OFF:
                        return b""
                    writer.write_eof()
                    while chunk := await reader.read(65_536):
                        received += chunk
        except TimeoutError:
            return None
        finally:
            writer.transport.abort()
        return received

    def takes_a_genuine_call(self) -> bool:
        """Whether it still does what it is there for, in every process: connections are spread over them."""
        return all(b" 200 " in exchange(self.target.port, self.genuine_request()) for _ in range(16))

    def growth(self) -> dict[int, int]:
        """Bytes by which each process has grown since the first part."""
        now = self.target.memory()
        return {pid: now[pid] - before for pid, before in self.warm.items() if pid in now}


def attack_and_judge(redis_url: str, folder: Path, seed: int, requests: int) -> dict[str, object]:
    """Attack, then look at everything that could have been harmed; returns the figures."""
    upgrade(f"sqlite:///{folder}/events.db")
    with endpoint(redis_url, folder) as target:
        before = set(target.memory())
        attack = Attack(target, seed)
        requests_are_harmless(target.port, requests // MADE, seed)
        attack.run(requests)
        assert not attack.faults, f"a fault was answered (SEED={seed}): {attack.faults[:3]}"
        assert not attack.hung, f"connections stayed open (SEED={seed}): {attack.hung[:3]}"
        assert attack.takes_a_genuine_call()
        assert set(target.memory()) == before, "a process has died"
        growth = attack.growth()
        assert max(growth.values()) < GROWTH_MAX, f"memory grows (SEED={seed}): {growth}"
        kept = _only_genuine(redis_url, attack.genuine)
        drained = run("drain", environ=target.environ)
        assert drained.returncode == 0, drained.stderr
        assert "Traceback" not in target.process.output, target.process.output
    store = Store.open(target.environ["DATABASE_URL"])
    beside = (store.quarantined(), store.unverified())
    assert beside == (0, 0), "what is not Copernica's was kept"
    assert store.stored() == kept, "a call that was sent twice is stored twice"
    store.close()
    return {
        "seed": seed,
        "requests": attack.sent + requests // MADE,
        "seconds": round(attack.seconds, 1),
        "answers": {str(status): number for status, number in sorted(attack.answers.items())},
        "genuine_calls_kept": kept,
        "growth_kib": [size // 1024 for size in growth.values()],
    }


def _only_genuine(redis_url: str, genuine: set[bytes]) -> int:
    """See that every call in the stream is one that was signed for us; returns how many there are."""
    with redis_client.connect(redis_url) as client:
        kept = records(client)
    strange = [record for record in kept if record.body not in genuine or record.target != b"/copernica"]
    assert not strange, f"forged calls were kept: {strange[:3]}"
    return len({record.delivery_id for record in kept})
