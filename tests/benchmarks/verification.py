"""What verifying a call costs, and what a flood of invented keys costs those who have a real one.

The same signed calls go to the endpoint with verification on and with verification off, so that the difference is
the check: finding the signature, hashing the body, and the RSA verification itself, which is also measured bare.
"""

import asyncio
import json
import re
import time
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import uvloop
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256

from ingest.simulation.calls import Call
from ingest.simulation.report import Report, percentile
from ingest.simulation.sender import Sender
from ingest.simulation.signer import Signer
from ingest.simulation.target import Request, Target
from tests.benchmarks import load, plan
from tests.benchmarks.load import Sent
from tests.benchmarks.plan import Plan, Step
from tests.benchmarks.report import Goal, Row, Spread
from tests.benchmarks.servers import OURS, VERIFIED, cpu_seconds, endpoint, redis_server, scratch
from tests.support.dnsserver import Behaviour, DnsServer
from tests.support.running import descendants

ACCOUNT = "account-1234"
BARE_RSA = "bare RSA-2048 verify"
UNVERIFIED = "ours, not verifying"
IDLE = "without the flood"
#: Verifications in one measurement of the bare thing.
VERIFICATIONS = 4000
#: Calls per second at which processor time is compared a second time: there each call finds the processor's caches
#: full of something else, which the bare verification, done over and over, never does.
PACE = 4000.0
#: Calls with a key that is known, and calls with invented ones, all different.
GENUINE = 1000
INVENTED = 10_000


def verify(size: Plan, step: Step) -> list[Row]:
    """On, off and bare, in turns."""
    signer = Signer(generate_private_key(65537, 2048), ACCOUNT)
    bare: list[float] = []
    full: dict[str, list[tuple[Sent, float]]] = {OURS: [], VERIFIED: []}
    paced: dict[str, list[tuple[Sent, float]]] = {OURS: [], VERIFIED: []}
    for _ in range(size.repeat):
        with step(BARE_RSA):
            bare.append(_bare_rsa())
        for contender, taken in full.items():
            with step(f"{contender}: signed calls"):
                taken.append(_signed(contender, size, signer))
            with step(f"{contender}: signed calls at a pace"):
                paced[contender].append(_signed(contender, size, signer, PACE))

    def cpu(taken: dict[str, list[tuple[Sent, float]]], name: str) -> list[Row]:
        on, off = ([cost for _, cost in taken[contender]] for contender in (VERIFIED, OURS))
        check = Spread([with_it - without for with_it, without in zip(on, off, strict=True)])
        goal = Goal("≤ 2.2 x", lambda _, ratio: ratio <= 2.2) if taken is full else None
        return [
            Row(f"CPU {name}, µs/call", Spread(on), UNVERIFIED, Spread(off)),
            Row(f"the check {name}, µs", check, BARE_RSA, Spread(bare), goal),
        ]

    rates = [Spread([sent.rate for sent, _ in full[contender]]) for contender in (VERIFIED, OURS)]
    return [
        Row("signed calls taken/s", rates[0], UNVERIFIED, rates[1]),
        *cpu(full, "at full rate"),
        *cpu(paced, f"at {PACE:,.0f}/s"),
    ]


def _bare_rsa() -> float:
    """µs of processor time of one verification."""
    key = generate_private_key(65537, 2048)
    text = b"(request-target): post /copernica\n" * 10
    signature, public = key.sign(text, PKCS1v15(), SHA256()), key.public_key()
    before = time.process_time()
    for _ in range(VERIFICATIONS):
        public.verify(signature, text, PKCS1v15(), SHA256())
    return (time.process_time() - before) * 1e6 / VERIFICATIONS


def _signed(contender: str, size: Plan, signer: Signer, rate: float | None = None) -> tuple[Sent, float]:
    with scratch() as folder, redis_server(folder) as store:
        signer.save(folder / "signer.json")
        (folder / "keys.json").write_text(json.dumps({signer.key_id: signer.dkim_record}))
        with endpoint(contender, store, folder, INGEST_KEYS=str(folder / "keys.json")) as (port, process):
            load.send(port, size.warm_seconds, rate, folder / "signer.json")
            before = cpu_seconds(process.pid)
            sent = load.send(port, size.seconds, rate, folder / "signer.json")
            return sent, (cpu_seconds(process.pid) - before) * 1e6 / sent.answered


@dataclass(frozen=True, slots=True)
class _Flooded:
    """p99 of genuine calls in ms, without and with the flood, and what the endpoint's memory grew by, in MiB."""

    idle: float
    amid: float
    grown: float


def flood(size: Plan, step: Step) -> list[Row]:
    """Genuine calls while DNS is silent and thousands of invented keys are asked for."""
    taken = []
    for _ in range(size.repeat):
        with step("ours: a flood of invented keys"):
            taken.append(uvloop.run(_flood()))
    idle, amid = Spread([each.idle for each in taken]), Spread([each.amid for each in taken])
    added = Spread([each.amid - each.idle for each in taken])
    grown = Spread([each.grown for each in taken])
    return [
        Row("genuine p99 amid the flood, ms", amid, IDLE, idle),
        Row("added by the flood, ms", added, "", None, Goal("< 100", lambda ours, _: ours < 100)),
        Row("memory grown by it, MiB", grown, "", None, Goal("< 20", lambda ours, _: ours < 20)),
    ]


async def _flood() -> _Flooded:
    signer = Signer(generate_private_key(65537, 2048), ACCOUNT)
    with scratch() as folder, redis_server(folder) as store, DnsServer(Behaviour.SILENCE) as dns:
        dns.put(signer.key_id, signer.dkim_record)
        host, dns_port = dns.address
        with endpoint(VERIFIED, store, folder, INGEST_DNS_SERVERS=f"{host}:{dns_port}") as (port, process):
            url = f"http://127.0.0.1:{port}{plan.PATH}"
            genuine = Target(url, signer)
            await _send(genuine, GENUINE)  # the key is known from here on
            dns.let(signer.key_id, Behaviour.SILENCE)
            idle = await _send(genuine, GENUINE)
            before = _resident(process.pid)
            amid, invented = await asyncio.gather(_send(genuine, GENUINE), _send(_Invented(url, signer), INVENTED))
            grown = _resident(process.pid) - before
    assert amid.complete, f"{amid.sent - amid.acknowledged} genuine calls were not acknowledged"
    assert invented.lost == 0, f"{invented.lost} calls of the flood got no answer"
    return _Flooded(_p99(idle), _p99(amid), grown)


async def _send(target: Target, events: int) -> Report:
    # The genuine at a pace, as they come; the flood as fast as it is answered.
    rate = None if isinstance(target, _Invented) else 250.0
    return await Sender(target, iter(cycle(plan.calls())), events, rate).run(plan.CONNECTIONS)


class _Invented(Target):
    """Calls in good form, each with another key that nobody has."""

    def __init__(self, url: str, signer: Signer) -> None:
        super().__init__(url, signer)
        self._count = 0

    def request(self, call: Call) -> Request:
        self._count += 1
        request = super().request(call)
        name = b'keyId="k%d.copernica.com"' % self._count
        return request._replace(data=re.sub(rb'keyId="[^"]*"', name, request.data, count=1))


def _p99(report: Report) -> float:
    return percentile(sorted(report.latencies), 0.99) * 1000


def _resident(pid: int) -> float:
    """MiB that the endpoint's processes have in memory."""
    pages = sum(int(Path(f"/proc/{each}/statm").read_text().split()[1]) for each in (pid, *descendants(pid)))
    return pages * 4096 / 2**20
