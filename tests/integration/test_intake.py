"""Calls are verified wherever there is room for it; those whose key must be looked up have their share."""

import asyncio
import json
import threading
from functools import partial
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from ingest import container
from ingest.copernica.header_fields import HeaderFields
from ingest.copernica.key_sources import FileSource, Records
from ingest.copernica.public_keys import KeyRing
from ingest.copernica.signature import Claim, Policy
from ingest.endpoint import intake
from ingest.endpoint.answers import UNAVAILABLE, Answer
from ingest.endpoint.intake import Intake
from ingest.endpoint.memory import Memory
from ingest.endpoint.verification_thread import SHARED_MIN, VerificationThread, has_free_processor
from ingest.errors import Reason
from ingest.redis_client import connect_async
from ingest.stream.appends import Stream
from ingest.stream.producer import Producer
from ingest.verification import Verifier
from tests.support.signing import Signer, dkim_record


class Slow:
    """A source of keys that knows none, and takes its time to say so."""

    def __init__(self) -> None:
        self.answer = asyncio.Event()

    async def answers(self) -> bool:
        return True

    async def records(self, _name: str) -> Records:
        await self.answer.wait()
        return Records([], 60)


@pytest.mark.parametrize(("calls", "held"), [(2, 100_000), (100, 10_000)])
async def test_only_so_many_calls_wait_for_keys_and_the_others_are_told_at_once(
    monkeypatch: pytest.MonkeyPatch, calls: int, held: int
) -> None:
    monkeypatch.setattr(intake, "WAITING_MAX", calls)
    slow, answers = Slow(), list[Answer]()
    async with connect_async("redis://127.0.0.1:1") as client:
        verifier = Verifier(Policy.from_settings(["account-1234"]), KeyRing(slow))
        taking = Intake(Producer([Stream(client)], lambda: None), 10_000, verifier, memory=Memory(held))
        for number in range(4):
            call = Signer().call(b"%d" % number + b"x" * 1000)
            taking.submit(call.target, HeaderFields.from_pairs(call.headers), call.body, answers.append)
        async with asyncio.timeout(10):
            while len(answers) < 2:
                await asyncio.sleep(0)
            assert answers == [UNAVAILABLE] * 2
            slow.answer.set()
            while taking.under_way.count:
                await asyncio.sleep(0)
    assert [answer.status for answer in answers[2:]] == [401, 401]
    assert (taking.memory.used, taking.memory.waiting) == (0, 0)


async def test_calls_that_come_together_are_verified_in_a_thread_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each gets its own answer: genuine ones, forgeries, and those of keys that nobody has."""
    where: list[bool] = []
    verify = Claim.verify

    def noting(claim: Claim, key: RSAPublicKey) -> None:
        where.append(threading.current_thread() is threading.main_thread())
        verify(claim, key)

    monkeypatch.setattr(Claim, "verify", noting)
    signer, stranger = Signer(), Signer(key_id="two._domainkey.copernica.com")
    (tmp_path / "keys").write_text(json.dumps({signer.key_id: dkim_record(signer.public)}))
    genuine = [signer.call(b"%d" % number) for number in range(SHARED_MIN)]
    forged = [call.changed("X-Nonce", "f") for call in genuine]
    calls = [call for three in zip(genuine, forged, [stranger.call()] * SHARED_MIN, strict=True) for call in three]
    answers: dict[int, Answer] = {}
    thread = VerificationThread()
    async with connect_async("redis://127.0.0.1:1") as client:
        verifier = Verifier(Policy.from_settings(["account-1234"]), KeyRing(FileSource(tmp_path / "keys")))
        await verifier.look_up(signer.key_id)
        taking = Intake(Producer([Stream(client)], lambda: None), 10_000, verifier, thread=thread)
        for number, call in enumerate(calls):
            take = partial(answers.__setitem__, number)
            taking.submit(call.target, HeaderFields.from_pairs(call.headers), call.body, take)
        async with asyncio.timeout(10):
            while taking.under_way.count:
                await asyncio.sleep(0.001)
    thread.close()
    # No Redis is there to keep the genuine ones.
    assert [answers[number].status for number in range(len(calls))] == [503, 401, 401] * SHARED_MIN
    assert taking.rejected == {Reason.WRONG_SIGNATURE.value: SHARED_MIN, Reason.UNKNOWN_KEY.value: SHARED_MIN}
    assert where.count(False) == SHARED_MIN  # half of all that have a key
    assert (taking.memory.used, thread.is_idle) == (0, True)


async def test_calls_are_verified_although_no_thread_can_be_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signer, answers = Signer(), list[Answer]()
    (tmp_path / "keys").write_text(json.dumps({signer.key_id: dkim_record(signer.public)}))
    thread = VerificationThread()
    thread.close()
    async with connect_async("redis://127.0.0.1:1") as client:
        verifier = Verifier(Policy.from_settings(["account-1234"]), KeyRing(FileSource(tmp_path / "keys")))
        await verifier.look_up(signer.key_id)
        taking = Intake(Producer([Stream(client)], lambda: None), 10_000, verifier, thread=thread)
        for number in range(SHARED_MIN):
            call = signer.call(b"%d" % number)
            taking.submit(call.target, HeaderFields.from_pairs(call.headers), call.body, answers.append)
        async with asyncio.timeout(10):
            while taking.under_way.count:
                await asyncio.sleep(0.001)
    assert answers == [UNAVAILABLE] * SHARED_MIN


@pytest.mark.parametrize(
    ("processors", "processes", "free"), [(1, 1, False), (2.5, 1, False), (3, 1, True), (9, 8, False)]
)
def test_a_thread_needs_a_processor_of_its_own(
    monkeypatch: pytest.MonkeyPatch, processors: float, processes: int, free: bool
) -> None:
    monkeypatch.setattr(container, "processors", lambda: processors)
    assert has_free_processor(processes) == free
