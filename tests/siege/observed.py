"""An observer while DNS is away: what is posted with the signatures of genuine calls comes before the calls."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

from ingest.simulation.signer import Headers, Signer
from tests.chaos.load import Journal, proof
from tests.siege.attacks import FORM, TARGET, Front, call, variant

#: Variants that are posted before a genuine call, and before the first one.
VARIANTS, VARIANTS_FIRST = 10, 200
#: Variants on their way at once.
AT_ONCE = 10


def observe(port: int, signer: Path, seed: int, seconds: float) -> Journal:
    """Post variants of each genuine call, then the call itself, for so long; returns what became of the calls.

    `signer` is a file; its key has not been seen before, and cannot be looked up.
    """
    journal = Journal(seed, seconds=seconds)
    asyncio.run(_observe(port, Signer.load(signer), journal))
    return journal


async def _observe(port: int, signer: Signer, journal: Journal) -> None:
    began = time.monotonic()
    front = Front(port, journal.seconds, ({}, b""), 0)
    while time.monotonic() < began + journal.seconds:
        number = len(journal.sent) + 1
        body = b"type=open&id=late&call=%d&proof=%b" % (number, proof(journal.seed, number).encode())
        genuine: tuple[Headers, bytes] = signer.sign(TARGET, "127.0.0.1", FORM, body), body
        variants = iter(range(VARIANTS_FIRST if number == 1 else VARIANTS))

        async def post(seen: tuple[Headers, bytes] = genuine, left: Iterator[int] = variants) -> None:
            for _ in left:
                await front.exchange(*variant(*seen))

        await asyncio.gather(*(post() for _ in range(AT_ONCE)))
        now = journal.sent[number] = time.monotonic() - began
        outcome = await front.exchange(*call(*genuine))
        if outcome == "200":
            journal.acknowledged[number] = now
        elif outcome.isdigit():
            journal.refused[int(outcome)] += 1
        else:
            journal.unanswered += 1
