"""Calls whose key must be looked up take their share of a process, and no more."""

import asyncio

import pytest

from ingest.copernica.header_fields import HeaderFields
from ingest.copernica.key_sources import Records
from ingest.copernica.public_keys import KeyRing
from ingest.copernica.signature import Policy
from ingest.endpoint import intake
from ingest.endpoint.answers import UNAVAILABLE, Answer
from ingest.endpoint.intake import Intake
from ingest.redis_client import connect_async
from ingest.stream.producer import Producer
from ingest.verification import Verifier
from tests.support.signing import Signer


class Slow:
    """A source of keys that knows none, and takes its time to say so."""

    def __init__(self) -> None:
        self.answer = asyncio.Event()

    async def answers(self) -> bool:
        return True

    async def records(self, _name: str) -> Records:
        await self.answer.wait()
        return Records([], 60)


@pytest.mark.parametrize(("limit", "most"), [("WAITING_MAX", 2), ("WAITING_SIZE_MAX", 2500)])
async def test_only_so_many_calls_wait_for_keys_and_the_others_are_told_at_once(
    monkeypatch: pytest.MonkeyPatch, limit: str, most: int
) -> None:
    monkeypatch.setattr(intake, limit, most)
    slow, answers = Slow(), list[Answer]()
    async with connect_async("redis://127.0.0.1:1") as client:
        verifier = Verifier(Policy.from_settings(["account-1234"]), KeyRing(slow))
        taking = Intake(Producer(client, lambda: None), 10_000, verifier)
        for number in range(4):
            call = Signer().call(b"%d" % number + b"x" * 1000)
            taking.submit(call.target, HeaderFields.from_pairs(call.headers), call.body, answers.append)
        async with asyncio.timeout(10):
            while len(answers) < 2:
                await asyncio.sleep(0)
            assert answers == [UNAVAILABLE] * 2
            slow.answer.set()
            while taking.busy:
                await asyncio.sleep(0)
    assert [answer.status for answer in answers[2:]] == [401, 401]
    assert taking.memory.used == 0
